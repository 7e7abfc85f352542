"""Stable-Baselines3 as trainer: what is reported is what is saved, on the engine asked for."""

import json

import numpy as np
import pytest
from rich.console import Console

from robo_rl import errors
from robo_rl.policy.stored import load_policy
from robo_rl.training import config, run, sb3

QUIET = Console(quiet=True)
TINY = {"robots": 4, "unroll": 16, "minibatches": 2, "epochs": 1, "hidden": [8], "steps": 160}


def tiny(out, **more):
    given = {"env": "inverted-pendulum", "algo": "ppo", "trainer": "sb3", "out": str(out)}
    given |= {"eval_points": 2, "eval_episodes": 3, "ppo": TINY}
    return config.resolve({**given, **more})


def test_the_last_evaluation_is_of_the_policy_that_is_saved(tmp_path):
    """160 steps in rollouts of 64: it trains, and saves, 192."""
    made = tiny(tmp_path / "run")
    folder = sb3.train(made, QUIET)
    rows = run.read_rows(folder / "evaluation.csv")
    assert [row["steps"] for row in rows] == [80, 192]
    assert json.loads((folder / "done.json").read_text())["steps"] == 192
    env, policy = run.make("inverted-pendulum"), load_policy(folder)
    assert policy.contract["steps"] == 192
    track = run.evaluate(env, policy, made.eval_episodes, run.EVALUATION_SEED)
    assert rows[-1]["return_mean"] == pytest.approx(float(np.mean(track.episode_return)))
    assert rows[-1]["return_mean"] != rows[0]["return_mean"]
    assert list((folder / "tensorboard").iterdir())


class ReachedError(Exception):
    """Building came as far as it had to."""


def test_it_evaluates_on_the_engine_that_it_trains_on(tmp_path, monkeypatch):
    asked = []

    def make(*names, **options):
        asked.append(options.get("engine", "mujoco"))
        raise ReachedError

    monkeypatch.setattr(sb3, "make", make)
    with pytest.raises(ReachedError):
        sb3.train(tiny(tmp_path / "run", engine="bullet"), QUIET)
    assert asked == ["bullet"]
    assert not (tmp_path / "run").exists()


def test_weights_that_are_not_finite_end_it_with_the_reason(tmp_path):
    diverging = {**TINY, "learning_rate": 1e30, "final_learning_rate": 1e30}
    with pytest.raises(errors.NotFiniteError, match="not finite"):
        sb3.train(tiny(tmp_path / "run", ppo=diverging), QUIET)
    assert not (tmp_path / "run" / "policy").exists()
