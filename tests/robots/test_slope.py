"""On a slope an attitude is held against gravity; what is relative to the ground stays."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from robo_rl.envs.step import make
from robo_rl.injection.injectors import inject, neutral_of
from robo_rl.robots import slope
from robo_rl.robots.robot import load_robot
from robo_rl.robots.signals import rotation_matrix, tilt_rad
from robo_rl.scenarios.schema import stack

INCLINE = 0.2


@pytest.fixture(scope="module")
def quadruped():
    return make("quadruped-velocity")


@pytest.fixture(scope="module")
def standing(quadruped):
    """Two robots at the same start, one on level ground and one on a slope."""
    robot = quadruped.robot
    level = neutral_of(robot)
    inclined = inject(level, robot, "slope", INCLINE, np.random.default_rng(3), "test")
    keys = jnp.stack([jax.random.key(0)] * 2)
    state = jax.jit(quadruped.reset_batch)(keys, stack([level, inclined]))
    return state, np.asarray(robot.model.opt.gravity + inclined.plant.gravity_offset_mps2)


def seen(env, state, row):
    """What the robot's gravity term reads, [3]: it comes first."""
    assert env.mdp.observe[0].name == "gravity direction"
    return np.asarray(state.observation[row, :3])


def test_the_observed_gravity_is_that_of_the_inclined_ground(quadruped, standing):
    """In the base's frame: the rotation of the base against the ground, and gravity off its z."""
    state, gravity = standing
    turned = np.asarray(state.signals.base_rotation[1])
    expected = turned.T @ (gravity / np.linalg.norm(gravity))
    np.testing.assert_allclose(seen(quadruped, state, 1), expected, atol=1e-5)
    level = np.asarray(state.signals.base_rotation[0]).T @ [0.0, 0.0, -1.0]
    np.testing.assert_allclose(seen(quadruped, state, 0), level, atol=1e-5)


def test_the_tilt_is_against_gravity(quadruped, standing):
    """Both stand alike on their ground; the one on the slope is tilted by about that."""
    state, _ = standing
    level, inclined = (
        float(tilt_rad(jax.tree.map(lambda x, k=k: x[k], state.signals))) for k in (0, 1)
    )
    assert inclined == pytest.approx(INCLINE, abs=level + 1e-3)
    assert level < 0.05


def test_the_velocity_in_the_base_and_the_height_over_the_ground_stay():
    robot = load_robot("quadruped")
    sample = np.zeros((1, len(robot.channels)), np.float32)
    sample[0, :7] = [1.0, 2.0, 0.3, *np.array([0.9, 0.1, -0.2, 0.3]) / np.sqrt(0.95)]
    sample[0, robot.model.nq : robot.model.nq + 6] = [0.5, -0.2, 0.1, 0.3, 0.2, 0.1]
    up_w = jnp.array([-0.15, 0.1, np.sqrt(1 - 0.0325)])
    held = slope.levelled(robot, jnp.asarray(sample), up_w)

    def in_base(row):
        return rotation_matrix(row[3:7]).T @ row[robot.model.nq : robot.model.nq + 3]

    np.testing.assert_allclose(in_base(held[0]), in_base(jnp.asarray(sample[0])), atol=1e-6)
    np.testing.assert_array_equal(held[0, :3], sample[0, :3])
    # the vertical of gravity is where the levelled frame has its z axis
    base = rotation_matrix(jnp.asarray(sample[0, 3:7]))
    np.testing.assert_allclose(rotation_matrix(held[0, 3:7])[2], up_w @ base, atol=1e-6)


def test_a_slope_has_every_heading_for_a_robot_that_is_free():
    robot = load_robot("quadruped")
    pulls = [
        inject(
            neutral_of(robot), robot, "slope", 0.1, np.random.default_rng(s), "test"
        ).plant.gravity_offset_mps2
        for s in range(200)
    ]
    headings = np.arctan2([-p[1] for p in pulls], [-p[0] for p in pulls])
    counts, _ = np.histogram(headings, bins=4, range=(-np.pi, np.pi))
    assert counts.min() > 25
    assert robot.model.jnt_type[0] == mujoco.mjtJoint.mjJNT_FREE
