"""Termination terms: conditions on the true signals under which an episode is over."""

import jax.numpy as jnp

from robo_rl.envs.mdp import Termination
from robo_rl.robots.signals import given, tilt_rad

INF = float("inf")


def position_outside(joint: int, low: float, high: float, *, open_ends: bool = True) -> Termination:
    """One joint position leaves its interval; with open_ends the borders themselves are outside."""

    def met(robot, s):  # noqa: ANN001, ANN202
        q = s.qpos[joint]
        return ~((q > low) & (q < high)) if open_ends else ~((q >= low) & (q <= high))

    return Termination(f"qpos[{joint}] outside [{low:g}, {high:g}]", met)


def position_below(joint: int, low: float) -> Termination:
    """One joint position is under a limit."""
    return Termination(f"qpos[{joint}] < {low:g}", lambda robot, s: s.qpos[joint] < low)


def base_below(height_m: float) -> Termination:
    """A free-floating base is less than this above the ground beneath it."""

    def met(robot, s):  # noqa: ANN001, ANN202
        ground = robot.terrain.height_m(s.qpos[:2]) if robot.terrain else 0.0
        return s.qpos[2] - ground < height_m

    return Termination(f"base height < {height_m:g} m", met)


def state_outside(limit: float) -> Termination:
    """Any entry of (qpos, qvel), the first two left out, reaches +-limit."""

    def met(robot, s):  # noqa: ANN001, ANN202
        return jnp.any(jnp.abs(jnp.concatenate([s.qpos, s.qvel])[2:]) >= limit)

    return Termination(f"|state[2:]| >= {limit:g}", met)


def goal_error_above(limit: float) -> Termination:
    """The robot is further than this from what the task asks for, in the goal's unit."""
    return Termination(f"goal error > {limit:g}", lambda robot, s: s.goal_error > limit)


def tilted_beyond(limit_rad: float) -> Termination:
    """The base leans further than this from its stance at home."""
    return Termination(
        f"tilt > {limit_rad:g} rad", lambda robot, s: tilt_rad(s, robot.upright_b) > limit_rad
    )


def touched_down() -> Termination:
    """A part of forbidden_contacts in robot.yaml touches what is not the robot."""

    def met(robot, s):  # noqa: ANN001, ANN202
        found = [
            s.sensors_peak[robot.sensor(f"contact/{g}")] for g in robot.file.forbidden_contacts
        ]
        return jnp.any(jnp.concatenate(found) > 0)

    return Termination("a forbidden part touches the ground", met)


def below(sensor: str, height_m: float) -> Termination:
    """A frame sensor's height is at or under a limit."""
    return Termination(
        f"{sensor} height <= {height_m:g} m",
        lambda robot, s: s.sensors[robot.sensor(sensor)][2] <= height_m,
    )


def obstacle_nearer_than(limit_m: float) -> Termination:
    """The hull is nearer than this to an obstacle."""

    def met(robot, s):  # noqa: ANN001, ANN202
        return given(s.around, "a lidar").clearance_m < limit_m

    return Termination(f"clearance < {limit_m:g}", met)


def wall_nearer_than(limit_m: float) -> Termination:
    """The hull is nearer than this to a wall."""

    def met(robot, s):  # noqa: ANN001, ANN202
        return given(s.around, "a lidar").wall_m < limit_m

    return Termination(f"wall < {limit_m:g}", met)
