"""deploy.yaml as the controllers of unitree_rl_lab and unitree_rl_mjlab read it."""

import copy

import mujoco
import numpy as np
import pytest
import yaml

from robo_rl.errors import UserError
from robo_rl.importing import deploy_yaml
from robo_rl.importing.source import Joints, read_data
from robo_rl.policy.compiling import Actuator, compile_mapping
from robo_rl.policy.mapping import Mapping
from robo_rl.robots import offered

NAMES = ("FR", "FL", "RR", "RL")  # motors, and joints in the tree
LEG = """<body name="{0}" pos="0 0 -.1"><joint name="{0}" axis="0 1 0"/><geom size=".02"/></body>"""
ROBOT = f"""<mujoco><worldbody><body name="base" pos="0 0 1"><freejoint/><geom size=".1"/>
{"".join(LEG.format(n) for n in NAMES)}</body></worldbody>
<actuator>{"".join(f'<motor joint="{n}"/>' for n in NAMES)}</actuator></mujoco>"""
SAID = {
    "joint_ids_map": [1, 0, 3, 2],
    "step_dt": 0.02,
    "stiffness": [10.0, 20.0, 30.0, 40.0],
    "damping": [1.0, 2.0, 3.0, 4.0],
    "default_joint_pos": [0.1, 0.2, 0.3, 0.4],
    "commands": {"base_velocity": {"ranges": {"lin_vel_x": [-0.5, 1.0], "heading": None}}},
    "actions": {
        "JointPositionAction": {
            "clip": None,
            "joint_names": [".*"],
            "scale": [0.25] * 4,
            "offset": [0.1, 0.2, 0.3, 0.4],
            "joint_ids": None,
        }
    },
    "observations": {
        "base_ang_vel": {"params": {}, "clip": None, "scale": [0.2] * 3, "history_length": 3},
        "joint_pos_rel": {"params": {}, "clip": [-9, 9], "scale": None, "history_length": 3},
        "last_action": {"params": {}, "clip": None, "scale": None, "history_length": 3},
    },
}


@pytest.fixture(scope="module")
def model():
    return mujoco.MjModel.from_xml_string(ROBOT)


@pytest.fixture()
def reading(model, tmp_path):
    """What is read of the file with changes: dotted key -> value."""

    def read(changes=None):
        data = copy.deepcopy(SAID)
        for key, value in (changes or {}).items():
            *path, last = key.split(".")
            place = data
            for word in path:
                place = place[word]
            place[last] = value
        path = tmp_path / "deploy.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        return deploy_yaml.read(path, read_data(path), Joints(model))

    return read


def compiled(model, said):
    mapping = Mapping(**{k: v for k, v in said.items() if k != "inferred_armature"})
    frame = (
        (offered.POSITION, 4),
        (offered.VELOCITY, 4),
        (offered.QUATERNION, 4),
        (offered.LINEAR, 3),
        (offered.ANGULAR, 3),
        (offered.HEIGHT, 1),
        (offered.COMMAND, 3),
    )
    drives = tuple(Actuator(n, 0.0, 2.0) for n in NAMES)
    return compile_mapping(mapping, model, 1, frame, NAMES, drives, 0.02)


def test_lists_are_in_the_policys_order_and_gains_in_that_of_the_motors(reading):
    said = reading().mapping
    assert said["joints"] == ["FL", "FR", "RL", "RR"] and not said["hold"]
    assert said["default"] == [0.1, 0.2, 0.3, 0.4]
    assert said["drives"]["stiffness"] == {"FR": 10.0, "FL": 20.0, "RR": 30.0, "RL": 40.0}
    assert said["rates"]["control_hz"] == 50.0
    assert said["command"]["forward_mps"] == [-0.5, 1.0]


def test_history_is_per_term_oldest_first_unless_whole_frames_are_stacked(reading, model):
    """A frame of 3 + 4 + 4 numbers: with whole frames number 3 is the first joint of the oldest."""
    per_term = compiled(model, reading().mapping).wiring.place
    assert per_term[:9].tolist() == [0, 1, 2, 11, 12, 13, 22, 23, 24]
    assert per_term[9:13].tolist() == [3, 4, 5, 6]
    whole = reading({"observations.use_gym_history": True})
    assert compiled(model, whole.mapping).wiring.place.tolist() == list(range(33))
    grouped = reading({"observations": {"obs": {"use_gym_history": True, **SAID["observations"]}}})
    assert grouped.mapping["observation"] == whole.mapping["observation"]


def test_stacked_frames_have_one_length(reading):
    with pytest.raises(UserError, match="use_gym_history: history_length differs"):
        reading({"observations.use_gym_history": True, "observations.last_action": {}})


def test_a_clip_of_the_action_bounds_targets_and_not_the_last_action(reading, model):
    """Joint FL: 0.1 + 0.25 a within [-0.4, 0.6], of a drive whose command of 1 is 2 rad."""
    said = reading({"actions.JointPositionAction.clip": [[-0.4, 0.6]] * 4}).mapping
    wiring = compiled(model, said).wiring
    assert np.isinf(wiring.action_low).all() and np.isinf(wiring.action_high).all()
    np.testing.assert_allclose(wiring.command_low, -0.2)
    np.testing.assert_allclose(wiring.command_high, 0.3)


def test_clip_comes_before_scale_unless_the_file_says_scale_first(reading):
    term = {"params": {}, "clip": [-2, 2], "scale": [0.5] * 3}
    said = reading({"observations.base_ang_vel": term}).mapping["observation"]["terms"][0]
    assert said["clip"] == [-2, 2] and said["scale"] == [0.5] * 3
    said = reading({"observations.base_ang_vel": term, "observations.scale_first": True})
    assert said.mapping["observation"]["terms"][0]["clip"] == [-4, 4]


def test_a_term_of_some_joints_only(reading):
    term = {"params": {"asset_cfg": {"joint_ids": [3, 0]}}, "scale": [1.0, 2.0], "clip": None}
    said = reading({"observations.joint_pos_rel": term}).mapping["observation"]["terms"][1]
    assert said["joints"] == ["RR", "FL"] and said["scale"] == [1.0, 2.0]


def test_motor_numbers_with_gaps_are_taken_in_their_order_and_it_is_said(reading):
    source = reading({"joint_ids_map": [6, 0, 22, 15]})
    assert source.mapping["joints"] == ["FL", "FR", "RL", "RR"]
    assert source.said["numbers of the motors"].startswith("assumed")
    with pytest.raises(UserError, match="joint_ids_map names motors"):
        reading({"joint_ids_map": [6, 0, 22], "default_joint_pos": [0, 0, 0]})


def test_a_gait_clock_has_moved_by_a_step_when_it_is_first_seen(reading):
    term = {"params": {"period": 0.8}, "scale": None, "clip": None}
    said = reading({"observations.gait_phase": term}).mapping["observation"]["terms"][-1]
    assert said["period_s"] == 0.8 and said["phase"] == pytest.approx(0.025)


def test_an_unknown_term_says_what_is_close(reading):
    with pytest.raises(UserError, match="joint_pos_real.*'joint_pos_rel'"):
        reading({"observations.joint_pos_real": {"params": {}}})


def test_motors_that_the_policy_does_not_know_are_held_and_it_is_said(reading, model):
    action = {"scale": [0.25] * 2, "offset": [0.1, 0.2], "clip": None, "joint_ids": None}
    source = reading(
        {
            "joint_ids_map": [3, 0],
            "default_joint_pos": [0.1, 0.2],
            "actions": {"JointPositionAction": action},
        }
    )
    said = source.mapping
    assert said["hold"] == {"FL": 0.0, "RR": 0.0} and said["action"]["joints"] == ["RL", "FR"]
    assert "FL, RR" in source.said["joints beside the policy"]
    assert len(compiled(model, said).wiring.place) == 3 * (3 + 2 + 2)
