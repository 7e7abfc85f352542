"""The installed console command: what a shell, a Makefile or a CI server sees.

Statuses and signals as a process; what a study says from the same entry point within this one.
test_ci_workflow.py has ACCEPT and REJECT reach a shell.
"""

import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest

from robo_rl.envs.step import make
from robo_rl.verdicts import Exit, Grade, exit_of_grades, worst
from tests.commands import ROBO_RL, as_a_process, here
from tests.mutants import BALANCE, balancing_network, constant_network, store

SUITE = """
describe: One scenario, as many episodes as its claim needs.
scenarios: [nominal]
episodes: 9
most_episodes: 9
non_inferiority_margin: 0.35
criteria:"""
SUITE += BALANCE
PROFILE = """
describe: One departure.
rows:
  latency:
    {section: timing, injector: action_latency, unit: ms, measured: 4, sweep_to: 10,
     source: s, mitigation: m}
"""
OWN = """
from robo_rl.envs.tasks.classic import inverted_pendulum
from robo_rl.envs.mdp import ObservationTerm, register
from dataclasses import replace


def broken(robot, signals):
    raise ZeroDivisionError("a mistake in somebody's own term")


@register("broken-pendulum", "balance")
def broken_pendulum():
    return replace(inverted_pendulum(), observe=(ObservationTerm("nothing", "1", broken),))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("console")
    pole = make("inverted-pendulum")
    (folder / "small.yaml").write_text(SUITE)
    (folder / "profile.yaml").write_text(PROFILE)
    (folder / "own").mkdir()
    (folder / "own" / "broken.py").write_text(OWN)
    store(folder / "good", pole, balancing_network(pole))
    store(folder / "idle", pole, constant_network(pole, np.zeros(1)))
    hopper = make("hopper")
    store(folder / "alien", hopper, constant_network(hopper, np.zeros(3)))
    store(folder / "two-headed", pole, constant_network(pole, np.zeros(2)))
    (folder / "theirs").mkdir()
    (folder / "theirs" / "report.md").write_text("a page of somebody's own")
    store(folder / "nan", pole, constant_network(pole, np.full(1, np.nan)))
    return folder


def test_no_two_outcomes_share_an_exit_status():
    assert [int(code) for code in Exit] == [0, 1, 2, 3, 64, 70, 130]


@pytest.mark.parametrize(
    ("run", "words", "status", "said"),
    [
        ("good", ("baseline=good",), Exit.ACCEPT, "ACCEPT: all 10 required verdicts passed"),
        ("idle", ("baseline=good",), Exit.REJECT, "required verdicts failed: upright in nominal"),
        ("good", ("episodes=5",), Exit.CONDITIONAL, "CONDITIONAL: 4 of 4 required verdicts not"),
        ("nan", (), Exit.ERROR, "not finite"),
        ("good", ("baseline=nan",), Exit.ERROR, "not finite"),
        ("good", ("baseline=alien",), Exit.ERROR, "is for 'hopper', not 'inverted-pendulum'"),
        ("good", ("baseline=nowhere",), Exit.USAGE, "no policy here"),
        ("good", ("suit=x",), Exit.USAGE, "Did you mean 'suite'"),
        ("good", ("episodes=0",), Exit.USAGE, "a whole number >= 1"),
        ("good", ("seed=4294967296",), Exit.USAGE, "the largest seed is 4294967295"),
        ("good", ("replays=abc",), Exit.USAGE, "a whole number >= 0"),
        ("good", ("out=small.yaml",), Exit.USAGE, "no folder that can be written to"),
        ("good", ("out=theirs",), Exit.USAGE, "it holds report.md, which no study"),
        ("two-headed", (), Exit.USAGE, "and biases [2], now 4 observations and 1 actions"),
    ],
)
def test_the_gate_is_the_exit_status(place, run, words, status, said):
    done = here("safety", run, "suite=small.yaml", *words, cwd=place)
    assert done.returncode == status, done.stdout + done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not (place / "MUJOCO_LOG.TXT").exists()
    if status == Exit.USAGE:
        assert "Safety suite" not in done.stdout  # nothing was run
    assert (place / "theirs" / "report.md").read_text() == "a page of somebody's own"


@pytest.mark.parametrize(
    ("run", "status", "said"),
    [("nan", Exit.ERROR, "not finite"), ("two-headed", Exit.USAGE, "now 4 observations")],
)
def test_the_gate_reaches_the_shell(place, run, status, said):
    done = as_a_process("safety", run, "suite=small.yaml", cwd=place)
    assert done.returncode == status, done.stdout + done.stderr
    assert said in done.stdout + done.stderr and "Traceback" not in done.stderr


def test_a_fault_that_is_not_the_users_wording_is_an_internal_error(place):
    done = as_a_process("envs", "check", "broken-pendulum", cwd=place, ROBO_RL_ENVS="own")
    assert done.returncode == Exit.INTERNAL
    assert "ZeroDivisionError" in done.stderr and "internal error" in done.stderr


def test_a_policy_whose_model_has_changed_is_refused_before_anything_runs(place):
    path = place / "other" / "policy" / "policy.json"
    pole = make("inverted-pendulum")
    store(place / "other", pole, balancing_network(pole))
    described = json.loads(path.read_text())
    path.write_text(json.dumps({**described, "control_hz": 50.0, "model_sha256": "0" * 64}))
    for command in ("safety", "gap"):
        done = here(command, "other", cwd=place)
        assert done.returncode == Exit.USAGE
        assert "control_hz 50.0, now 25.0" in done.stderr and "model 000000000000" in done.stderr
    assert not (place / "other" / "safety").exists()


@pytest.mark.parametrize(
    ("imported", "after_s"), [(b"jax.", 0.0), (b"robo_rl.safety_eval.study\n", 5.0)]
)
def test_ctrl_c_in_the_imports_or_in_a_study_says_130_and_leaves_no_verdict(
    place, imported, after_s
):
    began = subprocess.Popen(
        [str(ROBO_RL), "safety", "good", "out=stopped", "episodes=4000"],
        cwd=place,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},  # names each module on stderr
    )
    assert any(imported in line for line in began.stderr)
    time.sleep(after_s)
    began.send_signal(signal.SIGINT)
    began.communicate(timeout=120)
    assert began.returncode == Exit.INTERRUPTED
    assert not (place / "stopped" / "results.json").exists()


def test_gap_and_checklist_gate_as_well(place):
    words = ("profile=profile.yaml", "episodes=18", "episode_s=2")
    assert here("gap", "idle", *words, cwd=place).returncode == Exit.REJECT
    assert here("gap", "nan", *words, cwd=place).returncode == Exit.ERROR
    assert here("gap", "idle", "fail_on=re", cwd=place).returncode == Exit.USAGE
    checked = here("checklist", "idle", cwd=place)
    assert checked.returncode == Exit.REJECT and "RED" in checked.stdout
    fresh = here("checklist", "good", "out=checked", cwd=place)
    assert fresh.returncode in (Exit.REJECT, Exit.CONDITIONAL)  # unmeasured is never a pass


@pytest.mark.parametrize(
    ("grades", "fail_on", "status"),
    [
        ({"GREEN"}, Grade.UNKNOWN, Exit.ACCEPT),
        ({"GREEN", "AMBER"}, Grade.UNKNOWN, Exit.ACCEPT),
        ({"GREEN", "AMBER"}, Grade.AMBER, Exit.CONDITIONAL),
        ({"UNKNOWN", "AMBER"}, Grade.UNKNOWN, Exit.CONDITIONAL),
        ({"UNKNOWN", "AMBER"}, Grade.RED, Exit.ACCEPT),
        ({"RED", "UNKNOWN"}, Grade.RED, Exit.REJECT),
        ({"RED", "UNKNOWN"}, Grade.AMBER, Exit.REJECT),
        (set(), Grade.UNKNOWN, Exit.CONDITIONAL),
    ],
)
def test_red_rejects_and_the_rest_is_by_choice(grades, fail_on, status):
    assert exit_of_grades(grades, fail_on) is status


def test_the_worst_grade_is_red_then_unknown_then_amber():
    assert worst(["GREEN", "AMBER", "UNKNOWN", "RED"]) is Grade.RED
    assert worst(["GREEN", "AMBER", "UNKNOWN"]) is Grade.UNKNOWN
    assert worst(["GREEN", "AMBER"]) is Grade.AMBER


def test_check_lists_everything_that_is_wrong_in_a_folder_and_simulates_nothing(tmp_path):
    for kind in ("scenarios", "safety_eval", "rewards", "sim2real"):
        (tmp_path / kind).mkdir()
    (tmp_path / "scenarios" / "a.yaml").write_text(
        "claim: c.\nsource: s\ninject: [{injector: puch, magnitude: 1}]\n"
    )
    (tmp_path / "safety_eval" / "b.yaml").write_text(SUITE.replace("velocity", "velocty"))
    (tmp_path / "rewards" / "c.yaml").write_text("task:\n  forward_velocty: {weight: 1}\n")
    (tmp_path / "sim2real" / "d.yaml").write_text(PROFILE.replace("unit: ms", "unit: s"))
    found = here("check", tmp_path, cwd=tmp_path)
    assert found.returncode == Exit.REJECT
    for said in ("a.yaml:3: ", "'push'", "'velocity'", "c.yaml:2: ", "'forward_velocity'", "'ms'"):
        assert said in found.stdout, found.stdout
    assert "4 content files, 4 problems" in found.stdout
    assert here("check", cwd=tmp_path).returncode == Exit.ACCEPT


def test_every_command_of_the_readme_runs(tmp_path):
    """Its table, on budgets of seconds; gap, checklist, check and list have tests of their own."""
    ppo = ("ppo.robots=4", "ppo.minibatches=2", "ppo.unroll=16", "ppo.epochs=1", "eval_points=1")
    quick = ("env=inverted-pendulum", "eval_episodes=1", "steps=256")
    model = "<mujoco><worldbody><geom name='floor' type='plane' size='5 5 1'/><body name='b'>"
    model += "<joint name='j' type='hinge' axis='0 1 0' range='-1 1' limited='true'/>"
    model += "<geom size='.1' pos='0 0 .5'/></body></worldbody><actuator>"
    model += "<motor joint='j' ctrlrange='-1 1' ctrllimited='true'/></actuator></mujoco>"
    (tmp_path / "own.xml").write_text(model)
    (tmp_path / "small.yaml").write_text(SUITE)
    demo = ("ppo_steps=256", "sac_steps=128")
    demo += ("safety_episodes=2", "gap_episodes=18", "env=inverted-pendulum")
    judged = (Exit.REJECT, Exit.CONDITIONAL)
    for words, statuses in (
        (("envs", "hopper"), (Exit.ACCEPT,)),
        (("train", *quick, "algo=ppo", "reward=safety", "seed=0", *ppo, "out=run"), (Exit.ACCEPT,)),
        (("envs", "new", "my-own-robot", "--mjcf", "own.xml", "to=robots"), (Exit.ACCEPT,)),
        (("safety", "run", "suite=small.yaml", "baseline=run"), judged),
        (
            ("compare", *quick, "algo=ppo", "reward=safety", "seeds=2", "episodes=2", *ppo),
            (Exit.ACCEPT,),
        ),
        (("demo", *demo, "out=demo"), (Exit.ACCEPT,)),
    ):
        done = here(*words, cwd=tmp_path)
        assert done.returncode in statuses, f"{words}\n{done.stdout}\n{done.stderr}"
    bundles = tmp_path / "run" / "safety" / "small" / "replays"
    count = len(list(bundles.glob("*.npz")))
    done = here("replay", bundles, cwd=tmp_path)
    assert count > 1 and done.returncode == Exit.ACCEPT, done.stdout + done.stderr
    assert f"{count} of {count} reproduced." in done.stdout
