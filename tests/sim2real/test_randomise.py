"""Domain randomisation draws every episode anew, within the trained ranges, and reaches physics."""

import jax
import numpy as np
import pytest

from robo_rl import errors
from robo_rl.envs import step
from robo_rl.robots.channels import group_mask
from robo_rl.robots.robot import load_robot
from robo_rl.sim2real import randomise
from robo_rl.sim2real.profiles import load_profile
from robo_rl.sim2real.randomise import POOL, draw_pool, randomised
from robo_rl.training import curriculum

PROFILE = load_profile("legged")


@pytest.fixture(scope="module")
def pool():
    return draw_pool(load_robot("hopper"), PROFILE, episode_s=8.0, seed=0)


def test_magnitudes_fill_their_trained_range_and_stay_in_it(pool):
    low, high = PROFILE.rows["joint_position_noise"].trained
    mask = group_mask(load_robot("hopper").channels, "joint_position", "rad") > 0
    noise = np.asarray(pool.drawn.sensors.noise_std)[:, mask]
    assert noise.min() >= low - 1e-6 and noise.max() <= high + 1e-6
    assert noise.min() < low + 0.1 * (high - low) and noise.max() > high - 0.1 * (high - low)


def test_every_drawn_robot_is_another_one(pool):
    masses = np.asarray(pool.drawn.plant.mass_scale)[:, 1]
    assert len(np.unique(masses)) > 0.99 * POOL
    assert masses.min() < 1.0 < masses.max()


def test_pushes_come_at_different_times_within_the_episode(pool):
    at_s = np.asarray(pool.drawn.push.at_s)[:, 0]
    assert at_s.min() >= 0.8 and at_s.max() <= 7.2 and np.ptp(at_s) > 5.0


def test_a_key_fixes_the_episode_and_keys_spread_over_the_pool(pool):
    keys = jax.random.split(jax.random.key(0), 400)
    chosen = np.asarray(jax.vmap(pool)(keys).plant.mass_scale)[:, 1]
    again = np.asarray(jax.vmap(pool)(keys).plant.mass_scale)[:, 1]
    np.testing.assert_array_equal(chosen, again)
    assert len(np.unique(chosen)) > 300


def test_a_seed_fixes_the_pool_and_another_seed_changes_it(pool):
    again = draw_pool(load_robot("hopper"), PROFILE, episode_s=8.0, seed=0)
    other = draw_pool(load_robot("hopper"), PROFILE, episode_s=8.0, seed=1)
    same = jax.tree.map(np.array_equal, pool.drawn, again.drawn)
    assert all(jax.tree.leaves(same))
    assert not np.array_equal(pool.drawn.plant.mass_scale, other.drawn.plant.mass_scale)


def test_rows_without_anything_to_act_on_are_named():
    flying = draw_pool(load_robot("quadrotor"), PROFILE, episode_s=8.0, seed=0)
    assert "friction_loss" in flying.left_out and "friction_loss" not in flying.applied


def test_a_randomised_reset_draws_another_robot_each_episode():
    env = randomised("hopper", "task", "legged", 0)
    reset = jax.jit(env.reset_batch)
    state = reset(jax.random.split(jax.random.key(0), 4))
    masses = np.asarray(state.injection.plant.mass_scale)[:, 1]
    assert len(np.unique(masses)) == 4
    step = jax.jit(env.step_autoreset)
    for _ in range(120):
        state, _ = step(state, np.ones((4, 3), np.float32))
    later = np.asarray(state.injection.plant.mass_scale)[:, 1]
    assert (later != masses).any()


def test_an_unknown_profile_names_the_near_miss():
    with pytest.raises(errors.UserError, match="leged.*legged"):
        randomised("hopper", "task", "leged", 0)


@pytest.mark.parametrize(
    ("module", "build"),
    [(randomise, randomise.randomised), (curriculum, curriculum.curriculum_environment)],
)
def test_a_randomised_environment_is_built_once(module, build, monkeypatch):
    built = []

    def counted(*args, **kwargs):
        built.append(step.make(*args, **kwargs))
        return built[-1]

    monkeypatch.setattr(module, "make", counted)
    env = build("inverted-pendulum", "task", "joint-driven", 12345)
    assert built == [env] and env.draw.applied
