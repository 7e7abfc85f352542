"""The contract of a policy: what counts as the same body."""

import copy
import os

import pytest

from robo_rl.policy.contract import machine, model_digest
from robo_rl.robots.robot import load_robot


@pytest.mark.parametrize(
    "field",
    [
        "actuator_forcerange",
        "actuator_biasprm",
        "geom_pos",
        "geom_solref",
        "jnt_solref",
        "dof_frictionloss",
        "jnt_stiffness",
        "body_gravcomp",
        "opt.iterations",
        "opt.integrator",
        "opt.density",
    ],
)
def test_a_model_that_moves_otherwise_is_another_model(field):
    model = load_robot("arm").model
    other = copy.deepcopy(model)
    owner, name = (other.opt, field[4:]) if field.startswith("opt.") else (other, field)
    setattr(owner, name, getattr(owner, name) + 1)
    assert model_digest(copy.deepcopy(model)) == model_digest(model)
    assert model_digest(other) != model_digest(model)


def test_a_system_that_does_not_say_which_cores_are_ours_is_described_all_the_same(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")  # as outside Linux
    assert machine()
