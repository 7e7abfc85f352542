"""Named signals: what terms may read, with unit and frame."""

import math
from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp

from robo_rl.engines.base import Array, Readout, split_sample

if TYPE_CHECKING:
    from robo_rl.robots.robot import Robot


LAG_S = 0.2  # long enough that a scan's noise of centimetres stays below a walker's speed


class Signals(NamedTuple):
    """One robot after one control step.

    Positions in the unit of their joint (m or rad), world frame.
    """

    qpos: Array  # [nq]
    qvel: Array  # [nv]
    constraint_force: Array  # [nv] N or N m
    sensors: Array  # [nsensordata] as the model declares them
    sensors_lagged: Array  # [nsensordata] as measured, through a first-order lag of LAG_S
    sensors_peak: Array  # [nsensordata] largest magnitude over the substeps of the step
    qpos_rate: Array  # [nq] mean rate over the step
    base_position_w_m: Array  # [3]
    base_rotation: Array  # [3, 3] base frame to world
    base_velocity_w_mps: Array  # [3] mean over the step
    actuator_force: Array  # [nu] before the gear
    power_w: Array  # [nu] mean over the step, signed
    positive_power_w: Array  # [nu] mean over the step of the motoring share
    action: Array  # [nu] the policy's last, in [-1, 1]; zero at the start
    goal: Array  # [goal] what the task asks for now, as the MDP declares it; empty without a goal
    goal_error: Array  # [] how far the robot was from the goal in force in this step; 0 without one


class Transition(NamedTuple):
    """What a reward, cost or end term may look at."""

    robot: "Robot"
    before: Signals
    after: Signals
    action: Array  # [nu] the policy's, in [-1, 1]
    previous_action: Array  # [nu]
    terminated: Array  # [] bool


def from_readout(robot: "Robot", readout: Readout) -> Signals:
    """The true signals at the end of a control step; action and goal are for the caller to set."""
    qpos, qvel, force, sensors = split_sample(robot.model, readout.samples)
    return Signals(
        qpos=qpos[-1],
        qvel=qvel[-1],
        constraint_force=force[-1],
        sensors=sensors[-1],
        sensors_lagged=sensors[-1],
        sensors_peak=jnp.max(jnp.abs(sensors), axis=0),
        qpos_rate=readout.qpos_rate,
        base_position_w_m=readout.base_position_w_m,
        base_rotation=readout.base_rotation,
        base_velocity_w_mps=readout.base_velocity_w_mps,
        actuator_force=readout.actuator_force,
        power_w=jnp.mean(readout.power_w, axis=0),
        positive_power_w=jnp.mean(jnp.maximum(readout.power_w, 0.0), axis=0),
        action=jnp.zeros(robot.model.nu),
        goal=jnp.zeros(0),
        goal_error=jnp.float32(0.0),
    )


def as_measured(robot: "Robot", true: Signals, reading: Array, lagged: Array) -> Signals:
    """The signals as the sensors report them: reading [channels] in the order of a sample.

    lagged: the sensors' readings of the past, as `lag` keeps them.
    """
    qpos, qvel, force, sensors = split_sample(robot.model, reading)
    seen = true._replace(qpos=qpos, qvel=qvel, constraint_force=force)
    return seen._replace(sensors=sensors, sensors_lagged=lagged)


def lag(robot: "Robot", lagged: Array, reading: Array, control_s: float) -> Array:
    """The sensors' lagged readings a control step later: l + (1 - exp(-dt / LAG_S)) (r - l).

    What an observation of change compares the newest reading with.
    """
    sensors = split_sample(robot.model, reading)[3]
    return lagged + (1.0 - math.exp(-control_s / LAG_S)) * (sensors - lagged)


def rotation_matrix(quaternion: Array) -> Array:
    """Rotation [3, 3] of a quaternion (w, x, y, z) of any length above zero."""
    w, x, y, z = quaternion / jnp.maximum(jnp.linalg.norm(quaternion), 1e-9)
    return jnp.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def velocity_in_base(signals: Signals) -> Array:
    """Mean velocity of the base over the step in the base's frame, m/s, [3]."""
    return signals.base_rotation.T @ signals.base_velocity_w_mps


def tilt_rad(signals: Signals) -> Array:
    """Angle between the base's vertical axis and the world's, rad, in [0, pi]."""
    return jnp.arccos(jnp.clip(signals.base_rotation[2, 2], -1.0, 1.0))
