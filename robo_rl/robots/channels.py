"""The channels of a sample: what each number is called, which sensor reads it, in which unit."""

from collections.abc import Mapping
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


JOINT = {"pos": "joint_position", "vel": "joint_velocity"}
FREE, BALL = int(mujoco.mjtJoint.mjJNT_FREE), int(mujoco.mjtJoint.mjJNT_BALL)
QUATERNION = ("qw", "qx", "qy", "qz")
UNREAD = ("sensor", "as declared")  # what no injector can name
RANGE = ("range", "m")  # of a lidar
_S = mujoco.mjtSensor
# What the model's own sensors are: what noise on the IMU or the encoders reaches.
OWN = {
    _S.mjSENS_GYRO: ("base_angular_velocity", "rad/s", 1.0),
    _S.mjSENS_ACCELEROMETER: ("base_linear_acceleration", "m/s2", 1.0),
    _S.mjSENS_FRAMEANGVEL: ("base_angular_velocity", "rad/s", 1.0),
    _S.mjSENS_VELOCIMETER: ("base_linear_velocity", "m/s", 1.0),
    _S.mjSENS_FRAMELINVEL: ("base_linear_velocity", "m/s", 1.0),
    _S.mjSENS_FRAMEPOS: ("base_position", "m", 1.0),
    _S.mjSENS_FRAMEQUAT: ("base_orientation", "rad", 0.5),
    _S.mjSENS_FRAMEXAXIS: ("base_orientation", "rad", 1.0),
    _S.mjSENS_FRAMEYAXIS: ("base_orientation", "rad", 1.0),
    _S.mjSENS_FRAMEZAXIS: ("base_orientation", "rad", 1.0),
    _S.mjSENS_JOINTPOS: ("joint_position", "rad", 1.0),
    _S.mjSENS_ACTUATORPOS: ("joint_position", "rad", 1.0),
    _S.mjSENS_JOINTVEL: ("joint_velocity", "rad/s", 1.0),
    _S.mjSENS_ACTUATORVEL: ("joint_velocity", "rad/s", 1.0),
}
INERTIAL = (_S.mjSENS_GYRO, _S.mjSENS_ACCELEROMETER)  # an IMU, wherever it is fixed
OF_BASE = {kind for kind, (group, _, _) in OWN.items() if group.startswith("base")} - {*INERTIAL}
SCALAR = {_S.mjSENS_JOINTPOS: "pos", _S.mjSENS_ACTUATORPOS: "pos"}
SCALAR |= {_S.mjSENS_JOINTVEL: "vel", _S.mjSENS_ACTUATORVEL: "vel"}
SHAPES = {int(mujoco.mjtJoint.mjJNT_HINGE): "hinge", int(mujoco.mjtJoint.mjJNT_SLIDE): "slide"}


def known() -> tuple[str, ...]:
    """Every "group unit" that a robot's sensors can have and an injector can name."""
    pairs = {(BASE[key], unit) for key, unit in UNITS.items()}
    pairs |= {(JOINT[what], unit) for (_, what), unit in UNITS.items()}
    pairs |= {("frame_position", "m"), ("constraint_force", "N m"), RANGE}
    pairs |= {(group, unit) for group, unit, _ in OWN.values()}
    return tuple(sorted(f"{group} {unit}" for group, unit in pairs))


def describe_channels(
    model: mujoco.MjModel,
    base_joints: tuple[str, ...],
    frames: tuple[str, ...] = (),
    base_body: int = 0,
    more: Mapping[str, int] | None = None,
) -> tuple[Channel, ...]:
    """One Channel per number of a sample: qpos, qvel, constraint force, sensors.

    base_body: what a frame sensor has to be fixed to, to be one of the base. more: readings that
    follow the frames, and how many numbers each has.
    """
    joints = [model.joint(i) for i in range(model.njnt)]
    of_base = [
        base_body in (0, int(j.bodyid[0])) if int(j.type[0]) == FREE else j.name in base_joints
        for j in joints
    ]
    position = [c for j, b in zip(joints, of_base, strict=True) for c in _joint(j, "pos", b)]
    velocity = [c for j, b in zip(joints, of_base, strict=True) for c in _joint(j, "vel", b)]
    force = [Channel(f"{c.name[:-4]}.force", "constraint_force", "N m", 1.0) for c in velocity]
    extra = [c for i in range(model.nsensor) for c in _sensor(model, i, base_body)]
    places = [
        Channel(f"{name}.{axis}", "frame_position", "m", 1.0) for name in frames for axis in "xyz"
    ]
    apart = [c for name, size in (more or {}).items() for c in _numbered(name, size)]
    return (*position, *velocity, *force, *extra, *places, *apart)


def _sensor(model: mujoco.MjModel, index: int, base_body: int) -> list[Channel]:
    """The channels of one of the model's own sensors, in the group of what it reads."""
    sensor = model.sensor(index)
    kind = mujoco.mjtSensor(int(model.sensor_type[index]))
    unknown = (*UNREAD, 1.0)
    group, unit, share = OWN.get(kind, unknown)
    if kind in OF_BASE and _fixed_to(model, index) != int(model.body_weldid[base_body]):
        group, unit, share = unknown
    if kind in SCALAR:
        joint = _joint_of(model, index)
        if joint is None or int(model.jnt_type[joint]) not in SHAPES:
            group, unit = UNREAD
        else:
            unit = UNITS[SHAPES[int(model.jnt_type[joint])], SCALAR[kind]]
    return _numbered(sensor.name, int(sensor.dim[0]), group, unit, share)


def _numbered(
    name: str, size: int, group: str = UNREAD[0], unit: str = UNREAD[1], share: float = 1.0
) -> list[Channel]:
    names = [name] if size == 1 else [f"{name}[{k}]" for k in range(size)]
    return [Channel(n, group, unit, share) for n in names]


def _fixed_to(model: mujoco.MjModel, sensor: int) -> int:
    """The body that the frame of a sensor moves with, as body_weldid counts them."""
    at, kind = int(model.sensor_objid[sensor]), int(model.sensor_objtype[sensor])
    owner = {
        int(mujoco.mjtObj.mjOBJ_SITE): model.site_bodyid,
        int(mujoco.mjtObj.mjOBJ_GEOM): model.geom_bodyid,
        int(mujoco.mjtObj.mjOBJ_CAMERA): model.cam_bodyid,
    }
    return int(model.body_weldid[owner[kind][at] if kind in owner else at])


def _joint_of(model: mujoco.MjModel, sensor: int) -> int | None:
    """The joint that a sensor reads, itself or through its actuator; None where it is neither."""
    at = int(model.sensor_objid[sensor])
    if int(model.sensor_objtype[sensor]) != int(mujoco.mjtObj.mjOBJ_ACTUATOR):
        return at
    kind, gear = int(model.actuator_trntype[at]), float(model.actuator_gear[at, 0])
    direct = kind in (int(mujoco.mjtTrn.mjTRN_JOINT), int(mujoco.mjtTrn.mjTRN_JOINTINPARENT))
    return int(model.actuator_trnid[at, 0]) if direct and gear == 1.0 else None


def _joint(joint: Any, what: str, base: bool) -> list[Channel]:
    kind = int(joint.type[0])
    if kind == FREE:
        return _along(joint.name, what, base) + _about(joint.name, what, base)
    if kind == BALL:
        return _about(joint.name, what, base=False)
    shape = SHAPES[kind]
    group = BASE[shape, what] if base else JOINT[what]
    return [Channel(f"{joint.name}.{what}", group, UNITS[shape, what], 1.0)]


def _along(name: str, what: str, base: bool) -> list[Channel]:
    """Three coordinates, or speeds; of a loose part no sensor of the robot's reads them."""
    group, unit = (BASE["slide", what], UNITS["slide", what]) if base else UNREAD
    return [Channel(f"{name}.{axis}.{what}", group, unit, 1.0) for axis in "xyz"]


def _about(name: str, what: str, base: bool) -> list[Channel]:
    """A quaternion, or three rates; of a loose part no sensor of the robot's reads them."""
    group, unit = (BASE["hinge", what], UNITS["hinge", what]) if base else UNREAD
    parts, share = (QUATERNION, 0.5) if what == "pos" else (("wx", "wy", "wz"), 1.0)
    return [Channel(f"{name}.{part}.{what}", group, unit, share) for part in parts]


def group_mask(channels: tuple[Channel, ...], group: str, unit: str) -> np.ndarray:
    """Share of a magnitude that each channel gets, [channels]; zero outside the group and unit."""
    chosen = [c.share if (c.group, c.unit) == (group, unit) else 0.0 for c in channels]
    return np.asarray(chosen, np.float32)
