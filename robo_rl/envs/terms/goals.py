"""Goals: what an episode asks for at a time, from its key alone, and how far off the robot is."""

from collections.abc import Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np

from robo_rl.engines.base import Array
from robo_rl.envs.mdp import MEAN, SETTLED, SUSTAINED, Goal
from robo_rl.robots.robot import Robot
from robo_rl.robots.signals import Command, Signals, given, velocity_in_base

STAND_SHARE = 0.1  # of velocity commands are to stand
TURN_ARM_M = 1.0  # 1 rad/s of turning counts as 1 m/s, as in legged_gym's tracking rewards


def reach(
    frame: str,
    azimuth_rad: float,
    radius_m: tuple[float, float],
    height_m: tuple[float, float],
    axis_m: tuple[float, float],
    tolerance_m: float,
) -> Goal:
    """A point for a frame, uniform in a shell around a vertical axis at axis_m = (x, y)."""

    def at(robot: Robot, key: Array, time_s: Array) -> Command:
        turn, far, high = jax.random.uniform(key, (3,))
        azimuth = azimuth_rad * (2 * turn - 1)
        radius = radius_m[0] + far * (radius_m[1] - radius_m[0])
        height = height_m[0] + high * (height_m[1] - height_m[0])
        x, y = radius * jnp.cos(azimuth), radius * jnp.sin(azimuth)
        return Command(place_w_m=jnp.array([axis_m[0] + x, axis_m[1] + y, height]))

    def error(robot: Robot, s: Signals, command: Command) -> Array:
        return jnp.linalg.norm(s.sensors[robot.sensor(frame)] - _place(command))

    return Goal(f"{frame} at a point in reach", at, error, "m", tolerance_m, SETTLED)


def touch(frame: str, target: str, tolerance_m: float, settled_s: float) -> Goal:
    """A frame comes to another frame of the model, and is there at the end of the episode."""

    def error(robot: Robot, s: Signals, command: Command) -> Array:
        return jnp.linalg.norm(s.sensors[robot.sensor(frame)] - s.sensors[robot.sensor(target)])

    return Goal(
        f"{frame} at {target}",
        lambda robot, key, time_s: Command(),  # the target is part of the robot's state
        error,
        "m",
        tolerance_m,
        SETTLED,
        settled_s=settled_s,
    )


def joint_waves(
    share: float,
    slowest_s: float,
    fastest_s: float,
    ahead_s: float,
    tolerance_rad: float,
    lean_rad: Mapping[str, float] = MappingProxyType({}),
) -> Goal:
    """A smooth joint trajectory: per joint a sine of drawn amplitude, period and phase.

    Amplitudes reach `share` of half the joint's range, around its middle and what lean_rad adds to
    that by the joint's name. The command is the reference now and ahead_s later. The error is the
    root mean square over the joints; an episode is judged by the joint that is farthest off.
    """

    def at(robot: Robot, key: Array, time_s: Array) -> Command:
        tall, often, when = jax.random.split(key, 3)
        low, high = robot.model.jnt_range.T.astype(np.float32)
        size = robot.model.nu
        amplitude = share * (high - low) / 2 * jax.random.uniform(tall, (size,), minval=0.3)
        period = jax.random.uniform(often, (size,), minval=fastest_s, maxval=slowest_s)
        phase = jax.random.uniform(when, (size,), maxval=2 * jnp.pi)
        now = jnp.array([0.0, ahead_s])[:, None] + time_s
        waves = amplitude * jnp.sin(2 * jnp.pi * now / period + phase)
        names = [robot.model.joint(j).name for j in range(robot.model.njnt)]
        lean = np.array([lean_rad.get(name, 0.0) for name in names], np.float32)
        reference = (low + high) / 2 + lean + waves
        return Command(joints=reference[0], joints_ahead=reference[1])

    def error(robot: Robot, s: Signals, command: Command) -> Array:
        return jnp.sqrt(jnp.mean((s.qpos - given(command.joints, "joint positions")) ** 2))

    def farthest(robot: Robot, s: Signals, command: Command) -> Array:
        return jnp.max(jnp.abs(s.qpos - given(command.joints, "joint positions")))

    what = "every joint along a smooth trajectory"
    return Goal(what, at, error, "rad", tolerance_rad, MEAN, judged=farthest)


def hold(height_m: float, tolerance_m: float) -> Goal:
    """A free-floating base stays at a point above the origin."""

    def at(robot: Robot, key: Array, time_s: Array) -> Command:
        return Command(place_w_m=jnp.array([0.0, 0.0, height_m]))

    where = f"base at (0, 0, {height_m:g} m)"
    return Goal(where, at, _base_distance_m, "m", tolerance_m, SETTLED)


def waypoints(
    half_width_m: float, height_m: tuple[float, float], every_s: float, tolerance_m: float
) -> Goal:
    """A free-floating base flies to a point drawn in a box, and to another every so often."""

    def at(robot: Robot, key: Array, time_s: Array) -> Command:
        leg = jnp.floor(time_s / every_s + 1e-4).astype(jnp.int32)
        x, y, high = jax.random.uniform(jax.random.fold_in(key, leg), (3,))
        height = height_m[0] + high * (height_m[1] - height_m[0])
        place = jnp.array([half_width_m * (2 * x - 1), half_width_m * (2 * y - 1), height])
        return Command(place_w_m=place)

    what = f"a new point in a box every {every_s:g} s"
    return Goal(what, at, _base_distance_m, "m", tolerance_m, SETTLED)


def walk(
    forward_mps: tuple[float, float],
    sideways_mps: float,
    turn_radps: float,
    every_s: float,
    gait_hz: float,
    tolerance_mps: float,
) -> Goal:
    """A velocity command, another every so often, and the phase of a gait clock.

    One command in ten is to stand. The error is that of the base's velocity; an episode is judged
    by that of a point TURN_ARM_M away from it, so that turning counts too.
    """

    def at(robot: Robot, key: Array, time_s: Array) -> Command:
        leg = jnp.floor(time_s / every_s + 1e-4).astype(jnp.int32)
        ahead, aside, turn, stand = jax.random.uniform(jax.random.fold_in(key, leg), (4,))
        asked = jnp.array(
            [
                forward_mps[0] + ahead * (forward_mps[1] - forward_mps[0]),
                sideways_mps * (2 * aside - 1),
                turn_radps * (2 * turn - 1),
            ]
        )
        phase = 2 * jnp.pi * gait_hz * time_s
        asked = jnp.where(stand < 0.1, 0.0, asked)
        return Command(
            velocity_b_mps=asked[:2],
            yaw_rate_radps=asked[2],
            gait_clock=jnp.array([jnp.sin(phase), jnp.cos(phase)]),
        )

    def error(robot: Robot, s: Signals, command: Command) -> Array:
        wanted = given(command.velocity_b_mps, "a velocity command")
        return jnp.linalg.norm(velocity_in_base(s)[:2] - wanted)

    def of_a_point(robot: Robot, s: Signals, command: Command) -> Array:
        turning = TURN_ARM_M * (s.qvel[5] - given(command.yaw_rate_radps, "a yaw rate command"))
        return jnp.hypot(error(robot, s, command), turning)

    what = f"a velocity command every {every_s:g} s"
    return Goal(what, at, error, "m/s", tolerance_mps, MEAN, judged=of_a_point)


def follow_velocity(
    forward_mps: tuple[float, float],
    sideways_mps: tuple[float, float],
    turn_radps: tuple[float, float],
    every_s: float,
    tolerance_mps: float,
) -> Goal:
    """A velocity command drawn from ranges, another every so often; one in ten is to stand.

    An episode is judged by the velocity error of a point TURN_ARM_M away from the base, averaged
    over a second: a gait sways and turns the trunk to and fro within every step.
    """
    ranges = np.array([forward_mps, sideways_mps, turn_radps], np.float32)

    def at(robot: Robot, key: Array, time_s: Array) -> Command:
        leg = jnp.floor(time_s / every_s + 1e-4).astype(jnp.int32)
        *share, stand = jax.random.uniform(jax.random.fold_in(key, leg), (4,))
        drawn = ranges[:, 0] + jnp.stack(share) * (ranges[:, 1] - ranges[:, 0])
        asked = jnp.where(stand < STAND_SHARE, 0.0, drawn)
        return Command(velocity_b_mps=asked[:2], yaw_rate_radps=asked[2])

    def error(robot: Robot, s: Signals, command: Command) -> Array:
        wanted = given(command.velocity_b_mps, "a velocity command")
        return jnp.linalg.norm(velocity_in_base(s)[:2] - wanted)

    what = f"a velocity command every {every_s:g} s"
    return Goal(what, at, error, "m/s", tolerance_mps, SUSTAINED)


def hold_home(tolerance_rad: float) -> Goal:
    """Every joint stays at its home position; the error is that of the farthest, rad or m."""

    def error(robot: Robot, s: Signals, command: Command) -> Array:
        return jnp.max(jnp.abs(s.qpos - robot.qpos0.astype(np.float32)))

    return Goal(
        "every joint at home",
        lambda robot, key, time_s: Command(),
        error,
        "rad",
        tolerance_rad,
        SETTLED,
        met_by_drives=True,
    )


def planar_distance_m(robot: Robot, s: Signals, command: Command) -> Array:
    """Horizontal distance of a free-floating base from the place it should be at, m."""
    return jnp.linalg.norm(s.qpos[:2] - _place(command)[:2])


def _base_distance_m(robot: Robot, s: Signals, command: Command) -> Array:
    return jnp.linalg.norm(s.qpos[:3] - _place(command))


def _place(command: Command) -> Array:
    return given(command.place_w_m, "a place to be at")
