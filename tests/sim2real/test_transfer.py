"""Another engine is a witness: what it says reaches the checklist, and its absence is UNKNOWN."""

import pytest

from robo_rl.envs.step import make
from robo_rl.errors import UserError
from robo_rl.policy.stored import save_policy
from robo_rl.rollouts.play import episode_keys
from robo_rl.rollouts.success import Success
from robo_rl.sim2real import checklist, gap, gap_report, transfer
from robo_rl.sim2real.transfer import transfer_verdict
from tests.conftest import random_policy


@pytest.mark.parametrize(
    ("low", "rate", "kept", "verdict"),
    [
        (0.83, 1.0, 1.0, "GREEN"),
        (0.83, 1.0, 0.85, "AMBER"),
        (0.75, 0.9, 1.0, "AMBER"),
        (0.5, 0.79, 1.2, "RED"),
        (0.0, 0.0, 0.1, "RED"),
    ],
)
def test_success_and_return_decide(low, rate, kept, verdict):
    assert transfer_verdict(low, rate, kept, floor=0.8) == verdict


@pytest.fixture(scope="module")
def reacher():
    return make("reacher", episode_s=0.4)


def moved(env, engine, least=-100.0):
    asked = Success("return", least, False, "1", "it earns something")
    return transfer.transfer(random_policy(env), env, engine, episode_keys(0, 16), -5.0, asked, 0.8)


def test_a_policy_that_survives_everywhere_is_green_and_one_asked_too_much_is_red(reacher):
    fine, poor = moved(reacher, "bullet"), moved(reacher, "bullet", least=1.0)
    assert (fine.episodes, fine.successes) == (16, 16)
    assert poor.successes == 0 and poor.verdict == "RED"
    assert fine.verdict in ("GREEN", "AMBER")


def test_an_engine_that_cannot_run_the_robot_is_unknown(reacher, monkeypatch):
    def refuse(*args, **kwargs):
        raise UserError("engine bullet needs PyBullet")

    monkeypatch.setattr(transfer, "make", refuse)
    found = moved(reacher, "bullet")
    assert found.verdict == "UNKNOWN" and found.retention is None
    assert "needs PyBullet" in found.why


def test_the_checklist_shows_what_the_other_engine_said(tmp_path):
    run = tmp_path / "run"
    policy = random_policy(make("reacher"))
    save_policy(run / "policy", policy.network, policy.contract)
    before = [r for r in checklist.checklist(run).rows if "physics engine" in r.risk]
    assert [r.verdict for r in before] == ["UNKNOWN"]
    result = gap.gap(run, "joint-driven", episodes=18, episode_s=0.2)
    gap_report.write(result, run / "gap", "robo-rl gap")
    (row,) = (r for r in checklist.checklist(run).rows if "physics engine" in r.risk)
    assert "on bullet" in row.risk and row.verdict == result.transfers[0].verdict
    assert "episodes succeed on bullet" in row.evidence
