"""Isaac Lab's IO_descriptors.yaml: what is read of a small one, and what is refused by its key."""

import copy

import numpy as np
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper, save

from robo_rl.errors import UserError
from robo_rl.importing import io_descriptors
from robo_rl.importing.command import asked
from robo_rl.importing.run import import_policy
from robo_rl.importing.source import Joints, read_data
from robo_rl.robots.published import read_published
from tests.commands import here

NAMES = ["head", "left_hip", "right_hip", "left_knee", "right_knee"]
LEGS = NAMES[1:]
LEG = """<body name="{0}_thigh" pos="0 {1} -.05"><joint name="{0}_hip" axis="0 1 0" range="-1 1"/>
<geom type="capsule" fromto="0 0 0 0 0 -.15" size=".02" mass=".4"/>
<body name="{0}_shank" pos="0 0 -.15"><joint name="{0}_knee" axis="0 1 0" range="0 2"/>
<geom type="capsule" fromto="0 0 0 0 0 -.13" size=".02" mass=".3"/>
<geom name="{0}_foot" type="box" size=".08 .06 .01" pos="0 0 -.15" mass=".1"/></body></body>"""
ROBOT = f"""<mujoco model="walker"><compiler angle="radian"/><worldbody>
<geom name="floor" type="plane" size="0 0 1"/>
<body name="trunk" pos="0 0 .4"><freejoint/><geom type="box" size=".06 .1 .05" mass="3"/>
<body name="head_link" pos="0 0 .08"><joint name="head" axis="0 0 1"/><geom size=".03" mass=".2"/>
</body>{LEG.format("left", 0.12)}{LEG.format("right", -0.12)}</body></worldbody></mujoco>"""


def term(name, size, **more):
    """One entry of the observation."""
    overloads = {"clip": None, "flatten_history_dim": True, "history_length": 2, "scale": None}
    overloads |= {k: more.pop(k) for k in list(more) if k in overloads}
    return {
        "name": name,
        "full_path": f"isaaclab.envs.mdp.observations.{name}",
        "observation_type": "RootState",
        "extras": {"modifiers": None},
        "overloads": overloads,
        "shape": [size],
        **more,
    }


SAID = {
    "actions": [
        {
            "full_path": "isaaclab.envs.mdp.actions.joint_actions.JointPositionAction",
            "joint_names": LEGS,
            "scale": 0.5,
            "offset": [-0.2, -0.2, 0.4, 0.4],
            "clip": [[-1.0, 1.0]] * 4,
            "shape": [4],
        }
    ],
    "articulations": {
        "robot": {
            "joint_names": NAMES,
            "default_joint_pos": [0.1, -0.2, -0.2, 0.4, 0.4],
            "default_joint_stiffness": [5.0, 40.0, 40.0, 30.0, 30.0],
            "default_joint_damping": [0.5, 2.0, 2.0, 1.5, 1.5],
            "default_joint_armature": [0.01] * 5,
            "default_joint_friction": [0.02] * 5,
            "default_joint_pos_limits": [[-3, 3], [-1, 1], [-0.8, 1], [0, 2], [0, 2]],
        }
    },
    "observations": {
        "policy": [
            term("base_ang_vel", 3, scale=0.2),
            term("projected_gravity", 3),
            term("locomotion_command", 3, observation_type="Command"),
            term("joint_pos_rel", 4, joint_names=LEGS, joint_pos_offsets=[-0.2, -0.2, 0.4, 0.4]),
            term("joint_vel_rel", 4, joint_names=LEGS, joint_vel_offsets=[0.0] * 4, clip=[-9, 9]),
            term("last_action", 4),
        ]
    },
    "scene": {"decimation": 4, "dt": 0.02, "physics_dt": 0.005},
}


@pytest.fixture(scope="module")
def robot(tmp_path_factory):
    path = tmp_path_factory.mktemp("robot") / "walker.xml"
    path.write_text(ROBOT)
    return path


@pytest.fixture()
def reading(robot, tmp_path):
    """What is read of the file with changes: path of keys -> value."""

    def read(*changes):
        data = copy.deepcopy(SAID)
        for *path, last, value in changes:
            place = data
            for word in path:
                place = place[word]
            place[last] = value
        path = tmp_path / "IO_descriptors.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        return io_descriptors.read(path, read_data(path), Joints(read_published(robot, None).model))

    return read


def test_every_entry_is_read_and_says_where(reading):
    source = reading()
    said, terms = source.mapping, source.mapping["observation"]["terms"]
    assert said["rates"] == {"control_hz": 50, "physics_hz": 200, "integrator": "implicitfast"}
    assert said["action"]["joints"] == LEGS and said["action"]["scale"] == [0.5] * 4
    assert said["action"]["limits"] == [[-1, 1]] * 4 and "clip" not in said["action"]
    assert said["hold"] == {"head": 0.1}
    assert said["drives"]["stiffness"]["left_knee"] == 30.0
    assert said["drives"]["armature"]["head"] == 0.01
    assert [t["signal"] for t in terms] == [
        "base_angular_velocity",
        "gravity_direction",
        "command",
        "joint_position",
        "joint_velocity",
        "last_action",
    ]
    assert terms[3]["minus"] == [-0.2, -0.2, 0.4, 0.4] and terms[4]["clip"] == [-9, 9]
    assert {t["history"] for t in terms} == {2}
    assert source.said["action.scale"] == "IO_descriptors.yaml: actions.scale"
    assert "right_hip" in source.said["ranges of joints"]


BODY = ("articulations", "robot")
WRONG = {
    "default_joint_stiffness is missing": (*BODY, "default_joint_stiffness", None),
    "default_joint_pos: 4 numbers, 5": (*BODY, "default_joint_pos", [0.0] * 4),
    "no joint named 'nose'": (*BODY, "joint_names", ["nose", *LEGS]),
    "default_joint_stiffness is 0": (*BODY, "default_joint_stiffness", [0.0] * 5),
    "dt is missing": ("scene", "dt", None),
    "scene.physics_dt: 0 is no duration": ("scene", "physics_dt", 0),
    "scale is missing": ("actions", 0, "scale", None),
    "found BinaryAction": ("actions", 0, "full_path", "x.BinaryAction"),
    "no function 'height_scan' is known": ("observations", "policy", 0, "full_path", "height_scan"),
    r"shape: \[4\]; \[3\] was expected": ("observations", "policy", 0, "shape", [4]),
    "modifiers": ("observations", "policy", 0, "extras", "modifiers", [{"func": "bias"}]),
    "joint_pos_offsets is missing": ("observations", "policy", 3, "joint_pos_offsets", None),
}


@pytest.mark.parametrize("words", WRONG)
def test_what_is_missing_or_unknown_is_named(words, reading):
    with pytest.raises(UserError, match=words):
        reading(WRONG[words])


def random_policy(path, size, outputs, **metadata):
    """An ONNX file that gives nearly nothing."""
    rng = np.random.default_rng(0)
    weights = {"W": rng.normal(0, 0.01, (size, outputs)), "B": np.zeros(outputs)}
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["obs", "W", "B"], ["actions"])],
        "policy",
        [helper.make_tensor_value_info("obs", TensorProto.FLOAT, [1, size])],
        [helper.make_tensor_value_info("actions", TensorProto.FLOAT, [1, outputs])],
        [numpy_helper.from_array(np.float32(w), n) for n, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    save(model, path)


def imported(words, folder, monkeypatch):
    """An import without its trial."""
    monkeypatch.chdir(folder)
    source, *rest = words
    return import_policy(asked(source, dict(word.split("=", 1) for word in rest)))


def test_it_becomes_a_run_that_holds_the_joints_beside_the_action(
    robot, reading, tmp_path, monkeypatch
):
    reading()
    random_policy(tmp_path / "policy.onnx", 2 * 21, 4)
    words = ("IO_descriptors.yaml", f"robot={robot}", "policy=policy.onnx", "out=run")
    made = imported(words, tmp_path, monkeypatch)
    said = made.policy.contract["deploy"]
    assert said["control_hz"] == 50.0 and said["joints"] == LEGS
    assert said["stiffness_nm_per_rad"] == [40.0, 40.0, 30.0, 30.0]
    robot_file = yaml.safe_load(next((tmp_path / "run").rglob("robot.yaml")).read_text())
    (head,) = [drive for drive in robot_file["drives"] if drive["joint"] == "head"]
    assert head["kind"] == "position" and head["neutral"] == pytest.approx(0.1)
    assert head["stiffness"] == 5.0 and head["armature"] == 0.01


MJLAB = {
    "run_path": "local",
    "joint_names": ",".join(NAMES),
    "joint_stiffness": "5.000,40.000,40.000,30.000,30.000",
    "joint_damping": "0.500,2.000,2.000,1.500,1.500",
    "default_joint_pos": "0.100,-0.200,-0.200,0.400,0.400",
    "command_names": "twist",
    "observation_names": "base_ang_vel,projected_gravity,joint_pos,joint_vel,actions,command",
    "observation_terms_scale": "0.200,1.000,1.000,1.000,1.000,2.000;2.000;0.250",
    "observation_terms_clip": "-inf;inf,-inf;inf,-1.000;1.000,-inf;inf,-inf;inf,-inf;inf",
    "observation_terms_history_length": "0,0,0,0,0,0",
    "observation_terms_flatten_history_dim": "True,True,True,True,True,True",
    "action_scale": "0.500",
}


def test_metadata_of_mjlab_is_enough_for_an_import(robot, tmp_path, monkeypatch):
    random_policy(tmp_path / "policy.onnx", 24, 5, **MJLAB)
    made = imported(("policy.onnx", f"robot={robot}", "out=run"), tmp_path, monkeypatch)
    said, entries = made.policy.contract["mapping"], made.source.said
    terms = said["observation"]["terms"]
    assert terms[0]["scale"] == [0.2] * 3 and terms[2]["clip"] == [-1, 1]
    assert terms[5]["scale"] == [2.0, 2.0, 0.25]
    assert said["action"]["scale"] == [0.5] * 5 and said["joints"] == NAMES
    assert entries["rates.control_hz"].startswith("assumed: 50 Hz")
    assert entries["drives.stiffness"] == "policy.onnx: joint_stiffness"


@pytest.mark.parametrize("key", ["joint_names", "joint_stiffness", "action_scale"])
def test_a_missing_entry_of_the_metadata_is_named(key, robot, tmp_path):
    random_policy(tmp_path / "policy.onnx", 24, 5, **{k: v for k, v in MJLAB.items() if k != key})
    done = here("import", "policy.onnx", f"robot={robot}", "out=run", cwd=tmp_path)
    assert done.returncode == 64 and f"{key} is missing" in done.stderr, done.stderr
    assert not (tmp_path / "run").exists()


def test_a_motion_of_mjlab_is_no_velocity_command_and_says_so(robot, tmp_path):
    said = {k: v for k, v in MJLAB.items() if not k.startswith("observation_terms")}
    said["observation_names"] = "motion_anchor_pos_b,joint_pos"
    random_policy(tmp_path / "policy.onnx", 24, 5, **said)
    done = here("import", "policy.onnx", f"robot={robot}", "out=run", cwd=tmp_path)
    assert done.returncode == 64 and "motion_anchor_pos_b" in done.stderr, done.stderr
