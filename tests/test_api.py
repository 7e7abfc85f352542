"""What `import robo_rl` offers: its examples run, it is all there, and it costs nothing unused."""

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import robo_rl
from robo_rl import api
from robo_rl.envs import mdp
from robo_rl.envs.step import make
from tests.mutants import balancing_network, store

RUN_IN_TESTS = [name for name in api.__all__ if ">>>" in (getattr(api, name).__doc__ or "")]


@pytest.fixture(scope="module")
def pole(tmp_path_factory):
    env = make("inverted-pendulum")
    return store(tmp_path_factory.mktemp("api") / "runs" / "pole", env, balancing_network(env))


@pytest.mark.parametrize("name", RUN_IN_TESTS)
def test_the_example_of_a_function_runs_as_it_stands(name, pole, monkeypatch):
    monkeypatch.chdir(pole.parents[1])
    found = doctest.DocTestFinder(recurse=False).find(
        getattr(robo_rl, name), name, globs={"robo_rl": robo_rl, "Path": Path}
    )
    runner = doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF)
    for test in found:
        runner.run(test)
    mdp.ENTRIES._parts.pop("pole-of-mine", None)  # for the tests that count environments
    assert runner.summarize(verbose=False) == (0, sum(len(t.examples) for t in found))


def test_every_function_and_class_of_the_face_has_an_example():
    assert set(RUN_IN_TESTS) == set(api.__all__)


def test_the_face_is_whole_and_an_unknown_name_is_an_attribute_error():
    assert set(api.__all__) <= set(robo_rl.__all__) == set(robo_rl.__all__) & set(dir(robo_rl))
    assert all(getattr(robo_rl, name) is getattr(api, name) for name in api.__all__)
    with pytest.raises(AttributeError, match="no attribute 'rollut'"):
        _ = robo_rl.rollut


def test_importing_it_and_running_a_policy_loads_neither_jax_nor_torch(pole):
    script = (
        "import sys, robo_rl; p = robo_rl.load_policy(sys.argv[1]); print(p([0.0, 0, 0, 0]))\n"
        "assert not {'jax', 'torch', 'mujoco', 'scipy', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, pole], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_metric_without_its_cost_is_said(pole):
    episodes = robo_rl.rollout(pole, episodes=1, episode_s=0.1)
    with pytest.raises(robo_rl.UserError, match="needs cost"):
        episodes.measure("violation_rate")
    with pytest.raises(robo_rl.UserError, match="Did you mean 'velocity'"):
        episodes.measure("violation_rate", "velocty")
    assert episodes.measure("violation_rate", "velocity").shape == (1,)


@pytest.mark.parametrize("name", ["safety", "gap", "checklist"])
def test_a_folder_that_is_somebody_elses_is_refused_before_anything_runs(
    name, pole, tmp_path, monkeypatch
):
    monkeypatch.setattr(api, "load_policy", None)
    for module in (api.study, api.gaps, api.checks):
        monkeypatch.setattr(module, "load_policy", None)  # whoever began would fail here
    (tmp_path / "report.md").write_text("mine")
    with pytest.raises(robo_rl.UserError, match="which no study"):
        getattr(robo_rl, name)(pole, out=tmp_path)
    assert (tmp_path / "report.md").read_text() == "mine"
