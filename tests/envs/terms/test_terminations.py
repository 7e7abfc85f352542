"""Ends are met on one side of their limit and not on the other."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from robo_rl.envs.terms import terminations
from robo_rl.robots.robot import load_robot
from robo_rl.robots.terrain import Terrain


def signals(**given):
    fields = {"qpos": jnp.zeros(7), "qvel": jnp.zeros(6), "goal_error": jnp.float32(0.0)}
    return SimpleNamespace(**{**fields, **given})


def at(**places):
    return signals(
        qpos=jnp.zeros(7)
        .at[jnp.array([int(k[1:]) for k in places])]
        .set(jnp.array(list(places.values())))
    )


@pytest.mark.parametrize(("value", "met"), [(0.6, True), (0.7, True), (0.8, False), (2.0, True)])
def test_open_borders_are_outside(value, met):
    assert bool(terminations.position_outside(1, 0.7, 2.0).met(None, at(q1=value))) is met


@pytest.mark.parametrize(("value", "met"), [(0.19, True), (0.2, False), (1.0, False), (1.01, True)])
def test_closed_borders_are_inside(value, met):
    end = terminations.position_outside(2, 0.2, 1.0, open_ends=False)
    assert bool(end.met(None, at(q2=value))) is met


def test_a_state_is_outside_but_for_its_first_two_entries():
    end = terminations.state_outside(100.0)
    assert not end.met(None, at(q0=500.0, q1=-500.0))
    assert end.met(None, at(q2=-100.0))
    assert end.met(None, signals(qvel=jnp.zeros(6).at[5].set(101.0)))


def test_a_number_that_is_not_finite_is_outside():
    assert terminations.position_outside(1, 0.7, terminations.INF).met(None, at(q1=float("nan")))


def test_tilt_is_measured_from_the_stance_at_home():
    robot = load_robot("quadruped")
    for angle, met in ((0.9, False), (1.1, True), (np.pi, True)):
        c, s = np.cos(angle), np.sin(angle)
        turned = signals(
            base_rotation=jnp.array([[1, 0, 0], [0, c, -s], [0, s, c]]), up_w=jnp.array([0, 0, 1.0])
        )
        assert bool(terminations.tilted_beyond(1.0).met(robot, turned)) is met


def test_a_base_is_low_over_the_ground_beneath_it():
    flat = load_robot("quadruped")
    rough = load_robot("quadruped", Terrain(bump_m=0.5, grain_m=1.0, half_width_m=4.0))
    top = np.unravel_index(np.argmax(rough.terrain.heights_m), rough.terrain.heights_m.shape)
    x, y = (k * 1.0 - 4.0 for k in top[::-1])
    end = terminations.base_below(0.2)
    assert not end.met(flat, at(q0=x, q1=y, q2=0.6))
    assert end.met(rough, at(q0=x, q1=y, q2=0.6))
    assert not end.met(rough, at(q0=x, q1=y, q2=0.71))


def test_a_thigh_on_the_ground_is_a_touch_down_and_a_foot_is_not():
    robot, end = load_robot("quadruped"), terminations.touched_down()
    for name, met in (("force/FR_foot", False), ("contact/RL_thigh", True)):
        peak = jnp.zeros(60).at[robot.sensor(name)].set(1.0)
        assert bool(end.met(robot, signals(sensors_peak=peak))) is met


def test_a_goal_can_be_too_far():
    end = terminations.goal_error_above(3.0)
    assert end.met(None, signals(goal_error=jnp.float32(3.1)))
    assert not end.met(None, signals(goal_error=jnp.float32(2.9)))


def test_an_obstacle_or_a_wall_can_be_too_near():
    beside = SimpleNamespace(clearance_m=jnp.float32(-0.01), wall_m=jnp.float32(0.01))
    assert terminations.obstacle_nearer_than(0.0).met(None, signals(around=beside))
    assert not terminations.obstacle_nearer_than(-0.02).met(None, signals(around=beside))
    assert not terminations.wall_nearer_than(0.0).met(None, signals(around=beside))
    assert terminations.wall_nearer_than(0.02).met(None, signals(around=beside))
