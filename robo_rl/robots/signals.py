"""Named signals, with unit and frame: the truth, what is measured of it, what a task asks for.

Rewards, costs and ends read the truth; an observation is made of what is measured, and of nothing
else.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from robo_rl.engines.base import Array, Readout, split_sample
from robo_rl.errors import UserError
from robo_rl.robots.surroundings import Around, Circles, look_around, scan

if TYPE_CHECKING:
    from robo_rl.robots.robot import Robot

T = TypeVar("T")
UPRIGHT = np.array([0.0, 0.0, 1.0])
LAG_S = 0.2  # long enough that a scan's noise of centimetres stays below a walker's speed


class Command(NamedTuple):
    """What a task asks of its robot at a time; what it does not ask for is None."""

    place_w_m: Array | None = None  # [3] where to be; [2] in the plane
    velocity_b_mps: Array | None = None  # [2] of the base, forward and sideways
    yaw_rate_radps: Array | None = None  # []
    gait_clock: Array | None = None  # [2] sine and cosine of the gait's phase
    joints: Array | None = None  # [nu] joint positions to be at now, m or rad
    joints_ahead: Array | None = None  # [nu] and a little later
    own: Mapping[str, Array] | None = None  # what a task of your own asks for beside these

    @property
    def vector(self) -> Array:
        """All that is asked for in one row, in the order above."""
        parts = [jnp.ravel(part) for part in jax.tree.leaves(self)]
        return jnp.concatenate(parts) if parts else jnp.zeros(0)


def given(part: T | None, what: str) -> T:
    """The part; raises UserError where the robot or its task has none."""
    if part is None:
        raise UserError(f"a term needs {what}, and this robot or its task has none.")
    return part


class Signals(NamedTuple):
    """The truth of one robot after one control step.

    Positions in the unit of their joint (m or rad), world frame.
    """

    qpos: Array  # [nq]
    qvel: Array  # [nv]
    constraint_force: Array  # [nv] N or N m
    sensors: Array  # [nsensordata] as the model declares them
    sensors_peak: Array  # [nsensordata] largest magnitude over the substeps of the step
    qpos_rate: Array  # [nq] mean rate over the step
    base_position_w_m: Array  # [3]
    base_rotation: Array  # [3, 3] base frame to world
    base_velocity_w_mps: Array  # [3] mean over the step
    actuator_force: Array  # [nu] before the gear
    power_w: Array  # [nu] mean over the step, signed
    positive_power_w: Array  # [nu] mean over the step of the motoring share
    action: Array  # [nu] the policy's last, in [-1, 1]; zero at the start
    goal_error: Array  # [] distance from what the task asked for in this step; 0 without a goal
    up_w: Array  # [3] against gravity, in the ground's frame: off its z axis on a slope
    around: Around | None  # obstacles and walls; None without a lidar


class Measured(NamedTuple):
    """What a robot knows after one control step: its readings, its last action, its command.

    All that an observation may be made of. Readings have what was injected into the sensors.
    """

    qpos: Array  # [nq]
    qvel: Array  # [nv]
    constraint_force: Array  # [nv] N or N m
    sensors: Array  # [nsensordata] as the model declares them
    sensors_lagged: Array  # [nsensordata] through a first-order lag of LAG_S
    action: Array  # [nu] the policy's last, in [-1, 1]; zero at the start
    command: Command  # in force from now on


class Transition(NamedTuple):
    """What a reward, cost or end term may look at."""

    robot: "Robot"
    command: Command  # in force during the step
    before: Signals
    after: Signals
    action: Array  # [nu] the policy's, in [-1, 1]
    previous_action: Array  # [nu]
    terminated: Array  # [] bool


def from_readout(robot: "Robot", readout: Readout) -> Signals:
    """The true signals at the end of a control step.

    Action, goal error and surroundings are for the caller to set.
    """
    qpos, qvel, force, sensors = split_sample(robot.model, readout.samples)
    return Signals(
        qpos=qpos[-1],
        qvel=qvel[-1],
        constraint_force=force[-1],
        sensors=sensors[-1],
        sensors_peak=jnp.max(jnp.abs(sensors), axis=0),
        qpos_rate=readout.qpos_rate,
        base_position_w_m=readout.base_position_w_m,
        base_rotation=readout.base_rotation,
        base_velocity_w_mps=readout.base_velocity_w_mps,
        actuator_force=readout.actuator_force,
        power_w=jnp.mean(readout.power_w, axis=0),
        positive_power_w=jnp.mean(jnp.maximum(readout.power_w, 0.0), axis=0),
        action=jnp.zeros(robot.model.nu),
        goal_error=jnp.float32(0.0),
        up_w=jnp.asarray(UPRIGHT, jnp.float32),
        around=None,
    )


def measured(
    robot: "Robot", reading: Array, lagged: Array, action: Array, command: Command
) -> Measured:
    """What the robot knows: reading [channels] in the order of a sample.

    lagged: the sensors' readings of the past, as `lag` keeps them. The truth is no argument.
    """
    return Measured(*split_sample(robot.model, reading), lagged, action, command)


def lag(robot: "Robot", lagged: Array, reading: Array, control_s: float) -> Array:
    """The sensors' lagged readings a control step later: l + (1 - exp(-dt / LAG_S)) (r - l).

    What an observation of change compares the newest reading with.
    """
    sensors = split_sample(robot.model, reading)[3]
    return lagged + (1.0 - math.exp(-control_s / LAG_S)) * (sensors - lagged)


def scanned(
    robot: "Robot", readout: Readout, circles: Circles, half_width_m: float
) -> tuple[Readout, Around]:
    """The readout with a lidar's ranges appended to every sample, and what is truly around.

    One scan a control step, from a free-floating base.
    """
    lidar = given(robot.lidar, "a lidar")
    qpos, qvel, _, _ = split_sample(robot.model, readout.samples[-1])
    forward = rotation_matrix(qpos[3:7])[:, 0]
    pose = jnp.array([qpos[0], qpos[1], jnp.arctan2(forward[1], forward[0])])
    ranges = scan(lidar, circles, half_width_m, pose)
    seen = jnp.broadcast_to(ranges, (len(readout.samples), lidar.rays))
    samples = jnp.concatenate([readout.samples, seen], axis=1)
    around = look_around(lidar, circles, half_width_m, pose[:2], qvel[:2])
    return readout._replace(samples=samples), around


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


def tilt_rad(signals: Signals, upright_b: np.ndarray = UPRIGHT) -> Array:
    """Angle between the vertical and what is it in the base's frame at home, rad, [0, pi].

    The vertical is that of gravity, also on a slope. upright_b: of the robot, see Robot.upright_b.
    """
    x, y, z = (float(component) for component in upright_b)
    up = signals.up_w @ signals.base_rotation
    cosine = up[2] if z == 1.0 else x * up[0] + y * up[1] + z * up[2]
    return jnp.arccos(jnp.clip(cosine, -1.0, 1.0))
