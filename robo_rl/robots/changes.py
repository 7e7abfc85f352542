"""What is done to a model's files when they are loaded, as data: the files stay as they were given.

A change is a mapping of one name to its arguments; they are stored in robot.yaml and applied in
order.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import mujoco
import numpy as np

from robo_rl import errors

Change = Mapping[str, Mapping[str, Any]]
Do = TypeVar("Do", bound=Callable[..., None])
CHANGES: dict[str, Callable[..., None]] = {}
FREE = mujoco.mjtJoint.mjJNT_FREE
FLOOR = "floor"
POSE, TWIST = 7, 6  # numbers of a free joint in qpos and in qvel


def apply(spec: mujoco.MjSpec, changes: Iterable[Change], where: str) -> None:
    """Makes the changes in a model that was read and not compiled yet.

    Raises UserError, which begins with `where`, for a change that does not exist or does not fit.
    """
    for change in changes:
        for name, given in change.items():
            do = errors.lookup(CHANGES, name, kind="change", where=where)
            try:
                do(spec, **given)
            except (TypeError, AttributeError, ValueError, KeyError) as error:
                raise errors.UserError(
                    f"{where}: change {name!r} {dict(given)}: {error}"
                ) from error


def _change(do: Do) -> Do:
    CHANGES[do.__name__] = do
    return do


@_change
def keep_static_links(spec: mujoco.MjSpec) -> None:
    """Links without a joint stay bodies of their own, so that no mass is lost to the world."""
    spec.compiler.fusestatic = False


@_change
def balance_inertia(spec: mujoco.MjSpec) -> None:
    """Impossible moments of inertia (A + B < C) become their mean."""
    spec.compiler.balanceinertia = True


@_change
def asset_file(spec: mujoco.MjSpec, *, kind: str, name: str, file: str) -> None:
    """Reads a mesh, texture, height field or skin from this file."""
    _named(getattr(spec, PLURAL[kind]), name).file = file


@_change
def asset_folders(spec: mujoco.MjSpec, *, meshdir: str, texturedir: str) -> None:
    """Looks for meshes and textures in these folders, relative to the model's."""
    spec.meshdir, spec.texturedir = meshdir, texturedir


@_change
def drop_mesh(spec: mujoco.MjSpec, *, name: str) -> None:
    """Takes out a mesh and the geoms drawn with it."""
    for geom in [g for g in spec.geoms if g.meshname == name]:
        spec.delete(geom)
    spec.delete(_named(spec.meshes, name))


@_change
def drop_texture(spec: mujoco.MjSpec, *, name: str) -> None:
    """Takes out a texture; its materials keep their colour."""
    for material in spec.materials:
        material.textures = ["" if t == name else t for t in material.textures]
    spec.delete(_named(spec.textures, name))


@_change
def drop_skin(spec: mujoco.MjSpec, *, name: str) -> None:
    """Takes out a skin, which is drawn only."""
    spec.delete(_named(spec.skins, name))


@_change
def free_base(spec: mujoco.MjSpec, *, body: str) -> None:
    """Lets a body of the world float; keyframes begin at its pose in the model."""
    base = _named(spec.bodies, body)
    at, pose = _first_qpos(spec, base), [*base.pos, *_unit(base.quat)]
    base.add_freejoint(name=unused("root", {j.name for j in spec.joints}))
    for key in spec.keys:
        qpos, qvel = list(key.qpos), list(key.qvel)
        key.qpos = [*qpos[: at[0]], *pose, *qpos[at[0] :]] if qpos else []
        key.qvel = [*qvel[: at[1]], *[0.0] * TWIST, *qvel[at[1] :]] if qvel else []


@_change
def fix_base(spec: mujoco.MjSpec, *, joint: str) -> None:
    """Takes out a free joint: its body is fixed to the world where the model has it."""
    free = _named(spec.joints, joint)
    at = _first_qpos(spec, free.parent)
    for key in spec.keys:
        qpos, qvel = list(key.qpos), list(key.qvel)
        key.qpos = [*qpos[: at[0]], *qpos[at[0] + POSE :]]
        key.qvel = [*qvel[: at[1]], *qvel[at[1] + TWIST :]]
    spec.delete(free)


@_change
def add_ground(spec: mujoco.MjSpec, *, name: str, height_m: float) -> None:
    """A horizontal plane, 40 m wide."""
    plane = spec.worldbody.add_geom(name=name, size=[20.0, 20.0, 0.1], pos=[0.0, 0.0, height_m])
    plane.type = mujoco.mjtGeom.mjGEOM_PLANE


@_change
def name_parts(spec: mujoco.MjSpec) -> None:
    """Names what has none: bodies, joints, colliding geoms, actuators, sensors."""
    taken = {kind: {x.name for x in getattr(spec, kind) if x.name} for kind in NAMED}

    def name(kind: str, part: Any, wanted: str) -> None:
        if not part.name:
            part.name = unused(wanted, taken[kind])
            taken[kind].add(part.name)

    for number, body in enumerate(spec.bodies):
        name("bodies", body, f"body{number}")
    for joint in spec.joints:
        name("joints", joint, "root" if joint.type == FREE else f"{joint.parent.name}_joint")
    for geom in spec.geoms:
        if geom.contype or geom.conaffinity:
            plane = geom.type == mujoco.mjtGeom.mjGEOM_PLANE
            name("geoms", geom, FLOOR if plane else f"{geom.parent.name}_geom")
    for actuator in spec.actuators:
        name("actuators", actuator, actuator.target or "actuator")
    for sensor in spec.sensors:
        kind = sensor.type.name.removeprefix("mjSENS_").lower()
        name("sensors", sensor, f"{sensor.objname}_{kind}" if sensor.objname else kind)


@_change
def name_geom(spec: mujoco.MjSpec, *, index: int, name: str) -> None:
    """Names the geom that is this one of the compiled model."""
    spec.geoms[index].name = unused(name, {g.name for g in spec.geoms})


@_change
def limit_controls(spec: mujoco.MjSpec, **ranges: tuple[float, float]) -> None:
    """Gives actuators a control range, by name."""
    for name, (low, high) in ranges.items():
        actuator = _named(spec.actuators, name)
        actuator.ctrlrange, actuator.ctrllimited = [low, high], True


@_change
def add_motors(spec: mujoco.MjSpec, **efforts: float) -> None:
    """A motor on each joint named, up to this force (N) or torque (N m), commanded in [-1, 1]."""
    for joint, effort in efforts.items():
        _named(spec.joints, joint)
        motor = spec.add_actuator(name=joint, target=joint, gear=[effort, 0, 0, 0, 0, 0])
        motor.trntype = mujoco.mjtTrn.mjTRN_JOINT
        motor.ctrlrange, motor.ctrllimited = [-1.0, 1.0], True


PLURAL = {"mesh": "meshes", "texture": "textures", "hfield": "hfields", "skin": "skins"}
NAMED = ("bodies", "joints", "geoms", "actuators", "sensors")


def _named(parts: Iterable[Any], name: str) -> Any:
    table = {part.name: part for part in parts}
    if name not in table:
        raise KeyError(f"nothing is named {name!r}.{errors.suggestion(name, table)}")
    return table[name]


def unused(wanted: str, taken: set[str]) -> str:
    """A name like the one wanted that is not taken."""
    if wanted not in taken:
        return wanted
    return next(name for k in range(2, len(taken) + 3) if (name := f"{wanted}{k}") not in taken)


def _unit(quaternion: np.ndarray) -> np.ndarray:
    return np.asarray(quaternion) / np.linalg.norm(quaternion)


WIDTHS = {
    mujoco.mjtJoint.mjJNT_FREE: (POSE, TWIST),
    mujoco.mjtJoint.mjJNT_BALL: (4, 3),
    mujoco.mjtJoint.mjJNT_SLIDE: (1, 1),
    mujoco.mjtJoint.mjJNT_HINGE: (1, 1),
}


def _first_qpos(spec: mujoco.MjSpec, base: Any) -> tuple[int, int]:
    """How many numbers of qpos and of qvel come before those of a body of the world."""
    at = np.zeros(2, int)
    for body in _depth_first(spec.worldbody):
        if body.name == base.name:
            break
        at += np.sum([WIDTHS[j.type] for j in body.joints], axis=0, dtype=int) if body.joints else 0
    return int(at[0]), int(at[1])


def _depth_first(body: Any) -> Iterable[Any]:
    yield body
    for child in body.bodies:
        yield from _depth_first(child)
