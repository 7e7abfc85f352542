"""The command line as a user meets it: tables, messages, exit codes."""

from types import SimpleNamespace as Made

import pytest

from robo_rl import parts
from robo_rl.terminal import gap_table
from tests.commands import here


def test_envs_prints_the_mdp_as_a_table():
    shown = here("envs", "hopper", columns=80)
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
    listed = here("--help").stdout
    for command in ("train", "compare", "safety", "gap", "checklist", "replay", "demo", "envs"):
        assert command in listed
        assert "Usage" in here(command, "--help").stdout


def test_what_a_reward_line_is_made_of_is_shown_with_its_parameters():
    shown = here("envs", "quadruped-velocity", columns=300).stdout
    assert "track = goal_tracking_exp" in shown and "[scale=0.3]" in shown and "[0, 1.5]" in shown


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("terms", ("joint_limit_violation", "soft_fraction", "0 to 1")),
        ("injectors", ("push", "at_s=2.0, duration_s=0.1", "m/s")),
        ("metrics", ("violation_rate", "cost", "violating steps / steps")),
        ("engines", ("bullet", "the second opinion")),
        ("signals", ("tilt_rad",)),
        ("scenarios", ("nominal", "Runs the whole episode undisturbed.")),
        ("suites", ("balance", "A cart balances poles on a rail.")),
        ("profiles", ("legged",)),
    ],
)
def test_what_content_files_can_name_is_listed(kind, line):
    shown = [part._asdict() for part in parts.listed(kind)]
    found = next(part for part in shown if part["name"] == line[0])
    assert all(any(word in text for text in found.values()) for word in line)


def test_a_kind_of_part_that_does_not_exist_is_said():
    failed = here("list", "injector")
    assert failed.returncode == 64 and "Did you mean 'injectors'" in failed.stderr


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
    failed = here(*words, cwd=tmp_path)
    assert failed.returncode == 64, failed.stderr
    assert message in " ".join(failed.stderr.split()), failed.stderr
    assert "Traceback" not in failed.stderr
    assert not list(tmp_path.iterdir())


def test_what_is_said_in_brackets_reaches_the_terminal(capsys):
    missing = Made(engine="bullet", verdict="UNKNOWN", why="pip install 'robo-rl[bullet]'")
    nothing = Made(verdict="GREEN", why="all succeed")
    found = Made(profile=Made(name="arm"), sweeps=(), transfers=(missing,), undisturbed=nothing)
    gap_table(found)
    assert "robo-rl[bullet]" in capsys.readouterr().out
