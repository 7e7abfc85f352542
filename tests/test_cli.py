"""The command line as a user meets it: tables, messages, exit codes."""

import subprocess
import sys
from types import SimpleNamespace as Made

import pytest

from robo_rl.terminal import gap_table

ROBO_RL = [sys.executable, "-m", "robo_rl.cli"]


def robo_rl(*words, cwd=None):
    return subprocess.run(
        [*ROBO_RL, *map(str, words)], capture_output=True, text=True, cwd=cwd, timeout=300
    )


def test_envs_prints_the_mdp_as_a_table():
    shown = robo_rl("envs", "hopper")
    assert shown.returncode == 0
    for word in (
        "observation",
        "200 N m",
        "reward layer",
        "constraint",
        "Terminated when",
        "Truncated after",
        "125 Hz",
    ):
        assert word in shown.stdout, word


def test_every_command_has_help():
    listed = robo_rl("--help").stdout
    for command in ("train", "compare", "safety", "gap", "checklist", "replay", "demo", "envs"):
        assert command in listed
        assert "Usage" in robo_rl(command, "--help").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("envs", "hoper"), "Did you mean 'hopper'"),
        (("train", "env=hoper", "algo=ppo"), "Did you mean 'hopper'"),
        (("train", "env=hopper", "algo=ppo", "lr=1"), "no key named 'lr'"),
        (("train", "resume=nowhere"), "not a run folder"),
        (("safety", "nowhere"), "no policy here"),
        (("safety", "nowhere", "suit=x"), "Did you mean 'suite'"),
        (("gap", "nowhere", "episodes=ten"), "whole number"),
        (("checklist", "nowhere"), "no policy here"),
        (("replay", "nowhere.npz"), "not found"),
        (("replay", "."), "no replay bundle"),
        (("compare", "algo=ppo"), "env=... is missing"),
        (("compare", "env=hopper", "algo=ppo,sca"), "Did you mean 'sac'"),
        (("compare", "env=hopper", "seeds=0"), "a whole number from 1 on"),
        (("demo", "steps=3"), "no key named 'steps'"),
        (("trian",), "trian"),
    ],
)
def test_a_mistake_ends_with_its_message_and_status_64_and_leaves_nothing(words, message, tmp_path):
    failed = robo_rl(*words, cwd=tmp_path)
    assert failed.returncode == 64, failed.stderr
    assert message in " ".join(failed.stderr.split()), failed.stderr
    assert "Traceback" not in failed.stderr
    assert not list(tmp_path.iterdir())


def test_what_is_said_in_brackets_reaches_the_terminal(capsys):
    missing = Made(engine="bullet", verdict="UNKNOWN", why="pip install 'robo-rl[bullet]'")
    gap_table(Made(profile=Made(name="arm"), sweeps=(), transfers=(missing,)))
    assert "robo-rl[bullet]" in capsys.readouterr().out
