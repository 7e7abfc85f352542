"""A mapping compiled against a robot: what the network sees and what its output drives, by hand."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from robo_rl.errors import UserError
from robo_rl.policy.compiling import Actuator, compile_mapping
from robo_rl.policy.mapping import Mapping
from robo_rl.policy.networks import Graph, GraphProgram, Node, begin
from robo_rl.policy.stored import Policy
from robo_rl.robots import offered

MODEL = """
<mujoco>
  <worldbody>
    <body name="trunk" pos="0 0 1">
      <freejoint/>
      <geom size="0.1" mass="1"/>
      <site name="imu" pos="0.1 0 0" euler="0 0 90"/>
      <body pos="0 0.1 0"><joint name="left" axis="0 1 0"/><geom size="0.02" mass="0.1"/></body>
      <body pos="0 -0.1 0"><joint name="right" axis="0 1 0"/><geom size="0.02" mass="0.1"/></body>
    </body>
  </worldbody>
</mujoco>
"""
FRAME = (
    (offered.POSITION, 2),
    (offered.VELOCITY, 2),
    (offered.QUATERNION, 4),
    (offered.LINEAR, 3),
    (offered.ANGULAR, 3),
    (offered.HEIGHT, 1),
    (offered.COMMAND, 3),
)
ACTUATORS = (Actuator("left", 0.5, 2.0), Actuator("right", -0.5, 4.0, -1.0, 1.0))
HALF = np.sqrt(0.5)
LYING = [HALF, HALF, 0.0, 0.0]  # rolled by 90 degrees: the world's down is its -y


def mapping(*terms, **more):
    observation = {"terms": terms, **more.pop("observation", {})}
    given = {
        "joints": ["right", "left"],
        "default": {"left": 0.2, "right": -0.1},
        "rates": {"control_hz": 50.0},
        "observation": observation,
        **more,
    }
    return Mapping(**given)


def frame(**changes):
    values = {name: np.zeros(size) for name, size in FRAME}
    values[offered.QUATERNION] = np.array([1.0, 0, 0, 0])
    values |= {name.replace("_", " "): np.asarray(v, float) for name, v in changes.items()}
    return np.concatenate([values[name] for name, _ in FRAME])[None]


def policy(made, gain=1.0):
    """A network that gives `gain` times the first two numbers that it sees."""
    model = mujoco.MjModel.from_xml_string(MODEL)
    wired = compile_mapping(made, model, 1, FRAME, ("left", "right"), ACTUATORS, 0.02)
    size = len(wired.wiring.place)
    program = GraphProgram((Node("MatMul", ("seen", "w"), ("out",)),), "seen", "out")
    weights = {"w": gain * np.eye(size, 2, dtype=np.float32)}
    return Policy(Graph(program, weights, size), {"env": "test"}, wired)


def seen(made, *frames):
    """What the network sees in the last of some frames."""
    found, memory = policy(made), begin(np, policy(made).program, (1,))
    for given in frames:
        observation, _ = found.program.observe(np, found.wired.wiring, memory, given)
        _, memory = found.program.act(np, found.parameters, memory, given)
    return observation[0]


def test_joints_are_in_the_policys_order_and_relative_to_its_default():
    made = mapping({"signal": "joint_position", "minus": "default", "scale": 2.0})
    np.testing.assert_allclose(seen(made, frame(joint_position=[0.5, 0.3])), [0.8, 0.6])


def test_a_term_is_clipped_before_it_is_scaled_and_the_whole_at_the_end():
    made = mapping({"signal": "joint_velocity", "scale": 3.0, "clip": (-1.0, 1.0)})
    given = frame(joint_velocity=[0.5, -7.0])
    np.testing.assert_allclose(seen(made, given), [-3.0, 1.5])
    clipped = mapping({"signal": "joint_velocity"}, observation={"clip": 2.0})
    np.testing.assert_allclose(seen(clipped, given), [-2.0, 0.5])


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ({"signal": "gravity_direction"}, [0.0, -1.0, 0.0]),
        ({"signal": "gravity_direction", "frame": "world"}, [0.0, 0.0, -1.0]),
        ({"signal": "base_linear_velocity"}, [1.0, 3.0, -2.0]),
        ({"signal": "base_linear_velocity", "frame": "world"}, [1.0, 2.0, 3.0]),
        ({"signal": "base_angular_velocity"}, [0.0, 0.0, 1.0]),
        ({"signal": "base_angular_velocity", "frame": "world"}, [0.0, -1.0, 0.0]),
        # at the imu, 0.1 m ahead: + w x r = (0, 0.1, 0); its x axis is the base's y, its y the -x
        ({"signal": "base_linear_velocity", "at": "imu"}, [3.1, -1.0, -2.0]),
        ({"signal": "gravity_direction", "at": "imu"}, [-1.0, 0.0, 0.0]),
        ({"signal": "base_orientation", "order": "xyzw"}, [HALF, 0.0, 0.0, HALF]),
        ({"signal": "roll_pitch_yaw"}, [np.pi / 2, 0.0, 0.0]),
        ({"signal": "command", "axes": [2]}, [0.7]),
        ({"signal": "constant", "values": [4.0, 5.0]}, [4.0, 5.0]),
    ],
)
def test_signals_of_a_base_that_lies_on_its_side(term, expected):
    given = frame(
        base_quaternion=LYING,
        base_linear_velocity=[1.0, 2.0, 3.0],
        base_angular_velocity=[0.0, 0.0, 1.0],
        command=[0.1, 0.2, 0.7],
    )
    np.testing.assert_allclose(seen(mapping(term), given), expected, atol=1e-6)


def positions(*values):
    return [frame(joint_position=[v, 10 * v]) for v in values]


@pytest.mark.parametrize(
    ("stacked", "expected"),
    [
        ({}, [[10, 20, 30], [1, 2, 3]]),
        ({"newest": "first"}, [[30, 20, 10], [3, 2, 1]]),
        ({"starts": "zero"}, [[10, 20, 30], [1, 2, 3]]),
    ],
)
def test_the_past_of_each_term_lies_together(stacked, expected):
    left = {"signal": "joint_position", "joints": ["left"], "history": 3}
    right = {"signal": "joint_position", "joints": ["right"], "history": 3}
    made = mapping(right, left, observation=stacked)
    np.testing.assert_allclose(seen(made, *positions(1, 2, 3)), np.ravel(expected))


def test_the_past_of_the_whole_lies_frame_by_frame_and_begins_with_the_first():
    whole = {"stacked": "whole", "history": 3}
    made = mapping({"signal": "joint_position"}, observation=whole)
    np.testing.assert_allclose(seen(made, *positions(1, 2)), [10, 1, 10, 1, 20, 2])
    empty = mapping({"signal": "joint_position"}, observation={**whole, "starts": "zero"})
    np.testing.assert_allclose(seen(empty, *positions(1, 2)), [0, 0, 10, 1, 20, 2])


def test_the_clock_counts_control_steps_from_its_phase():
    waves = [{"function": "sin"}, {"function": "cos"}]
    clock = {"signal": "clock", "period_s": 0.08, "phase": 0.25, "waves": waves}
    np.testing.assert_allclose(seen(mapping(clock), frame()), [1.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(seen(mapping(clock), frame(), frame()), [0.0, -1.0], atol=1e-6)


def test_an_output_drives_its_joint_around_its_default_and_within_the_models_range():
    made = mapping({"signal": "joint_velocity"}, action={"scale": 0.5})
    found = policy(made)
    action, memory = found.act(frame(joint_velocity=[2.0, 9.0])[0], found.begin())
    # outputs (right, left) = (9, 2): targets -0.1 + 4.5, which the model clips at 1, and 0.2 + 1
    np.testing.assert_allclose(action, [(1.2 - 0.5) / 2.0, (1.0 + 0.5) / 4.0], atol=1e-6)
    np.testing.assert_allclose(memory["action"], [9.0, 2.0])


def test_the_last_output_comes_back_as_it_was_clipped():
    made = mapping(
        {"signal": "joint_velocity"}, {"signal": "last_action"}, action={"clip": (-3.0, 3.0)}
    )
    given = frame(joint_velocity=[2.0, 9.0])
    np.testing.assert_allclose(seen(made, given, given), [9.0, 2.0, 3.0, 2.0])


def test_a_robot_of_a_batch_remembers_what_it_would_alone_in_numpy_and_in_jax():
    terms = {"signal": "joint_position", "history": 2}, {"signal": "last_action"}
    found = policy(mapping(*terms, action={"scale": 0.1}), gain=0.5)
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(5, 3, sum(size for _, size in FRAME))).astype(np.float32)
    together, alone = found.begin(3), [found.begin() for _ in range(3)]
    in_jax = begin(jnp, found.program, (3,))
    parameters = jax.tree.map(jnp.asarray, found.parameters)
    for row in frames:
        actions, together = found.act(row, together)
        of_jax, in_jax = found.program.act(jnp, parameters, in_jax, jnp.asarray(row))
        for k in range(3):
            single, alone[k] = found.act(row[k], alone[k])
            np.testing.assert_allclose(actions[k], single, atol=1e-6)
        np.testing.assert_allclose(of_jax, actions, atol=1e-5)
    assert not np.allclose(actions[0], actions[1])


def test_what_remembers_is_not_called_like_a_function():
    found = policy(mapping({"signal": "last_action"}))
    with pytest.raises(UserError, match="it remembers its last steps"):
        found(frame()[0])


@pytest.mark.parametrize(
    ("term", "said"),
    [
        ({"signal": "joint_positon"}, "Did you mean 'joint_position'"),
        ({"signal": "joint_position", "joints": ["lefd"]}, "Did you mean 'left'"),
        ({"signal": "joint_position", "scale": [1.0, 2.0, 3.0]}, "scale has 3 values, the term 2"),
        ({"signal": "gravity_direction", "at": "foot"}, "no site or body named 'foot'"),
        ({"signal": "sensor", "sensor": "gyro"}, "no sensor of the model named 'gyro'"),
        ({"signal": "clock"}, "needs period_s and waves"),
        ({"signal": "joint_velocity", "minus": "default"}, "minus is for joint_position"),
    ],
)
def test_a_mistake_in_a_term_is_named(term, said):
    with pytest.raises(UserError, match=said):
        policy(mapping(term))
