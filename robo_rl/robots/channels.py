"""The channels of a sample: what each number is called, which sensor reads it, in which unit."""

from typing import Any, NamedTuple

import mujoco
import numpy as np


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


RANGE = ("range", "m")  # of a lidar


def known() -> tuple[str, ...]:
    """Every "group unit" that a robot's sensors can have and an injector can name."""
    joints = {"pos": "joint_position", "vel": "joint_velocity"}
    pairs = {(BASE[key], unit) for key, unit in UNITS.items()}
    pairs |= {(joints[what], unit) for (_, what), unit in UNITS.items()}
    pairs |= {("frame_position", "m"), ("constraint_force", "N m"), RANGE}
    return tuple(sorted(f"{group} {unit}" for group, unit in pairs))


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


def _joint(joint: Any, what: str, base: bool) -> list[Channel]:
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
