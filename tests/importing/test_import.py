"""The import command on a robot of the suite and a network that does nothing: it stands."""

import json

import numpy as np
import pytest
import yaml

from robo_rl import content
from tests.commands import as_a_process, here

onnx = pytest.importorskip("onnx")
LEGS = ("FR", "FL", "RR", "RL")
JOINTS = [f"{leg}_{part}" for leg in LEGS for part in ("hip", "thigh", "calf")]
MODEL = content.folder("envs") / "quadruped" / "quadruped.xml"


def joints():
    import mujoco

    model = mujoco.MjModel.from_xml_path(str(MODEL))
    return [model.joint(j).name for j in range(1, model.njnt)]


def linear(path, size, outputs, gain=0.0):
    """An ONNX network of one matrix."""
    from onnx import TensorProto, helper, numpy_helper

    weight = np.full((size, outputs), gain, np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["obs", "w"], ["action"])],
        "linear",
        [helper.make_tensor_value_info("obs", TensorProto.FLOAT, [1, size])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, [1, outputs])],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), str(path))


def mapping(**more):
    names = joints()
    return {
        "format": "robo_rl.mapping/1",
        "joints": names,
        "default": [0.0, 0.9, -1.8] * 4,
        "rates": {"control_hz": 50},
        "observation": {
            "terms": [
                {"signal": "gravity_direction"},
                {"signal": "joint_position", "minus": "default"},
                {"signal": "command"},
            ]
        },
        "action": {"scale": 0.25},
        **more,
    }


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("standing")
    linear(folder / "still.onnx", 18, 12)
    (folder / "mapping.yaml").write_text(yaml.safe_dump(mapping()))
    return folder


@pytest.fixture(scope="session")
def standing(place):
    words = (f"robot={MODEL}", "policy=still.onnx", "out=run", "forward_mps=[0,1]")
    done = here("import", "mapping.yaml", *words, cwd=place)
    assert done.returncode == 0, done.stderr
    return place / "run"


def test_an_import_says_what_it_read_what_it_assumed_and_what_the_robot_does(standing):
    said = json.loads((standing / "import.json").read_text())
    trial = said["trial"]
    assert (trial["fell"], trial["seconds"]) == (False, 20.0)
    assert np.abs(trial["velocity_b_mps"]).max() < 0.02  # it stands where it is
    assert said["entries"]["joints"] == "mapping.yaml: joints"
    assert said["entries"]["command.forward_mps"] == "as asked"
    assert said["entries"]["command.turn_radps"].startswith("assumed: [-0.5, 0.5]")
    assert {r["axis"]: r["least_followed"] for r in said["response"]} == dict.fromkeys(
        ("forward", "sideways", "turn")
    )  # it follows none
    page = (standing / "import" / "report.html").read_text()
    assert "No golden data was compared with" in page


def test_a_robot_that_only_stands_is_rejected_and_its_checklist_is_red(standing, place):
    judged = here("safety", "run", "episodes=8", "replays=0", cwd=place)
    assert judged.returncode == 1, judged.stdout
    assert "does_its_task" in judged.stdout
    made = here("checklist", "run", cwd=place)
    assert made.returncode == 1
    assert "not compared with golden data" in (standing / "checklist" / "report.md").read_text()


def test_what_mistakes_do_cannot_be_told_from_a_policy_that_does_not_do_its_task(standing, place):
    done = here("wiring", "run", cwd=place)
    assert done.returncode == 2, done.stdout
    found = json.loads((standing / "wiring" / "results.json").read_text())
    rows = {r["mistake"]: r for r in found["rows"]}
    assert rows["gravity points up"]["grade"] == "UNKNOWN"
    assert rows["gravity points up"]["words"].startswith("cannot be told")
    assert "send a small action" in rows["default pose not added to the targets"]["shown_by"][0]
    assert "does not do its task" in found["why"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rates": None}, "rates is missing"),
        ({"joint": []}, "joint: no such key"),
        ({"joints": ["FR_hipp"]}, "no joint named 'FR_hipp'"),
        ({"default": [0.0, 0.9]}, "default: 2 values for 12 joints"),
        ({"joints": ["FR_hip", "FR_hip"]}, "FR_hip is listed twice"),
        ({"action": {"scale": float("nan")}}, "finite number"),
        ({"action": {"clip": [1.0, -1.0]}}, "the lower end comes first"),
        ({"command": {"forward_mps": [1.0, -1.0]}}, "the lower end comes first"),
        ({"start": {"hold_s": 1.0e9}}, "less than or equal to 10"),
        ({"suite": "nosuch"}, "no suite named 'nosuch'"),
        ({"start": {"pose": "keyframe", "keyframe": "sitting"}}, "no keyframe 'sitting'"),
        ({"observation": {"terms": [{"signal": "command"}]}}, "takes 18 numbers and the"),
        (
            {"command": {"forward_mps": [0, 0], "sideways_mps": [0, 0], "turn_radps": [0, 0]}},
            "zero",
        ),
    ],
)
def test_a_mapping_that_cannot_be_is_refused_and_leaves_nothing(change, said, place, tmp_path):
    given = {k: v for k, v in {**mapping(), **change}.items() if v is not None}
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(given))
    words = (f"robot={MODEL}", f"policy={place / 'still.onnx'}", "out=run")
    done = here("import", "m.yaml", *words, cwd=tmp_path)
    assert done.returncode == 64, done.stdout
    assert said in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.yaml"]


def test_an_import_never_takes_the_place_of_a_run(standing, place):
    before = (standing / "policy" / "policy.json").read_bytes()
    words = (f"robot={MODEL}", "policy=still.onnx", "out=run")
    done = here("import", "mapping.yaml", *words, cwd=place)
    assert done.returncode == 64 and "already holds a run" in done.stderr
    assert (standing / "policy" / "policy.json").read_bytes() == before


def test_a_moved_run_is_what_it_was_and_a_changed_one_is_refused(standing, place, tmp_path):
    import shutil

    moved = tmp_path / "moved"
    shutil.copytree(standing, moved)
    kept = here("compare", f"runs={standing},{moved}", "episodes=9", "out=c", cwd=tmp_path)
    assert kept.returncode == 0, kept.stderr
    changed = tmp_path / "changed"
    shutil.copytree(standing, changed)
    robot = next((changed / "robot" / "envs").iterdir())
    renamed = robot.with_name("heavier")  # a robot of another name is not the contract's
    robot.rename(renamed)
    done = as_a_process("checklist", changed, cwd=tmp_path, ROBO_RL_RUNS="")
    assert done.returncode == 64 and "no environment named" in done.stderr


ACTUATORS = {
    "dynamics": ('kp="35"', 'kp="35" timeconst="0.06"', "dynamics (dyntype) of its own"),
    "two": (
        "</actuator>",
        '<velocity joint="j" kv="1"/></actuator>',
        "several actuators act on it",
    ),
    "one-sided": ('kp="35"', 'kp="35" forcerange="-35 8"', "is not symmetric"),
}


@pytest.mark.parametrize("kind", ACTUATORS)
def test_what_a_drive_would_leave_out_of_the_models_actuator_is_refused(kind, place, tmp_path):
    old, new, said = ACTUATORS[kind]
    model = """<mujoco><worldbody><geom type="plane" size="5 5 1"/><body name="b" pos="0 0 1">
    <joint name="j" axis="0 1 0"/><geom size="0.1"/></body></worldbody>
    <actuator><position joint="j" kp="35" ctrlrange="-1 1"/></actuator></mujoco>"""
    (tmp_path / "arm.xml").write_text(model.replace(old, new))
    given = {
        "format": "robo_rl.mapping/1",
        "task": "hold",
        "joints": ["j"],
        "rates": {"control_hz": 50},
        "observation": {"terms": [{"signal": "joint_position"}]},
    }
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(given))
    linear(tmp_path / "still.onnx", 1, 1)
    done = here("import", "m.yaml", "robot=arm.xml", "policy=still.onnx", "out=run", cwd=tmp_path)
    assert done.returncode == 64, done.stdout
    assert said in done.stderr


def test_a_share_of_full_command_says_nothing_of_a_drive_whose_targets_are_not_bounded(standing):
    from robo_rl.envs.step import make
    from robo_rl.injection.injectors import NotApplicableError, inject
    from robo_rl.policy.stored import load_policy

    contract = load_policy(standing).contract
    env = make(contract["env"], contract["reward"])
    for name in ("actuator_saturation", "actuator_slew", "action_noise"):
        with pytest.raises(NotApplicableError, match="no full scale"):
            inject(env.neutral(), env.robot, name, 0.5, np.random.default_rng(0), "test")
