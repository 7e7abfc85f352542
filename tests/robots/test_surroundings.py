"""Ranges, clearances and times to collision worked out by hand; the rover that relies on them."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from robo_rl.envs.step import make
from robo_rl.envs.tasks.rover import rover_navigate
from robo_rl.errors import UserError
from robo_rl.injection.injectors import inject
from robo_rl.robots import surroundings
from robo_rl.robots.signals import lag
from robo_rl.robots.surroundings import Circles, Lidar

FOUR = Lidar(rays=4, field_rad=2 * np.pi, reach_m=5.0, hull_radius_m=0.5)  # at -135 ... 135 degrees
ROUND = Circles(
    centre_w_m=jnp.array([[2.0, 2.0], [-3.0, 0.0]]),
    velocity_w_mps=jnp.array([[0.0, 0.0], [1.0, 0.0]]),
    radius_m=jnp.array([0.5, 0.25]),
)


def test_rays_end_at_the_nearest_obstacle_wall_or_reach():
    ranges = surroundings.scan(FOUR, ROUND, 3.0, jnp.array([0.0, 0.0, 0.0]))
    diagonal = np.sqrt(8.0)
    np.testing.assert_allclose(ranges, [3 * 2**0.5, 3 * 2**0.5, diagonal - 0.5, 3 * 2**0.5], 1e-5)
    far = surroundings.scan(FOUR, ROUND, 100.0, jnp.array([0.0, 0.0, 0.0]))
    assert float(far[0]) == 5.0


def test_turning_the_robot_turns_the_scan():
    straight = surroundings.scan(FOUR, ROUND, 3.0, jnp.array([0.0, 0.0, 0.0]))
    turned = surroundings.scan(FOUR, ROUND, 3.0, jnp.array([0.0, 0.0, np.pi / 2]))
    np.testing.assert_allclose(turned, jnp.roll(straight, -1), rtol=1e-5)


def test_time_to_collision_is_the_gap_over_the_closing_speed():
    time_s = surroundings.time_to_collision_s(ROUND, jnp.zeros(2), jnp.array([-1.0, 0.0]), 0.5)
    assert float(time_s) == pytest.approx((3.0 - 0.75) / 2.0)


@pytest.mark.parametrize(("velocity", "expected"), [((1.0, 0.0), 3.0), ((0.0, 1.0), 2.25 / 1.0)])
def test_what_never_meets_stands_for_the_horizon(velocity, expected):
    still = ROUND._replace(
        velocity_w_mps=jnp.zeros((2, 2)), centre_w_m=jnp.array([[0, 3.0], [-3, 0]])
    )
    still = still._replace(radius_m=jnp.array([0.25, 0.25]))
    time_s = surroundings.time_to_collision_s(still, jnp.zeros(2), jnp.array(velocity), 0.5)
    assert float(time_s) == pytest.approx(expected)


def test_clearance_and_wall_are_negative_inside():
    still = jnp.zeros(2)
    inside = surroundings.look_around(FOUR, ROUND, 3.0, jnp.array([2.0, 2.0]), still)
    assert float(inside.clearance_m) == pytest.approx(-1.0)
    assert float(inside.wall_m) == pytest.approx(0.5)
    assert float(inside.time_to_collision_s) == 0.0
    outside = surroundings.look_around(FOUR, ROUND, 3.0, jnp.array([2.8, -2.8]), still)
    assert float(outside.wall_m) == pytest.approx(-0.3)


@pytest.fixture(scope="module")
def rover():
    return make("rover-navigate", "safety", history_s=0.1)


def test_obstacles_and_goals_differ_between_episodes_and_only_some_move(rover):
    def at(seed, time_s):
        key = jax.random.key(seed)
        place = rover.mdp.goal.at(rover.robot, key, time_s).place_w_m
        return np.asarray(place), np.asarray(rover.mdp.surroundings.circles(key, time_s).centre_w_m)

    (place, centre), (later, moved), (other, elsewhere) = at(0, 0.0), at(0, 1.0), at(1, 0.0)
    sways = np.linalg.norm(moved - centre, axis=1) > 1e-4
    assert list(sways) == [False] * 5 + [True] * 2
    np.testing.assert_array_equal(place, later)
    assert not np.allclose(place, other) and not np.allclose(centre, elsewhere)


def test_the_velocity_of_an_obstacle_is_how_it_moves(rover):
    def at(time_s):
        return rover.mdp.surroundings.circles(jax.random.key(3), jnp.float32(time_s))

    moved = (at(2.01).centre_w_m - at(1.99).centre_w_m) / 0.02
    np.testing.assert_allclose(moved, at(2.0).velocity_w_mps, atol=2e-3)


def test_driving_into_a_wall_ends_the_episode_and_costs(rover):
    state, step = rover.reset(jax.random.key(0)), jax.jit(rover.step)
    for _ in range(120):
        state = step(state, -jnp.ones(2))  # backwards from the left edge
        if state.terminated:
            break
    assert bool(state.terminated)
    assert float(state.costs["boundary"]) + float(state.costs["collision"]) >= 1


def test_noise_on_the_scanner_changes_what_is_seen_and_not_what_is_true(rover):
    neutral = rover.neutral()
    rng = np.random.default_rng(0)
    noisy = inject(neutral, rover.robot, "sensor_noise", 0.3, rng, "noise", channel="range m")
    clean, dirty = (rover.reset(jax.random.key(0), i) for i in (neutral, noisy))
    assert float(jnp.abs(clean.observation - dirty.observation)[:36].max()) > 0.1
    np.testing.assert_array_equal(clean.observation[36:], dirty.observation[36:])
    np.testing.assert_array_equal(clean.signals.sensors, dirty.signals.sensors)


def test_a_lidar_without_surroundings_is_refused(monkeypatch):
    from dataclasses import replace

    from robo_rl.envs import mdp

    blind = lambda: replace(rover_navigate(), surroundings=None)  # noqa: E731
    monkeypatch.setitem(mdp.ENTRIES._parts, "blind-rover", mdp.Entry(blind, frozenset()))
    with pytest.raises(UserError, match="needs surroundings"):
        make("blind-rover")


def test_a_reading_is_forgotten_with_the_time_constant_of_the_lag():
    robot = make("rover-navigate").robot
    model = robot.model
    rays = robot.sensor("ranges")
    width = model.nq + 2 * model.nv + rays.start + 36
    reading = np.zeros(width, np.float32)
    reading[model.nq + 2 * model.nv :] = 1.0
    lagged = jnp.zeros(rays.start + 36)
    for _ in range(4):  # 4 x 50 ms are one time constant of 0.2 s
        lagged = lag(robot, lagged, jnp.asarray(reading), 0.05)
    np.testing.assert_allclose(lagged[rays], 1 - np.exp(-1.0), rtol=1e-5)


def test_what_comes_nearer_is_seen_as_a_rise_of_proximity(rover):
    term = next(o for o in rover.mdp.observe if o.name.startswith("change of"))
    state = rover.reset(jax.random.key(0))
    rays = rover.robot.sensor("ranges")
    now = jnp.asarray(state.signals.sensors).at[rays].set(1.0)
    before = now.at[rays.start + 4].set(1.2).at[rays.start + 6 : rays.start + 9].set(1.2)
    before = before.at[rays.start + 9 : rays.start + 12].set(0.2)
    seen = term.read(rover.robot, SimpleNamespace(sensors=now, sensors_lagged=before))
    nearer = np.exp(-1.0) - np.exp(-1.2)  # ray 4 has neighbours that stayed at 1.0
    np.testing.assert_allclose(seen[:4], [0.0, 0.0, nearer, -0.2], atol=1e-6)
    np.testing.assert_array_equal(seen[4:], 0.0)
