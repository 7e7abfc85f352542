"""Named signals: what terms may read, with unit and frame.

And the channels a sensor injector can disturb.
"""

from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
import mujoco
import numpy as np

from robo_rl.engines.base import Array, Readout, split_sample

if TYPE_CHECKING:
    from robo_rl.envs.robots import Robot


class Signals(NamedTuple):
    """One robot after one control step.

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


class Transition(NamedTuple):
    """What a reward, cost or end term may look at."""

    robot: "Robot"
    before: Signals
    after: Signals
    action: Array  # [nu] the policy's, in [-1, 1]
    previous_action: Array  # [nu]
    terminated: Array  # [] bool


def from_readout(robot: "Robot", readout: Readout) -> Signals:
    """The true signals at the end of a control step."""
    qpos, qvel, force, sensors = split_sample(robot.model, readout.samples[-1])
    return Signals(
        qpos=qpos,
        qvel=qvel,
        constraint_force=force,
        sensors=sensors,
        sensors_peak=readout.sensors_peak,
        qpos_rate=readout.qpos_rate,
        base_position_w_m=readout.base_position_w_m,
        base_rotation=readout.base_rotation,
        base_velocity_w_mps=readout.base_velocity_w_mps,
        actuator_force=readout.actuator_force,
        power_w=readout.power_w,
        positive_power_w=readout.positive_power_w,
    )


def as_measured(robot: "Robot", true: Signals, reading: Array) -> Signals:
    """The signals as the sensors report them: reading [channels] in the order of a sample."""
    qpos, qvel, force, sensors = split_sample(robot.model, reading)
    return true._replace(qpos=qpos, qvel=qvel, constraint_force=force, sensors=sensors)


def tilt_rad(signals: Signals) -> Array:
    """Angle between the base's vertical axis and the world's, rad, in [0, pi]."""
    return jnp.arccos(jnp.clip(signals.base_rotation[2, 2], -1.0, 1.0))


class Channel(NamedTuple):
    """One number of a sample: what it is called, what kind of sensor reads it, its unit."""

    name: str
    group: str
    unit: str
    share: float  # noise of the group's unit that this channel gets (quaternions: half the angle)


BASE = {("slide", "pos"): "base_position", ("hinge", "pos"): "base_orientation"}
BASE |= {("slide", "vel"): "base_linear_velocity", ("hinge", "vel"): "base_angular_velocity"}
UNITS = {
    ("slide", "pos"): "m",
    ("hinge", "pos"): "rad",
    ("slide", "vel"): "m/s",
    ("hinge", "vel"): "rad/s",
}


def describe_channels(
    model: mujoco.MjModel, base_joints: tuple[str, ...], frames: tuple[str, ...] = ()
) -> tuple[Channel, ...]:
    """One Channel per number of a sample: qpos, qvel, constraint force, sensors."""
    joints = [model.joint(i) for i in range(model.njnt)]
    position = [c for j in joints for c in _joint(j, "pos", j.name in base_joints)]
    velocity = [c for j in joints for c in _joint(j, "vel", j.name in base_joints)]
    force = [Channel(f"{c.name[:-4]}.force", "constraint_force", "N m", 1.0) for c in velocity]
    sensors = [model.sensor(i) for i in range(model.nsensor)]
    extra = [
        Channel(s.name if s.dim[0] == 1 else f"{s.name}[{k}]", "sensor", "as declared", 1.0)
        for s in sensors
        for k in range(int(s.dim[0]))
    ]
    places = [
        Channel(f"{name}.{axis}", "frame_position", "m", 1.0) for name in frames for axis in "xyz"
    ]
    return (*position, *velocity, *force, *extra, *places)


def _joint(joint: "mujoco._structs._MjModelJointViews", what: str, base: bool) -> list[Channel]:  # type: ignore[name-defined]
    kind = mujoco.mjtJoint(int(joint.type[0]))
    if kind == mujoco.mjtJoint.mjJNT_FREE:
        linear = [
            Channel(f"{joint.name}.{a}.{what}", BASE["slide", what], UNITS["slide", what], 1.0)
            for a in "xyz"
        ]
        names, share = (
            (("qw", "qx", "qy", "qz"), 0.5) if what == "pos" else (("wx", "wy", "wz"), 1.0)
        )
        turn = [
            Channel(f"{joint.name}.{a}.{what}", BASE["hinge", what], UNITS["hinge", what], share)
            for a in names
        ]
        return linear + turn
    shape = "slide" if kind == mujoco.mjtJoint.mjJNT_SLIDE else "hinge"
    group = BASE[shape, what] if base else {"pos": "joint_position", "vel": "joint_velocity"}[what]
    return [Channel(f"{joint.name}.{what}", group, UNITS[shape, what], 1.0)]


def group_mask(channels: tuple[Channel, ...], group: str, unit: str) -> np.ndarray:
    """Share of a magnitude that each channel gets, [channels]; zero outside the group and unit."""
    chosen = [c.share if (c.group, c.unit) == (group, unit) else 0.0 for c in channels]
    return np.asarray(chosen, np.float32)
