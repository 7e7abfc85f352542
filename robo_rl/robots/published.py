"""Robots as people publish them: MJCF and URDF files read, completed, and what was assumed said."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import mujoco
import numpy as np

from robo_rl.errors import UserError
from robo_rl.robots import anatomy, model_files
from robo_rl.robots import changes as changing
from robo_rl.robots.anatomy import BALL, FREE
from robo_rl.robots.changes import FLOOR, Change

Base = Literal["free", "fixed"]
LARGEST_SIZE, LARGEST_MEMORY = 10_000_000, 2**32  # more would not be a robot, and fill the memory
SIZES = ("nuserdata", "nconmax", "njmax", "nstack")
TOLD = 1e-6  # rad or m by which a joint's home is moved without a word
SUNK_M = 0.01  # what a robot may start above the ground, or its keyframe in it, unremarked


class Home(NamedTuple):
    """The whole state a robot starts in; a control of None is the middle of its range."""

    qpos: np.ndarray  # [nq]
    act: np.ndarray  # [na] activations
    ctrl: np.ndarray | None  # [nu]


class Published(NamedTuple):
    """A model that compiles, the files to keep of it, and what was done and assumed."""

    spec: mujoco.MjSpec
    model: mujoco.MjModel
    files: dict[str, Path]  # where each file goes, relative to the robot's folder; copied as it is
    main: str  # the model among them
    changes: tuple[Change, ...]  # made when the stored files are loaded, see robots.changes
    warnings: tuple[str, ...]
    assumed: tuple[str, ...]
    undriven: tuple[str, ...]  # what keeps an actuator from taking actions in [-1, 1], in sentences
    home: Home
    base_body: str
    ground: str | None
    ground_m: float  # its height; 0 without one


def read_published(
    path: Path, base: Base | None = None, *, motors: bool = False, effort: float | None = None
) -> Published:
    """The robot of an MJCF or URDF file.

    base: whether it floats or is fixed to the world; as in the model if left out. motors: give a
    model without actuators one motor per joint, up to the joint's effort limit, or to `effort`
    (N or N m) where it has none.

    Raises UserError naming the element that stands in the way.
    """
    reading = _Reading(path)
    reading.find_files()
    reading.settle_base(base)
    reading.name_parts()
    reading.compile()
    if motors and not reading.model.nu:
        reading.add_motors(effort)
    undriven = reading.limit_controls()
    base_body = anatomy.base_body(reading.model)
    ground, height = reading.find_ground(base_body)
    home = reading.find_home(base_body, ground)
    reading.say_mass(base_body)
    return Published(
        spec=reading.spec,
        model=reading.model,
        files=reading.files,
        main=reading.main,
        changes=tuple(reading.changes),
        warnings=tuple(reading.warnings),
        assumed=tuple(reading.assumed),
        undriven=tuple(undriven),
        home=home,
        base_body=reading.model.body(base_body).name,
        ground=ground,
        ground_m=height,
    )


def write_files(published: Published, folder: Path) -> list[Path]:
    """Copies the files of a robot, byte by byte, under a folder; what was written."""
    written = []
    for relative, source in published.files.items():
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
        written.append(target)
    return written


class _Reading:
    """A model on its way in: its spec, and what was found out and done so far."""

    def __init__(self, path: Path):
        if not path.is_file():
            raise UserError(f"{path}: no such file.")
        self.path = path
        self.absolute = Path(os.path.abspath(path))
        self.changes: list[Change] = []
        self.warnings: list[str] = []
        self.assumed: list[str] = []
        self.files: dict[str, Path] = {}
        self.main = path.name
        self.model: mujoco.MjModel
        xacro = b"<xacro:" in path.read_bytes()
        self.hint = f" It is xacro: xacro {path} > robot.urdf makes a URDF of it." * xacro
        self.spec = self._read()
        self.tree = model_files.parse(path)
        self.urdf = self.tree.tag == "robot"
        if self.urdf:
            self._do({"keep_static_links": {}})

    def find_files(self) -> None:
        """The files to keep; what is missing is dropped if it is only drawn, else refused."""
        found = (
            model_files.Files([self.absolute]) if self.urdf else model_files.collect(self.absolute)
        )
        moved = self._urdf_meshes(found) if self.urdf else self._moved_assets(found)
        absolute = [] if self.urdf else list(moved.values())  # may lie anywhere
        root = model_files.common_folder([p for p in found.found if p not in absolute])
        self.main = str(self.absolute.relative_to(root))
        self.files = {str(p.relative_to(root)): p for p in found.found if p.is_relative_to(root)}
        for (kind, name), source in moved.items():
            self._move(kind, name, source, root)
        for lost in found.missing:
            self._without(lost)

    def settle_base(self, base: Base | None) -> None:
        """Makes the base free or fixed as asked."""
        free = [j for j in self.spec.joints if int(j.type) == FREE]
        said = "as the model has it"
        if base is None and self.urdf and not free:
            base, said = self._urdf_base()
        if base == "free" and not free:
            body = self._root(self.spec)
            if body.joints:
                raise UserError(
                    f"{self.path}: base=free: its root body {body.name!r} is already jointed to the"
                    " world."
                )
            if not body.name:
                self.name_parts()
            self._do({"free_base": {"body": body.name}})
            said = "as asked"
        if base == "fixed" and free:
            if not free[0].name:
                self.name_parts()
            self._do({"fix_base": {"joint": free[0].name}})
            said = "as asked"
        floats = any(int(j.type) == FREE for j in self.spec.joints)
        self.assumed.append(f"base: {'free' if floats else 'fixed to the world'}, {said}")

    def name_parts(self) -> None:
        """Names what is unnamed; nothing to do where everything has one."""
        colliding = [g for g in self.spec.geoms if g.contype or g.conaffinity]
        parts = [*self.spec.bodies, *self.spec.joints, *self.spec.actuators, *self.spec.sensors]
        if not all(part.name for part in [*parts, *colliding]):
            self._do({"name_parts": {}})

    def compile(self) -> None:
        """Compiles the spec; impossible inertias of a URDF are balanced, with a warning."""
        try:
            self.model = self._compiled()
        except UserError as error:
            if "balanceinertia" not in str(error):
                raise
            self.warnings.append(
                f"{' '.join(str(error).split())}: every such moment of inertia became the mean of"
                " its three"
            )
            self._do({"balance_inertia": {}})
            self.model = self._compiled()
        if not self.model.nv:
            raise UserError(f"{self.path}: no joint: nothing in it can move.{self.hint}")

    def add_motors(self, effort: float | None) -> None:
        """One motor per joint that no equality ties to another, up to its effort limit."""
        model, efforts = self.model, {}
        tied = anatomy.followers(model)
        for joint in range(model.njnt):
            if int(model.jnt_type[joint]) in (FREE, BALL) or joint in tied:
                continue
            name, limited = model.joint(joint).name, model.jnt_actfrclimited[joint]
            largest = float(np.abs(model.jnt_actfrcrange[joint]).max()) if limited else 0.0
            if largest <= 0 and effort is None:
                raise UserError(
                    f"{self.path}: joint {name!r}: its limit has no effort, and no actuator"
                    " drives it. Give effort=N for such joints (N m, or N of a sliding joint)."
                )
            if largest <= 0 and effort is not None:
                self.assumed.append(f"joint {name!r}: effort {effort:g}, as asked")
            efforts[name] = largest if largest > 0 else effort
        if efforts:
            self._do({"add_motors": efforts})
            self.compile()
            self.assumed.append(
                f"actuators: one torque motor per joint, up to its effort limit ({len(efforts)})"
            )

    def limit_controls(self) -> list[str]:
        """Control ranges where there are none; the actuators for which nothing gives one."""
        ranges, undriven = {}, []
        for index in np.flatnonzero(self.model.actuator_ctrllimited == 0):
            name = self.model.actuator(int(index)).name
            found = anatomy.control_range(self.model, int(index))
            if isinstance(found, str):
                undriven.append(f"actuator {name!r}: {found}")
            else:
                ranges[name] = [float(found[0]), float(found[1])]
        if ranges:
            self._do({"limit_controls": ranges})
            self.compile()
            listed = ", ".join(f"{n} [{a:g}, {b:g}]" for n, (a, b) in ranges.items())
            self.assumed.append(
                f"control ranges, from the force limits of actuators and joints: {listed}"
            )
        return undriven

    def find_ground(self, base_body: int) -> tuple[str | None, float]:
        """The ground under a floating base with its height, added where there is none."""
        model = self.model
        if not self._floats(base_body):
            planes = anatomy.level_planes(model, np.inf)
            name = model.geom(planes[0][0]).name if planes else ""
            return (name, planes[0][1]) if name else (None, 0.0)
        data = anatomy.at_home_pose(model)
        below = anatomy.level_planes(model, float(data.xpos[base_body, 2]))
        touched = [(g, z) for g, z in below if anatomy.colliding_parts(model, g).size] or below
        if touched:
            ground, height = touched[0]
            others = [model.geom(g).name or f"number {g}" for g, _ in below if g != ground]
            beside = f"; other horizontal planes: {', '.join(others)}" if others else ""
        elif (found := anatomy.ground_below(model, data, base_body)) is not None:
            ground, height, beside = found[0], found[1], ", the static part under the base"
        else:
            name = changing.unused(FLOOR, {g.name for g in self.spec.geoms})
            self._do({"add_ground": {"name": name, "height_m": 0.0}})
            self.compile()
            self.assumed.append(f"ground: {name!r}, a plane added at height 0 m")
            return name, 0.0
        name = model.geom(ground).name
        if not name:
            self._do({"name_geom": {"index": ground, "name": FLOOR}})
            self.compile()
            name = self.model.geom(ground).name
        self.assumed.append(f"ground: {name!r} at height {height:.4g} m{beside}")
        return name, height

    def find_home(self, base_body: int, ground: str | None) -> Home:
        """The home keyframe, or the model's own pose set down on the ground; within the ranges."""
        model, spec = self.model, self.spec
        home, key = np.array(model.qpos0), anatomy.home_key(model)
        act, ctrl = np.zeros(model.na), None
        if key is not None:
            home, act = np.array(model.key_qpos[key]), np.array(model.key_act[key])
            ctrl = np.array(model.key_ctrl[key]) if len(spec.keys[key].ctrl) else None
            name = model.key(key).name or "number 0"
            more = f" (of {model.nkey})" if model.nkey > 1 else ""
            self.assumed.append(f"home: keyframe {name!r}{more}")
        else:
            self.assumed.append("home: the model's own pose")
        home = self._into_ranges(home)
        if self._floats(base_body) and ground is not None:
            self._stand(home, base_body, model.geom(ground).id, of_keyframe=key is not None)
        return Home(home, act, ctrl)

    def _stand(self, home: np.ndarray, base_body: int, ground: int, *, of_keyframe: bool) -> None:
        """Sets the robot down on the ground; a keyframe is home as it is, wherever it stands."""
        joint = anatomy.base_joint(self.model, base_body)
        height, gap = (
            int(self.model.jnt_qposadr[joint]) + 2,
            anatomy.gap_m(self.model, home, ground),
        )
        own = not any("add_ground" in change for change in self.changes)
        if of_keyframe and own and gap < -SUNK_M:
            self.warnings.append(f"{self.path}: its home keyframe is {-gap:.3g} m in the ground")
        if (not of_keyframe and not 0 <= gap <= SUNK_M) or (gap < 0 and not own):
            home[height] -= gap
            gap = 0.0
        above = f", {gap:.3g} m above the ground" if gap > 0 else ""
        self.assumed.append(f"home height: base at {home[height]:.4g} m{above}")

    def say_mass(self, base_body: int) -> None:
        """Total mass, base body, and what a URDF says that physics does not enforce."""
        model = self.model
        own = anatomy.own_bodies(model, base_body)
        mass, heavy = model.body_mass[own].sum(), int((model.body_mass[own] > 0).sum())
        self.assumed.insert(0, f"total mass: {mass:.4g} kg of {heavy} bodies")
        tree = float(model.body_subtreemass[base_body])
        roots = [model.body(b).name for b in anatomy.roots(model) if b != base_body]
        beside = f"; also jointed to the world: {', '.join(roots)}" if roots else ""
        said = f"{model.body(base_body).name!r}, {tree:.4g} kg with what hangs on it{beside}"
        self.assumed.insert(1, f"base body: {said}")
        if self.urdf:
            self._warn_of_speed_limits()

    def _read(self) -> mujoco.MjSpec:
        try:
            spec = mujoco.MjSpec.from_file(str(self.absolute))  # a relative path misleads it
        except (ValueError, RuntimeError, OverflowError, mujoco.FatalError) as error:
            raise UserError(f"{self.path}: MuJoCo cannot read it: {error}{self.hint}") from error
        for name in (n for n in dir(spec) if n.startswith("nuser") or n in SIZES):
            if getattr(spec, name) > LARGEST_SIZE:
                raise UserError(
                    f"{self.path}: size {name}={getattr(spec, name)}: at most {LARGEST_SIZE}."
                )
        if spec.memory > LARGEST_MEMORY:
            raise UserError(f"{self.path}: size memory={spec.memory}: at most {LARGEST_MEMORY}.")
        return spec

    def _compiled(self) -> mujoco.MjModel:
        try:
            return self.spec.compile()
        except (ValueError, RuntimeError, OverflowError, mujoco.FatalError) as error:
            raise UserError(f"{self.path}: MuJoCo cannot compile it: {error}") from error

    def _do(self, change: Change) -> None:
        self.changes.append(change)
        changing.apply(self.spec, [change], str(self.path))

    def _floats(self, base_body: int) -> bool:
        return anatomy.base_joint(self.model, base_body) is not None

    def _urdf_meshes(self, found: model_files.Files) -> dict[tuple[str, str], Path]:
        """Meshes whose place is not told by a path relative to the URDF, with their files."""
        moved = {}
        for mesh in self.spec.meshes:
            written = mesh.file
            plain = self.absolute.parent / self.spec.meshdir / re.sub(r"^file://", "", written)
            if "://" in written and not written.startswith("file://"):
                place = model_files.in_package(written, self.absolute)
            else:
                place = plain if plain.is_file() else None
            if place is None:
                found.missing.append(model_files.Missing("mesh", mesh.name, written))
                continue
            place = Path(os.path.abspath(place))
            found.found.append(place)
            if "://" in written or Path(written).is_absolute():
                moved["mesh", mesh.name] = place
        return moved

    def _moved_assets(self, found: model_files.Files) -> dict[tuple[str, str], Path]:
        """Assets that the model names by an absolute path of its own, with their files."""
        moved = {}
        for element in (e for p in found.found if p.suffix == ".xml" for e in _elements(p)):
            written = element.get("file", "")
            if element.tag in changing.PLURAL and Path(written).is_absolute():
                name = element.get("name", Path(written).stem)
                moved[element.tag, name] = Path(os.path.abspath(written))
        if Path(self.spec.meshdir).is_absolute() or Path(self.spec.texturedir).is_absolute():
            raise UserError(
                f"{self.path}: meshdir or texturedir is an absolute path: make it relative to the"
                " model."
            )
        return moved

    def _move(self, kind: str, name: str, source: Path, root: Path) -> None:
        """Stores a file whose written path would not find it, and tells the loader where."""
        inside = source.is_relative_to(root)
        target = str(source.relative_to(root)) if inside else f"assets/{name}{source.suffix}"
        self.files[target] = source
        folder = Path(self.main).parent / (self.spec.meshdir if kind != "texture" else "")
        if kind == "texture":
            folder = Path(self.main).parent / self.spec.texturedir
        stored = os.path.relpath(target, folder)
        self.changes.append({"asset_file": {"kind": kind, "name": name, "file": stored}})
        given = {"kind": kind, "name": name, "file": str(source)}
        changing.apply(self.spec, [{"asset_file": given}], str(self.path))

    def _without(self, lost: model_files.Missing) -> None:
        """Drops an asset whose file is missing, if it is only drawn."""
        what = f"{self.path}: {lost.kind} {lost.name!r}: its file {lost.file} is missing"
        if lost.kind == "mesh":
            for geom in [g for g in self.spec.geoms if g.meshname == lost.name]:
                if why := anatomy.needs(self.spec, geom):
                    raise UserError(f"{what}, and body {geom.parent.name!r} {why}.")
            self._do({"drop_mesh": {"name": lost.name}})
            self.warnings.append(f"{what}; it is only drawn, and was left out")
        elif lost.kind in ("texture", "skin"):
            self._do({f"drop_{lost.kind}": {"name": lost.name}})
            self.warnings.append(f"{what}; it is only drawn, and was left out")
        else:
            raise UserError(f"{what}.")

    def _urdf_base(self) -> tuple[Base, str]:
        """What a URDF without a floating joint says of its base; asks where it says nothing."""
        if any(parent.get("link") == "world" for parent in self.tree.iter("parent")):
            return "fixed", "since its root link is 'world'"
        root = self._root(self.spec)
        limbs = [anatomy.joints_of(child) for child in root.bodies]
        legs = sum(len(joints) >= 2 for joints in limbs)
        wheels = sum(len(joints) == 1 and not anatomy.bounded(joints[0]) for joints in limbs)
        if legs >= 2 or wheels >= 2:
            raise UserError(
                f"{self.path}: nothing in it says whether its root link {root.name!r} is fixed to"
                " the world or floats, and it has several limbs: give base=free or base=fixed."
            )
        return "fixed", "since nothing in it says that it floats (base=free if it does)"

    def _root(self, spec: mujoco.MjSpec) -> Any:
        """The body of the world under which most joints are."""
        roots = spec.worldbody.bodies
        if not roots:
            raise UserError(f"{self.path}: no body: nothing in it can move.{self.hint}")
        return max(roots, key=lambda body: len(anatomy.joints_of(body)))

    def _into_ranges(self, home: np.ndarray) -> np.ndarray:
        """Home with each joint in its range and loops closed; what moved is said."""
        model, moved = self.model, []
        settled = anatomy.settle(model, home)
        for joint in np.flatnonzero(np.isin(model.jnt_type, anatomy.SCALAR)):
            at = model.jnt_qposadr[joint]
            if abs(settled[at] - home[at]) > TOLD:
                moved.append(f"{model.joint(int(joint)).name} {home[at]:.4g} to {settled[at]:.4g}")
        if moved:
            self.assumed.append(f"home, moved into the joints' ranges: {', '.join(moved)}")
        return settled

    def _warn_of_speed_limits(self) -> None:
        limits = {
            joint.get("name"): float(limit.get("velocity", 0))
            for joint in self.tree.iter("joint")
            for limit in joint.iter("limit")
        }
        told = [f"{name} {limit:g}" for name, limit in limits.items() if limit > 0]
        if told:
            self.warnings.append(
                f"{self.path}: velocity limits are not enforced by physics (rad/s or m/s):"
                f" {', '.join(told)}; hold the policy to them with joint_speed terms"
            )


def _elements(path: Path) -> Iterable[Any]:
    return model_files.parse(path).iter()
