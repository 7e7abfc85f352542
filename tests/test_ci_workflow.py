"""docs/ci/safety.yml, its shell steps run one after another as a CI server would."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from robo_rl.envs.step import make
from tests.mutants import BALANCE, balancing_network, constant_network, store

PAGE = Path(__file__).resolve().parents[1] / "docs" / "ci" / "safety.yml"
SUITE = f"""
describe: One scenario, as many episodes as its claim needs.
scenarios: [nominal]
episodes: 9
most_episodes: 9
non_inferiority_margin: 0.4
criteria:{BALANCE}"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ci")
    pole = make("inverted-pendulum")
    store(folder / "good", pole, balancing_network(pole))
    store(folder / "idle", pole, constant_network(pole, np.zeros(1)))
    (folder / "small.yaml").write_text(SUITE)
    return folder


def ran(place, policy):
    """Exit status and output of every shell step that ran, and the job's summary."""
    job = yaml.safe_load(PAGE.read_text())
    summary = place / f"summary-{policy}.md"
    settings = {"POLICY": policy, "BASELINE": "good", "SUITE": "small.yaml"}
    assert settings.keys() == job["env"].keys()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, **settings, "GITHUB_STEP_SUMMARY": str(summary), "PATH": path}
    steps, failed = {}, False
    for step in job["jobs"]["judge"]["steps"]:
        if "run" not in step or step["name"] == "install":
            continue
        if not failed or step.get("if") == "always()":
            command = ["bash", "-e", "-o", "pipefail", "-c", step["run"]]
            done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True)
            steps[step["name"]] = (done.returncode, done.stdout + done.stderr)
            failed |= done.returncode != 0
    return steps, failed, summary.read_text()


def test_it_stops_on_a_policy_that_is_rejected_and_shows_why(place):
    steps, failed, summary = ran(place, "idle")
    assert failed and steps["content"][0] == 0
    assert steps["safety"][0] == 1 and "REJECT" in steps["safety"][1]
    assert "REJECT" in summary and "upright" in summary
    assert "<failure" in (place / "verdict" / "junit.xml").read_text()


def test_it_lets_a_policy_pass_that_is_accepted(place):
    steps, failed, summary = ran(place, "good")
    assert not failed, steps
    assert "ACCEPT" in summary
    assert "<failure" not in (place / "verdict" / "junit.xml").read_text()
