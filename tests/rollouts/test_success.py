"""What counts as a success: the task's tolerance where it has a goal, else half of the return."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from robo_rl import errors
from robo_rl.envs import mdp
from robo_rl.envs.step import make
from robo_rl.rewards.layers import Done
from robo_rl.rollouts.metrics import METRICS
from robo_rl.rollouts.success import Twins, success_of, task_of
from tests.rollouts.test_metrics import episodes


def judged(env, undisturbed=(100.0,), **given):
    there = SimpleNamespace(
        robot=env.robot,
        control_s=0.1,
        mdp=SimpleNamespace(episode_s=1.0, goal=env.mdp.goal),
        rewards=env.rewards,
    )
    asked = success_of(env, np.array(undisturbed))
    return asked, asked.of(there, episodes(steps=10, lengths=(10,), **given).track)


def undeclared(env):
    """The environment as if its reward file did not say when the task is done."""
    return replace(env, rewards=replace(env.rewards, done=None))


def test_where_nothing_says_when_the_task_is_done_half_of_the_twins_return_must_be_kept():
    """Episodes of 49 and 51 against a twin of 100; and of 46 against one of 90."""
    env = undeclared(make("hopper"))
    for earned, twin, kept in ((4.9, 100.0, False), (5.1, 100.0, True), (4.6, 90.0, True)):
        asked, done = judged(env, undisturbed=(twin,), reward=np.full((10, 1), earned))
        assert (bool(done[0]), asked.returns.tolist()) == (kept, [twin])
    assert "50% of what the same episode earns" in asked.words


def test_a_task_of_negative_returns_may_lose_as_much_as_one_of_positive():
    """A twin of -8 lets -12 pass, and nothing below."""
    env = undeclared(make("swimmer"))
    for earned, kept in ((-1.19, True), (-1.21, False)):
        _, done = judged(env, undisturbed=(-8.0,), reward=np.full((10, 1), earned))
        assert bool(done[0]) == kept


def test_the_twins_of_some_episodes_are_theirs():
    assert Twins(np.array([1.0, 2.0, 3.0])).only(np.array([2, 0])).returns.tolist() == [3.0, 1.0]


def test_a_hopper_must_go_forward_and_standing_is_no_success():
    velocity = np.zeros((10, 1, 3))
    asked, stood = judged(make("hopper"), base_velocity_w_mps=velocity)
    assert (asked.metric, asked.limit, asked.unit) == ("forward_speed", 0.37, "m/s")
    assert not stood.any()
    velocity[..., 0] = 0.38
    assert judged(make("hopper"), base_velocity_w_mps=velocity)[1].all()
    assert not judged(make("hopper"), base_velocity_w_mps=-velocity)[1].any()


@pytest.mark.parametrize("name", mdp.names())
def test_every_environment_says_when_its_task_is_done(name):
    assert task_of(make(name)) is not None


@pytest.mark.parametrize(
    ("done", "message"),
    [
        ({"metric": "forward_sped", "unit": "m/s"}, "Did you mean 'forward_speed'"),
        ({"metric": "forward_speed", "unit": "km/h"}, "is in 'm/s'.*'km/h' was given"),
        ({"metric": "violation_rate", "unit": "1"}, "needs a cost"),
    ],
)
def test_a_mistake_in_what_is_done_is_named(done, message):
    env = make("hopper")
    wrong = Done(at_least=1.0, reason="r", **done)
    with pytest.raises(errors.UserError, match=message):
        task_of(replace(env, rewards=replace(env.rewards, done=wrong)))


def test_a_goal_is_met_within_its_tolerance_and_the_return_does_not_matter():
    asked, near = judged(make("arm-reach"), goal_error=np.full((10, 1), 0.019))
    assert (asked.metric, asked.limit, asked.at_most) == ("settled_goal_error", 0.02, True)
    assert asked.words == "its settled goal error is at most 0.02 m"
    assert near.all()
    assert not judged(make("arm-reach"), goal_error=np.full((10, 1), 0.021))[1].any()


@pytest.mark.parametrize("mark", ["terminated", "error"])
def test_a_fall_or_a_crash_is_no_success(mark):
    last = np.zeros((10, 1), bool)
    last[-1] = True
    velocity = np.ones((10, 1, 3))
    assert judged(make("hopper"), base_velocity_w_mps=velocity)[1].all()
    assert not judged(make("hopper"), base_velocity_w_mps=velocity, **{mark: last})[1].any()


@pytest.mark.parametrize("name", [n for n in mdp.names() if mdp.get(n).goal])
def test_every_goal_names_a_metric_and_a_tolerance_above_zero(name):
    goal = mdp.get(name).goal
    assert goal.judged_by in METRICS
    assert goal.tolerance > 0
