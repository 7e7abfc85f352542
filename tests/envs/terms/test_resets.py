"""Starts are where their description says, vary, and shrink to the home with their scale."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from robo_rl.envs import mdp
from robo_rl.envs.terms import resets
from robo_rl.robots.robot import load_robot

KEYS = jax.random.split(jax.random.key(3), 256)


def drawn(reset, robot, scale=1.0):
    at, speed = jax.vmap(lambda key: reset.draw(robot, key, jnp.float32(scale)))(KEYS)
    return np.asarray(at), np.asarray(speed)


@pytest.mark.parametrize("name", mdp.names())
def test_a_start_without_noise_is_the_same_in_every_episode(name):
    declared = mdp.get(name)
    robot = load_robot(declared.robot, declared.terrain)
    at, speed = drawn(declared.reset, robot, scale=0.0)
    joints = at[:, 7:] if robot.terrain else at
    if name != "reacher":  # its target is drawn all the same
        assert np.ptp(joints, axis=0).max() == 0.0
    assert np.abs(speed).max() == 0.0


def test_uniform_noise_fills_its_box_and_does_not_leave_it():
    robot = load_robot("hopper")
    at, speed = drawn(resets.uniform(0.1, 0.3), robot)
    apart = at - robot.qpos0
    assert 0.09 < np.abs(apart).max() <= 0.1 + 1e-6
    assert 0.28 < np.abs(speed).max() <= 0.3


def test_normal_velocities_have_their_deviation():
    _, speed = drawn(resets.uniform_normal(0.1, 0.5), load_robot("ant"))
    assert speed.std() == pytest.approx(0.5, rel=0.05)


def test_a_target_lies_in_its_disc_and_rests():
    at, speed = drawn(resets.reaching(0.1, 0.1, 0.2), load_robot("reacher"))
    radius = np.linalg.norm(at[:, -2:], axis=1)
    assert radius.max() <= 0.2
    assert (radius < 0.2 / np.sqrt(2)).mean() == pytest.approx(0.5, abs=0.1)  # uniform by area
    assert not speed[:, -2:].any()


def test_a_floating_start_keeps_a_unit_quaternion_and_its_tilt():
    robot = load_robot("quadruped")
    at, speed = drawn(resets.floating(0.1, 0.3, 0.5, 0.7, joint_rad=0.2), robot)
    np.testing.assert_allclose(np.linalg.norm(at[:, 3:7], axis=1), 1.0, atol=1e-6)
    tilt = 2 * np.arccos(np.clip(at[:, 3], -1, 1))
    assert 0.25 < tilt.max() <= 0.3 + 1e-4
    assert np.abs(at[:, :3] - robot.qpos0[:3]).max() <= 0.1 + 1e-6
    assert np.abs(at[:, 7:] - robot.qpos0[7:]).max() <= 0.2 + 1e-6
    assert np.abs(speed[:, :3]).max() <= 0.5 and np.abs(speed[:, 3:6]).max() <= 0.7
    assert not speed[:, 6:].any()


def test_a_planar_start_is_level_and_faces_within_its_heading():
    at, speed = drawn(resets.planar((-3.5, -3.0), (-2.0, 2.0), 1.5), load_robot("rover"))
    assert (at[:, 0] >= -3.5).all() and (at[:, 0] <= -3.0).all()
    assert np.ptp(at[:, 1]) > 3.5
    assert not at[:, 4:6].any()
    heading = 2 * np.arctan2(at[:, 6], at[:, 3])
    assert 1.3 < np.abs(heading).max() <= 1.5
    assert not speed.any()


def test_joints_anywhere_stay_within_their_share_of_the_range():
    robot = load_robot("arm")
    low, high = robot.model.jnt_range.T
    at, _ = drawn(resets.joints_anywhere(0.3), robot)
    share = np.abs(at - (low + high) / 2) / ((high - low) / 2)
    assert 0.28 < share.max() <= 0.3 + 1e-5
