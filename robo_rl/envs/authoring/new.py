"""Bring your own robot: a robot folder, a reward file and an MDP from a MJCF or URDF file."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from robo_rl import content, errors
from robo_rl.envs import mdp
from robo_rl.files import write_text

CONTROL_HZ, EPISODE_S = 50.0, 10.0
TRIAL_S, TRIAL_SHARE = 0.5, 0.3  # a robot that cannot be simulated this long is refused
FREE, BALL = int(mujoco.mjtJoint.mjJNT_FREE), int(mujoco.mjtJoint.mjJNT_BALL)
FLOOR = "floor"


def create(name: str, source: Path, folder: Path) -> list[Path]:
    """Writes envs/<name>/, rewards/<name>.yaml and <name>.py into a folder; the files written.

    Raises UserError naming the element of the model that cannot serve; nothing is written then.
    """
    _check_name(name, folder)
    spec = _read(source)
    if source.suffix == ".urdf":
        _drive_joints(spec, source)
    floating = any(j.type == mujoco.mjtJoint.mjJNT_FREE for j in spec.joints)
    as_it_is = source.suffix == ".xml" and "<include" not in source.read_text()
    if floating:
        as_it_is &= _ensure_floor(spec)
    assets = _assets(spec, source)
    model = _compile(spec, source)
    _check(model, source)
    home = _home(model, floating)
    _try(model, home, source)
    values = _describe(name, source, model, home, floating)
    texts = {
        folder / "envs" / name / f"{name}.xml": source.read_text() if as_it_is else spec.to_xml(),
        folder / "envs" / name / "robot.yaml": _render("robot.yaml.j2", values),
        folder / "envs" / name / "CARD.md": _render("card.md.j2", values),
        folder / "rewards" / f"{name}.yaml": _render("rewards.yaml.j2", values),
        folder / f"{name.replace('-', '_')}.py": _render("mdp.py.j2", values),
    }
    for relative in assets:
        target = folder / "envs" / name / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source.parent / relative, target)
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    return list(texts)


def _check_name(name: str, folder: Path) -> None:
    words = name.replace("-", "_")
    if not words.isidentifier() or not words.islower():
        raise errors.UserError(f"envs new: {name!r}: use lower-case letters, digits and dashes.")
    if name in mdp.ENTRIES or name in content.robot_files():
        raise errors.UserError(f"envs new: the name {name!r} is taken; see robo-rl envs.")
    if (folder / "envs" / name).exists():
        raise errors.UserError(f"envs new: {folder / 'envs' / name} is already there.")


def _read(source: Path) -> Any:
    if not source.is_file():
        raise errors.UserError(f"envs new: {source}: no such file.")
    try:
        return mujoco.MjSpec.from_file(str(source))
    except ValueError as error:
        raise errors.UserError(f"{source}: MuJoCo cannot read it: {error}") from error


def _compile(spec: Any, source: Path) -> mujoco.MjModel:
    try:
        return spec.compile()
    except ValueError as error:
        raise errors.UserError(f"{source}: MuJoCo cannot compile it: {error}") from error


def _drive_joints(spec: Any, source: Path) -> None:
    """A motor for every joint of a URDF, up to its effort limit: URDF has no actuators."""
    for joint in spec.joints:
        if joint.type == mujoco.mjtJoint.mjJNT_FREE:
            continue
        effort = float(joint.actfrcrange[1])
        if effort <= 0:
            raise errors.UserError(f"{source}: joint {joint.name!r}: its limit has no effort.")
        motor = spec.add_actuator(name=joint.name, target=joint.name, gear=[effort, 0, 0, 0, 0, 0])
        motor.trntype = mujoco.mjtTrn.mjTRN_JOINT
        motor.ctrlrange, motor.ctrllimited = [-1.0, 1.0], True


def _ensure_floor(spec: Any) -> bool:
    """A floating robot needs a named ground under it; whether there was one already."""
    planes = [g for g in spec.worldbody.geoms if g.type == mujoco.mjtGeom.mjGEOM_PLANE]
    if not planes:
        spec.worldbody.add_geom(
            name=FLOOR, type=mujoco.mjtGeom.mjGEOM_PLANE, size=[20.0, 20.0, 0.1]
        )
    elif not planes[0].name:
        planes[0].name = FLOOR
    else:
        return True
    return False


def _assets(spec: Any, source: Path) -> list[Path]:
    """The files of meshes, textures and height fields, relative to the model's folder."""
    found = []
    for kind, place in (("meshes", spec.meshdir), ("textures", spec.texturedir), ("hfields", "")):
        for asset in getattr(spec, kind):
            if not asset.file:
                continue
            path = Path(place) / asset.file
            what = f"{source}: {kind} {asset.name or asset.file!r}"
            if path.is_absolute() or ".." in path.parts:
                raise errors.UserError(f"{what}: {path} is outside the model's own folder.")
            if not (source.parent / path).is_file():
                raise errors.UserError(f"{what}: there is no file {source.parent / path}.")
            found.append(path)
    return found


def _check(model: mujoco.MjModel, source: Path) -> None:
    """Refuses what the suite cannot drive or report, by the element's name."""

    def refuse(kind: str, indices: Sequence[int] | np.ndarray, why: str) -> None:
        for index in indices:
            name = getattr(model, kind)(int(index)).name or f"number {int(index)}"
            raise errors.UserError(f"{source}: {kind} {name!r}: {why}")

    if not model.nu:
        raise errors.UserError(
            f"{source}: no <actuator>: a policy needs at least one. Its joints are"
            f" {', '.join(repr(model.joint(i).name) for i in range(model.njnt)) or 'none'}."
        )
    if not model.nv:
        raise errors.UserError(f"{source}: no joint: nothing in it can move.")
    free = np.flatnonzero(model.jnt_type == FREE)
    refuse("joint", free[1:], "a second free joint: one robot per environment.")
    refuse("joint", free[free > 0], "a free joint must be the first joint.")
    refuse("joint", np.flatnonzero(model.jnt_type == BALL), "ball joints have no angle to report.")
    unnamed = [j for j in range(model.njnt) if not model.joint(j).name]
    refuse("joint", unnamed, "it needs a name.")
    endless = np.flatnonzero(model.actuator_ctrllimited == 0)
    refuse("actuator", endless, "it needs a ctrlrange: actions in [-1, 1] are mapped onto it.")
    moving = [b for b in range(1, model.nbody) if model.body_weldid[b]]
    weightless = [b for b in moving if model.body_subtreemass[b] <= 0]
    refuse("body", weightless, "it moves and has no mass.")


def _home(model: mujoco.MjModel, floating: bool) -> np.ndarray:
    """The first keyframe, or qpos0; a floating robot is set down so that it touches the ground."""
    data = mujoco.MjData(model)
    home = np.array(model.key_qpos[0] if model.nkey else model.qpos0)
    if floating:
        data.qpos[:] = home
        mujoco.mj_kinematics(model, data)
        home[2] -= _height_m(model, data)
    return home


def _height_m(model: mujoco.MjModel, data: mujoco.MjData) -> float:
    """Smallest distance between the ground and a colliding geom of the robot."""
    ground = [
        g
        for g in np.flatnonzero(model.geom_type == int(mujoco.mjtGeom.mjGEOM_PLANE))
        if model.geom_bodyid[g] == 0
    ][0]
    colliding = (model.geom_contype | model.geom_conaffinity) != 0
    parts = np.flatnonzero(colliding & (model.geom_bodyid > 0))
    touch = np.zeros(6)
    reach = 100.0
    return min(
        (mujoco.mj_geomDistance(model, data, int(g), int(ground), reach, touch) for g in parts),
        default=0.0,
    )


def _try(model: mujoco.MjModel, home: np.ndarray, source: Path) -> None:
    """Simulates small random commands; a model that flies apart is refused by its fastest joint."""
    data = mujoco.MjData(model)
    data.qpos[:] = home
    low, high = model.actuator_ctrlrange.T
    rng = np.random.default_rng(0)
    for _ in range(round(TRIAL_S / model.opt.timestep)):
        share = TRIAL_SHARE * rng.uniform(-1, 1, model.nu)
        data.ctrl[:] = (low + high) / 2 + share * (high - low) / 2
        before = data.qvel.copy()
        mujoco.mj_step(model, data)
        if not np.isfinite(data.qacc).all() or any(data.warning[k].number for k in _BAD):
            worst = int(np.argmax(np.abs(before)))
            joint = model.joint(int(model.dof_jntid[worst])).name
            raise errors.UserError(
                f"{source}: joint {joint!r}: the simulation diverges within {data.time:.3f} s"
                f" (timestep {model.opt.timestep:g} s). A smaller timestep, armature or damping"
                " may mend it."
            )


_BAD = tuple(
    int(getattr(mujoco.mjtWarning, f"mjWARN_{name}")) for name in ("BADQPOS", "BADQVEL", "BADQACC")
)


def _describe(
    name: str, source: Path, model: mujoco.MjModel, home: np.ndarray, floating: bool
) -> dict[str, Any]:
    moving = int(np.flatnonzero(model.body_weldid > 0)[0])
    planes = np.flatnonzero(
        (model.geom_type == int(mujoco.mjtGeom.mjGEOM_PLANE)) & (model.geom_bodyid == 0)
    )
    per_step = max(1, round(1.0 / (CONTROL_HZ * model.opt.timestep)))
    mass_kg = float(model.body_subtreemass[moving])
    return {
        "name": name,
        "function": name.replace("-", "_"),
        "source": source.name,
        "joints": model.njnt - int(floating),
        "mass": f"{mass_kg:.3g} kg",
        "base_body": model.body(moving).name,
        "ground": model.geom(int(planes[0])).name if planes.size else None,
        "home": ", ".join(f"{x:.6g}" for x in home),
        "height_m": float(home[2]) if floating else 0.0,
        "floating": floating,
        "limited": bool(model.jnt_limited.any()),
        "control_hz": 1.0 / (per_step * model.opt.timestep),
        "episode_s": EPISODE_S,
        "profile": "legged" if floating else "joint-driven",
    }


def _render(template: str, values: dict[str, Any]) -> str:
    templates = Environment(
        loader=PackageLoader("robo_rl.envs.authoring"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["number"] = _number
    return templates.get_template(template).render(values)


_number: Callable[[float], str] = "{:.6g}".format
