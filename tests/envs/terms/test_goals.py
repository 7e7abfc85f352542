"""Goals are functions of key and time, and their errors are distances worked out by hand."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from robo_rl.envs import mdp
from robo_rl.envs.step import make
from robo_rl.envs.terms import goals
from robo_rl.robots.robot import load_robot
from robo_rl.robots.signals import Command, rotation_matrix

KEY, OTHER = jax.random.key(0), jax.random.key(1)
WITH_GOAL = [name for name in mdp.names() if mdp.get(name).goal]


@pytest.mark.parametrize("name", WITH_GOAL)
def test_a_goal_is_fixed_by_its_key_and_stays_finite(name):
    declared = mdp.get(name)
    robot, at = load_robot(declared.robot), declared.goal.at
    times = [0.0, 0.5 * declared.episode_s, declared.episode_s]
    first = np.array([at(robot, KEY, jnp.float32(t)).vector for t in times])
    again = np.array([at(robot, KEY, jnp.float32(t)).vector for t in times])
    np.testing.assert_array_equal(first, again)
    assert np.isfinite(first).all()


def test_waypoints_change_every_so_often_and_not_between():
    robot, goal = (
        load_robot("quadrotor"),
        goals.waypoints(0.6, (0.7, 1.3), every_s=3.0, tolerance_m=0.15),
    )
    at = [goal.at(robot, KEY, jnp.float32(t)).place_w_m for t in (0.0, 2.9, 3.0, 5.9)]
    np.testing.assert_array_equal(at[0], at[1])
    np.testing.assert_array_equal(at[2], at[3])
    assert not np.array_equal(at[1], at[2])
    assert not np.array_equal(at[0], goal.at(robot, OTHER, jnp.float32(0.0)).place_w_m)


def test_points_to_reach_lie_in_their_shell():
    goal = goals.reach("tip", 1.2, (0.16, 0.32), (0.05, 0.30), (0.039, 0.0), 0.02)
    keys = jax.random.split(KEY, 500)
    points = np.asarray(jax.vmap(lambda k: goal.at(load_robot("arm"), k, 0.0).place_w_m)(keys))
    radius = np.hypot(points[:, 0] - 0.039, points[:, 1])
    azimuth = np.arctan2(points[:, 1], points[:, 0] - 0.039)
    assert radius.min() >= 0.16 and radius.max() <= 0.32 and np.ptp(radius) > 0.14
    assert np.abs(azimuth).max() <= 1.2 and azimuth.min() < -1.0 < 1.0 < azimuth.max()
    assert points[:, 2].min() >= 0.05 and points[:, 2].max() <= 0.30


def test_a_trajectory_stays_in_its_share_of_the_range_and_its_second_half_is_its_future():
    robot, goal = (
        load_robot("arm"),
        goals.joint_waves(0.5, 8.0, 2.0, ahead_s=0.1, tolerance_rad=0.1),
    )
    low, high = robot.model.jnt_range.T
    asked = [goal.at(robot, KEY, jnp.float32(0.1 * k)) for k in range(80)]
    now, ahead = np.array([c.joints for c in asked]), np.array([c.joints_ahead for c in asked])
    np.testing.assert_allclose(ahead[:-1], now[1:], atol=1e-5)
    assert (np.abs(now - (low + high) / 2) <= 0.25 * (high - low) + 1e-5).all()


def test_the_arms_trajectory_leans_back_and_stays_clear_of_the_table():
    env = make("arm-track")
    model, goal = env.robot.model, env.mdp.goal
    times = jnp.arange(0.0, env.mdp.episode_s, 0.2)
    at = jax.vmap(lambda key, t: goal.at(env.robot, key, t).joints, (None, 0))
    tracks = np.asarray(jax.jit(jax.vmap(at, (0, None)))(jax.random.split(KEY, 100), times))
    lift = model.joint("shoulder_lift").id
    assert tracks[..., lift].mean() == pytest.approx(-0.6, abs=0.05)
    data, table = mujoco.MjData(model), model.geom("table").id
    geoms = [model.geom(name).id for name in env.robot.file.forbidden_contacts]

    def clearance_m(qpos):
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        return min(mujoco.mj_geomDistance(model, data, g, table, 1.0, None) for g in geoms)

    assert min(map(clearance_m, tracks.reshape(-1, model.nu))) > 0.02


def judged(env, command, **signals):
    """What an episode would be judged by, the error that is learnt from, of these signals."""
    start = jax.eval_shape(env.reset, KEY).signals
    blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), start)
    seen = blank._replace(base_rotation=jnp.eye(3))._replace(**signals)
    goal = env.mdp.goal
    return tuple(float(of(env.robot, seen, command)) for of in (goal.judged, goal.error))


def test_a_walk_is_judged_by_its_turning_too():
    command = Command(velocity_b_mps=jnp.array([0.5, 0.0]), yaw_rate_radps=jnp.float32(0.3))
    env = make("quadruped-velocity")
    turning = {"base_velocity_w_mps": jnp.array([0.5, 0.0, 0.0]), "command": command}
    against = jnp.zeros(env.robot.model.nv).at[5].set(-0.3)
    assert judged(env, qvel=against, **turning) == pytest.approx((0.6, 0.0), abs=1e-6)
    slow = turning | {"base_velocity_w_mps": jnp.zeros(3)}
    assert judged(env, qvel=against, **slow) == pytest.approx((np.hypot(0.6, 0.5), 0.5), abs=1e-6)


def test_an_arm_is_judged_by_the_joint_that_is_farthest_off():
    off = jnp.array([0.0, 0.0, -0.3, 0.0, 0.0, 0.0])
    expected = (0.3, 0.3 / np.sqrt(6))
    command = Command(joints=jnp.zeros(6))
    assert judged(make("arm-track"), command, qpos=off) == pytest.approx(expected)


def test_the_error_of_a_hover_is_the_distance_from_its_point():
    env = make("quadrotor-hover")
    physics_state, readout = env.engine.place(
        np.array([0.3, 0.0, 1.4, 1, 0, 0, 0]), np.zeros(env.robot.model.nv)
    )
    state = env.begin(KEY, None, jnp.asarray(physics_state), readout)
    assert float(state.signals.goal_error) == pytest.approx(0.5, abs=1e-6)


def test_a_quarter_turn_about_z_maps_x_to_y():
    half = np.pi / 4
    turned = rotation_matrix(jnp.array([np.cos(half), 0.0, 0.0, np.sin(half)])) @ jnp.array(
        [1.0, 0.0, 0.0]
    )
    np.testing.assert_allclose(turned, [0.0, 1.0, 0.0], atol=1e-6)
