"""Public walking policies, against an oracle that drives them in plain MuJoCo and golden data."""

import importlib.util
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from robo_rl.policy.stored import Policy, load_policy, save_policy
from tests.commands import here

FOLDER = os.environ.get("ROBO_RL_PUBLIC_POLICIES", "")
pytestmark = pytest.mark.skipif(
    not FOLDER, reason="ROBO_RL_PUBLIC_POLICIES does not name a folder of public policies"
)
GO1 = """
format: robo_rl.mapping/1
joints: [FR_hip_joint, FR_thigh_joint, FR_calf_joint, FL_hip_joint, FL_thigh_joint, FL_calf_joint,
         RR_hip_joint, RR_thigh_joint, RR_calf_joint, RL_hip_joint, RL_thigh_joint, RL_calf_joint]
default: [0.1, 0.9, -1.8, -0.1, 0.9, -1.8, 0.1, 0.9, -1.8, -0.1, 0.9, -1.8]
rates: {control_hz: 50, physics_hz: 250}
start: {pose: keyframe, keyframe: home}
observation:
  terms:
  - {signal: sensor, sensor: local_linvel}
  - {signal: sensor, sensor: gyro}
  - {signal: sensor, sensor: orientation, gravity: true}
  - {signal: joint_position, minus: default}
  - {signal: joint_velocity}
  - {signal: last_action}
  - {signal: command}
action: {drives: position, scale: 0.5}
command: {initial: [1.0, 0.0, 0.0], forward_mps: [-1.0, 1.0], sideways_mps: [-0.5, 0.5]}
"""
SCENE = "scene_mjx_feetonly_flat_terrain.xml"
CONFIG = "deploy/deploy_mujoco/configs/g1.yaml"


def words_of(name, mapping):
    """The words of the import of each policy."""
    root = Path(FOLDER)
    if name == "g1-rl-gym":
        return [str(root / name / CONFIG)]
    if name == "g1-rl-mjlab":
        own = root / name
        return [
            str(own / "deploy.yaml"),
            f"robot={own / 'scene.xml'}",
            f"policy={own / 'policy.onnx'}",
        ]
    mapping.write_text(GO1)
    own = root / name
    return [str(own / "go1_policy.onnx"), f"robot={own / SCENE}", f"mapping={mapping}"]


@pytest.fixture(scope="session")
def oracle():
    spec = importlib.util.spec_from_file_location("drive", Path(FOLDER) / "drive.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session", params=["go1-playground", "g1-rl-gym", "g1-rl-mjlab"])
def imported(request, tmp_path_factory):
    """A run folder, and what import.json says of it."""
    place = tmp_path_factory.mktemp("imported")
    run = place / request.param
    golden = Path(FOLDER) / "golden" / f"{request.param}.npz"
    words = words_of(request.param, place / "go1.yaml")
    done = here("import", *words, f"out={run}", f"golden={golden}", cwd=place)
    assert done.returncode == 0, done.stderr
    return run, json.loads((run / "import.json").read_text())


def test_observation_and_action_equal_golden_data(imported):
    golden = imported[1]["golden"]
    assert golden["steps"] == 50
    assert max(golden["observation"], golden["action"], golden["network"]) <= 1e-4


def test_it_walks_as_fast_as_in_plain_mujoco(imported, oracle):
    run, said = imported
    found, wanted = said["trial"], oracle.POLICIES[run.name]().summary()
    assert (found["seconds"], found["fell"]) == (20.0, wanted["fell"])
    assert found["velocity_b_mps"][0] == pytest.approx(wanted["vx_mps"], rel=0.05)
    assert found["yaw_rate_radps"] == pytest.approx(wanted["yaw_radps"], abs=0.02)


def test_the_same_robot_with_a_policy_that_does_nothing_is_rejected(imported, tmp_path):
    run, _ = imported
    if run.name != "g1-rl-gym":
        pytest.skip("one of the three is enough")
    idle = tmp_path / "idle"
    shutil.copytree(run, idle)
    made = load_policy(idle)
    still = {name: np.zeros_like(a) for name, a in made.network.weights.items()}
    network = type(made.network)(made.network.program, still, made.network.observation_size)
    save_policy(idle / "policy", network, made.contract, made.wired)
    done = here("safety", idle, "episodes=8", "replays=1", cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    again = here("replay", idle / "safety" / "locomotion" / "replays", cwd=tmp_path)
    assert again.returncode == 0, again.stdout
    versus = here(
        "compare", f"runs={run},{idle}", "episodes=12", f"out={tmp_path / 'c'}", cwd=tmp_path
    )
    assert "idle: worse" in versus.stdout


PLANTED = {  # benchmarks/planted_mistakes.py plants the others
    "gains double": {"kps": 2.0, "kds": 2.0},
    "actions doubled": {"action_scale": 2.0},
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_mistake_planted_in_the_file_does_what_it_does_in_plain_mujoco(mistake, oracle, tmp_path):
    root = Path(FOLDER) / "g1-rl-gym"
    copied = tmp_path / "g1"
    shutil.copytree(root, copied)
    config = yaml.safe_load((copied / CONFIG).read_text())
    for key, factor in PLANTED[mistake].items():
        config[key] = (np.array(config[key]) * factor).tolist()
    (copied / CONFIG).write_text(yaml.safe_dump(config))
    wanted = oracle.unitree_rl_gym(copied, "g1.yaml").summary()
    done = here("import", copied / CONFIG, f"out={tmp_path / 'run'}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "run" / "import.json").read_text())["trial"]
    assert found["fell"] == wanted["fell"]
    if not wanted["fell"]:
        assert found["velocity_b_mps"][0] == pytest.approx(wanted["vx_mps"], abs=0.05)


def test_a_policy_acts_alike_from_the_stored_run(imported):
    run, _ = imported
    policy = load_policy(run)
    assert isinstance(policy, Policy)
    action, memory = policy.act(np.zeros(policy.observation_size), policy.begin())
    assert action.shape == (len(policy.wired.wiring.output),)
    assert set(memory) == {name for name, _ in policy.program.memory}
