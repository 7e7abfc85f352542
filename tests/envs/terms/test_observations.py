"""What a policy sees, worked out by hand from signals."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from robo_rl.envs import mdp
from robo_rl.envs.mdp import ObservationTerm
from robo_rl.envs.step import make
from robo_rl.envs.terms import observations as obs
from robo_rl.errors import UserError
from robo_rl.robots.robot import load_robot
from robo_rl.robots.signals import Command, Measured, Signals, measured

QUARTER_LEFT = [np.cos(np.pi / 4), 0.0, 0.0, np.sin(np.pi / 4)]  # 90 degrees about z


def signals(**given):
    fields = {"qpos": np.zeros(19), "qvel": np.zeros(18), "command": Command(), "sensors": None}
    return SimpleNamespace(**{**fields, **given})


def test_slices_are_named_as_they_are_cut():
    assert obs.positions(1).name == "qpos[1:]"
    assert obs.positions().name == "qpos"
    assert obs.velocities(0, 3, clip=10.0).name == "qvel[0:3] clipped at 10"


def test_velocities_are_clipped_on_both_sides():
    s = signals(qvel=jnp.array([-30.0, 4.0, 30.0]))
    np.testing.assert_array_equal(obs.velocities(clip=10.0).read(None, s), [-10.0, 4.0, 10.0])


def test_upright_gravity_points_down_and_on_its_nose_forward():
    read = obs.gravity_in_base().read
    level = signals(qpos=jnp.array([0, 0, 0, 1.0, 0, 0, 0]))
    np.testing.assert_allclose(read(None, level), [0, 0, -1], atol=1e-6)
    nose_down = [np.cos(np.pi / 4), 0.0, np.sin(np.pi / 4), 0.0]  # 90 degrees about y
    tipped = signals(qpos=jnp.array([0, 0, 0, *nose_down]))
    np.testing.assert_allclose(read(None, tipped), [1, 0, 0], atol=1e-6)


def test_velocity_in_the_base_turns_with_the_base_and_its_rates_do_not():
    """MuJoCo's free joint has linear velocity in the world's frame, angular in the body's."""
    s = signals(
        qpos=jnp.array([0, 0, 0, *QUARTER_LEFT]), qvel=jnp.array([0.0, 2.0, 0.5, 0.1, 0.2, 0.3])
    )
    found = obs.base_velocities().read(None, s)
    np.testing.assert_allclose(found, [2.0, 0.0, 0.5, 0.1, 0.2, 0.3], atol=1e-6)


def test_a_planar_goal_is_seen_from_the_base():
    there = Command(place_w_m=jnp.array([1.0, 4.0, 9.0]))
    s = signals(qpos=jnp.array([1.0, 1.0, 0.2, *QUARTER_LEFT]), command=there)
    np.testing.assert_allclose(obs.planar_goal().read(None, s), [3.0, 0.0], atol=1e-6)


def test_joint_offsets_are_zero_at_home():
    robot = load_robot("biped")
    s = signals(qpos=jnp.asarray(robot.qpos0, jnp.float32).at[7 + 3].add(0.25))
    found = np.asarray(obs.joint_offsets().read(robot, s))
    np.testing.assert_allclose(found, 0.25 * (np.arange(12) == 3), atol=1e-6)


def test_proximity_is_one_at_contact_and_falls_by_e_at_the_scale():
    robot = load_robot("rover")
    ranges = np.full(60, 2.0, np.float32)
    ranges[robot.sensor("ranges").start] = 0.0
    found = obs.proximity("ranges", scale_m=2.0).read(robot, signals(sensors=jnp.asarray(ranges)))
    assert float(found[0]) == 1.0
    np.testing.assert_allclose(found[1:], np.exp(-1.0), rtol=1e-6)


@pytest.mark.parametrize("name", mdp.names())
def test_the_observation_is_as_long_as_its_entries(name):
    env = make(name)
    state = jax.eval_shape(env.reset, jax.random.key(0))
    assert state.observation.shape == (env.observation_size,)
    assert len(env.observation_sizes) == len(env.mdp.observe) and min(env.observation_sizes) > 0
    assert all(o.unit for o in env.mdp.observe)


ONLY_TRUE = sorted(set(Signals._fields) - set(Measured._fields))


def test_what_only_the_truth_has_is_no_part_of_what_is_measured():
    known = {"qpos", "qvel", "constraint_force", "sensors", "sensors_lagged", "action", "command"}
    assert set(Measured._fields) == known
    assert {"base_rotation", "base_velocity_w_mps", "power_w", "goal_error"} <= set(ONLY_TRUE)
    assert {"sensors_peak", "around"} <= set(ONLY_TRUE)


@pytest.mark.parametrize("field", ONLY_TRUE)
def test_an_observation_cannot_be_made_of_the_truth(field, monkeypatch):
    leak = ObservationTerm("leak", "1", lambda robot, s: jnp.ravel(getattr(s, field)))
    leaky = replace(mdp.get("inverted-pendulum"), observe=(leak,))
    entry = mdp.Entry(lambda: leaky, frozenset())
    monkeypatch.setitem(mdp.ENTRIES._parts, f"leaky-{field}", entry)
    env = make(f"leaky-{field}")
    with pytest.raises(AttributeError, match=field):
        jax.eval_shape(env.reset, jax.random.key(0))


@pytest.mark.parametrize("name", mdp.names())
def test_an_observation_is_the_same_whatever_is_true_behind_its_readings(name):
    """Rebuilt from the readings, the last action and the command alone."""
    env = make(name)

    def both(key):
        here = env.reset(key)
        reading = jnp.concatenate([here.signals.qpos, here.signals.qvel])
        reading = jnp.concatenate([reading, here.signals.constraint_force, here.signals.sensors])
        known = measured(env.robot, reading, here.lagged, here.signals.action, here.command)
        return here.observation, env.observe(known)

    own, rebuilt = jax.jit(both)(jax.random.key(0))
    np.testing.assert_array_equal(own, rebuilt)


def test_a_policy_does_not_see_where_obstacles_are_but_by_its_scanner():
    rover = make("rover-navigate")
    assert list(rover.robot.lidar.sizes) == ["ranges"]
    with pytest.raises(UserError, match="no sensor named 'clearance'"):
        rover.robot.sensor("clearance")
    command = jax.eval_shape(rover.reset, jax.random.key(0)).command
    assert [name for name, part in command._asdict().items() if part is not None] == ["place_w_m"]


def test_a_command_that_the_task_does_not_give_is_named():
    with pytest.raises(UserError, match="a place to be at"):
        obs.base_to_goal().read(None, signals())
