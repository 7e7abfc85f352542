"""Rough ground: the field MuJoCo collides with is the one the task measures heights on."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from robo_rl.envs.step import make
from robo_rl.errors import UserError
from robo_rl.robots.robot import load_robot
from robo_rl.robots.terrain import Terrain

ROUGH = Terrain(bump_m=0.06, grain_m=0.2, half_width_m=4.0)


def test_heights_run_from_zero_to_the_bump_and_their_seed_matters():
    heights = ROUGH.heights_m
    assert heights.shape == (41, 41)
    assert heights.min() == 0.0
    assert heights.max() == pytest.approx(0.06)
    other = Terrain(bump_m=0.06, grain_m=0.2, half_width_m=4.0, seed=1)
    assert np.abs(heights - other.heights_m).max() > 0.02


def test_a_ray_from_above_meets_the_ground_at_the_height_of_a_grid_point():
    model = load_robot("quadruped", ROUGH).model
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    for row, column in ((3, 30), (20, 5), (37, 11)):
        x, y = (k * 0.2 - 4.0 + 1e-3 for k in (column, row))
        geom = np.zeros(1, np.int32)
        down = mujoco.mj_ray(
            model, data, np.array([x, y, 2.0]), np.array([0, 0, -1.0]), None, 1, -1, geom
        )
        assert model.geom(int(geom[0])).name == "floor"
        assert 2.0 - down == pytest.approx(ROUGH.heights_m[row, column], abs=1e-3)


def test_between_grid_points_the_height_is_bilinear():
    heights = ROUGH.heights_m
    middle = ROUGH.height_m(jnp.array([-4.0 + 0.1, -4.0 + 0.1]))
    assert float(middle) == pytest.approx(heights[:2, :2].mean(), abs=1e-6)
    quarter = ROUGH.height_m(jnp.array([-4.0 + 0.05, -4.0]))
    assert float(quarter) == pytest.approx(0.75 * heights[0, 0] + 0.25 * heights[0, 1], abs=1e-6)


def test_beyond_the_border_the_height_is_that_of_the_border():
    outside = ROUGH.height_m(jnp.array([[9.0, 9.0], [-9.0, 9.0]]))
    np.testing.assert_allclose(outside, ROUGH.heights_m[-1, [-1, 0]], atol=1e-6)


def test_no_ground_within_reach_is_higher_than_the_highest():
    for x, y in ((0.0, 0.0), (1.07, -2.33), (3.9, -3.9)):
        steps = np.linspace(-0.3, 0.3, 61)
        around = np.array([x, y]) + np.stack(np.meshgrid(steps, steps), axis=-1)
        highest = float(ROUGH.highest_m(jnp.array([x, y]), 0.3))
        assert highest >= float(jnp.max(ROUGH.height_m(around))) - 1e-6
        assert highest in ROUGH.heights_m


def test_every_start_on_rough_ground_is_elsewhere_and_above_it():
    env = make("quadruped-rough")
    state = jax.jit(env.reset_batch)(jax.random.split(jax.random.key(0), 64))
    place = np.asarray(state.signals.qpos[:, :3])
    assert np.ptp(place[:, 0]) > 8.0
    assert np.ptp(place[:, 1]) > 8.0
    ground = np.asarray(env.robot.terrain.height_m(state.signals.qpos[:, :2]))
    assert (place[:, 2] - ground >= 0.27 - 1e-3).all()
    feet = [env.robot.sensor(f"force/{g}") for g in env.robot.file.feet]
    weights = [np.linalg.norm(state.signals.sensors[:, s], axis=1) for s in feet]
    assert np.max(weights) < 5 * env.robot.mass_kg * 9.81  # nobody starts inside the ground


def test_a_robot_without_a_ground_cannot_stand_on_a_terrain():
    with pytest.raises(UserError, match="takes the place of `ground`"):
        load_robot("reacher", ROUGH)
