"""Robots: a model, its named parts, and the contact sensors the suite adds to it."""

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import gymnasium
import mujoco
import numpy as np
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt

from robo_rl import content, errors
from robo_rl.engines.base import HOME, Tracking
from robo_rl.robots import changes
from robo_rl.robots.channels import Channel, describe_channels
from robo_rl.robots.drives import Drive, Physics, set_drives, set_late_armature, set_physics
from robo_rl.robots.surroundings import Lidar
from robo_rl.robots.terrain import Terrain

JOINT_DRIVES = (int(mujoco.mjtTrn.mjTRN_JOINT), int(mujoco.mjtTrn.mjTRN_JOINTINPARENT))
TARGETS = dict.fromkeys(JOINT_DRIVES, "joint") | {
    int(mujoco.mjtTrn.mjTRN_SLIDERCRANK): "site",
    int(mujoco.mjtTrn.mjTRN_TENDON): "tendon",
    int(mujoco.mjtTrn.mjTRN_SITE): "site",
    int(mujoco.mjtTrn.mjTRN_BODY): "body",
}
GYMNASIUM_ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"


class LidarFile(BaseModel):
    """The lidar of a robot.yaml; fields as in surroundings.Lidar."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rays: PositiveInt
    field_rad: PositiveFloat
    reach_m: PositiveFloat
    hull_radius_m: PositiveFloat


class RobotFile(BaseModel):
    """envs/<robot>/robot.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str  # "gymnasium:FILE" for a model inside the gymnasium package, else a file beside it
    changes: tuple[dict[str, dict[str, Any]], ...] = ()  # to the model, see robots.changes
    describe: str
    base_body: str
    velocity_from: Literal["base", "com"] = "base"  # whose displacement is the base velocity
    base_joints: tuple[str, ...] = ()
    ground: str | None = None
    feet: tuple[str, ...] = ()
    stance_first: tuple[str, ...] = ()  # feet that stand in the first half of a gait's clock
    forbidden_contacts: tuple[str, ...] = ()
    frames: dict[str, tuple[Literal["body", "site"], str]] = {}
    initial_qpos: tuple[float, ...] | None = None
    initial_qvel: tuple[float, ...] | None = None  # zero if left out
    initial_act: tuple[float, ...] | None = None  # activations; zero if left out
    initial_ctrl: tuple[float, ...] | None = None  # of action 0; the ranges' middle if left out
    total_mass_kg: float | None = None
    profile: str
    lidar: LidarFile | None = None
    drives: tuple[Drive, ...] = ()  # in place of the model's own actuators
    physics: Physics | None = None  # in place of the model's own settings


@dataclass(frozen=True, eq=False)
class Robot:
    """A compiled model with its named parts; equal only to itself."""

    name: str
    file: RobotFile
    model: mujoco.MjModel
    channels: tuple[Channel, ...]
    terrain: Terrain | None = None  # of the task; None is the model's own ground

    @property
    def base_body(self) -> int:
        """Index of the base body."""
        return int(self.model.body(self.file.base_body).id)

    @property
    def qpos0(self) -> np.ndarray:
        """Initial joint positions, [nq] float64."""
        own = self.file.initial_qpos
        return np.asarray(own if own is not None else self.model.qpos0, np.float64)

    @functools.cached_property
    def scalar_joints(self) -> np.ndarray:
        """Indices of the joints with one coordinate: hinges and slides."""
        return np.flatnonzero(self.model.jnt_type >= int(mujoco.mjtJoint.mjJNT_SLIDE))

    @property
    def full_scale(self) -> bool:
        """Whether a command of 1 is a limit of the machine.

        The span of a position drive in robot.yaml leaves room for any target: a share of it says
        nothing.
        """
        return all(drive.kind == "torque" for drive in self.file.drives)

    @property
    def qvel0(self) -> np.ndarray:
        """Initial joint velocities, [nv] float64."""
        own = self.file.initial_qvel
        return np.zeros(self.model.nv) if own is None else np.asarray(own, np.float64)

    @property
    def ctrl0(self) -> np.ndarray | None:
        """Controls of action 0, [nu] float32; None where they are the middle of their ranges."""
        if self.file.initial_ctrl is None:
            return None
        low, high = self.model.actuator_ctrlrange.T
        return np.clip(self.file.initial_ctrl, low, high).astype(np.float32)

    @functools.cached_property
    def servos(self) -> tuple[np.ndarray, np.ndarray]:
        """Gear of each actuator that closes a loop over a joint's position, and its channel, [nu].

        A gear of 0 where an actuator closes none.
        """
        model, joint = self.model, np.maximum(self.model.actuator_trnid[:, 0], 0)
        drives = np.isin(model.actuator_trntype, list(JOINT_DRIVES))
        joint = np.where(drives, joint, 0)
        one = ~np.isin(model.jnt_type[joint], (FREE, int(mujoco.mjtJoint.mjJNT_BALL)))
        loop = drives & one & (model.actuator_biasprm[:, 1] != 0)
        loop &= model.actuator_biastype == int(mujoco.mjtBias.mjBIAS_AFFINE)
        gear = np.where(loop, model.actuator_gear[:, 0], 0.0).astype(np.float32)
        return gear, np.where(loop, model.jnt_qposadr[joint], 0)

    @functools.cached_property
    def upright_b(self) -> np.ndarray:
        """The world's vertical in the base's frame at home, [3]: tilt is measured from it.

        A base that does not float has its own z axis.
        """
        joint = int(self.model.body_jntadr[self.base_body])
        if joint < 0 or int(self.model.jnt_type[joint]) != FREE:
            return np.array([0.0, 0.0, 1.0])
        at = int(self.model.jnt_qposadr[joint]) + 3
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, self.qpos0[at : at + 4])
        return rotation.reshape(3, 3)[2]

    @functools.cached_property
    def mass_kg(self) -> float:
        """Mass of everything that moves with the base body's tree."""
        return float(self.model.body_subtreemass[self.base_body])

    @functools.cached_property
    def actuator_names(self) -> tuple[str, ...]:
        """The name of each actuator, or of the joint it drives."""
        return tuple(
            self.model.actuator(i).name or self.driven_names[i] for i in range(self.model.nu)
        )

    @functools.cached_property
    def driven_names(self) -> tuple[str, ...]:
        """The joint, tendon, site or body that each actuator acts on."""
        targets = zip(self.model.actuator_trntype, self.model.actuator_trnid[:, 0], strict=True)
        return tuple(getattr(self.model, TARGETS[int(kind)])(int(i)).name for kind, i in targets)

    @functools.cached_property
    def driven_dofs(self) -> np.ndarray:
        """The degree of freedom of each actuator that drives a joint; -1 for the others."""
        joint = np.isin(self.model.actuator_trntype, list(JOINT_DRIVES))
        dofs = self.model.jnt_dofadr[np.where(joint, self.model.actuator_trnid[:, 0], 0)]
        return np.where(joint, dofs, -1)

    @functools.cached_property
    def lidar(self) -> Lidar | None:
        """The range scanner, if it has one."""
        return Lidar(**self.file.lidar.model_dump()) if self.file.lidar else None

    def sensor(self, name: str) -> slice:
        """Where a sensor's values are within `sensors`; a miss names the sensors there are."""
        return errors.lookup(self._sensors, name, kind="sensor", where=f"robot {self.name}")

    @functools.cached_property
    def _sensors(self) -> dict[str, slice]:
        model, table = self.model, {}
        for i in range(model.nsensor):
            start = int(model.sensor_adr[i])
            table[model.sensor(i).name] = slice(start, start + int(model.sensor_dim[i]))
        for k, name in enumerate(self.file.frames):
            table[name] = slice(model.nsensordata + 3 * k, model.nsensordata + 3 * k + 3)
        at = model.nsensordata + 3 * len(self.file.frames)
        for name, (_, _, size) in zip(_apart(model), self.tracking.differences, strict=True):
            table[name] = slice(at, at + size)
            at += size
        for name, size in (self.lidar.sizes if self.lidar else {}).items():
            table[name] = slice(at, at + size)
            at += size
        return table

    @property
    def tracking(self) -> Tracking:
        """What an engine's readout follows; frames are read as sensors, in robot.yaml's order."""
        found = self.file.frames.values()
        frames = tuple((kind, getattr(self.model, kind)(target).id) for kind, target in found)
        differences = tuple(_apart(self.model).values())
        return Tracking(self.base_body, self.file.velocity_from == "com", frames, differences)


@functools.cache
def load_robot(name: str, terrain: Terrain | None = None) -> Robot:
    """The robot described by envs/<name>/robot.yaml, on its model's ground or on a terrain."""
    path = errors.lookup(content.robot_files(), name, kind="robot", where="envs")
    problems = content.Problems(path)
    file = content.parse(RobotFile, path, problems)
    problems.check(content.files("sim2real"), file.profile, kind="profile", key=("profile",))
    if terrain and file.ground is None:
        problems.add((), "a terrain takes the place of `ground`: name it.")
    problems.demand()
    try:
        model = _compile(file, path.parent, terrain)
    except ValueError as error:
        raise errors.UserError(f"{path}: its model does not compile: {error}") from error
    bodies = [model.body(i).name for i in range(model.nbody)]
    problems.check(bodies, file.base_body, kind="body", key=("base_body",))
    problems.demand()
    apart = {name: size for name, (_, _, size) in _apart(model).items()}
    base = int(model.body(file.base_body).id)
    channels = describe_channels(model, file.base_joints, tuple(file.frames), base, apart)
    robot = Robot(name, file, model, channels, terrain)
    return replace(robot, channels=channels + robot.lidar.channels()) if robot.lidar else robot


def _compile(file: RobotFile, beside: Path, terrain: Terrain | None) -> mujoco.MjModel:
    where, _, inside = file.model.rpartition(":")
    path = GYMNASIUM_ASSETS / inside if where == "gymnasium" else beside / file.model
    spec = mujoco.MjSpec.from_file(str(path.absolute()))  # a relative path misleads it
    changes.apply(spec, file.changes, str(beside / "robot.yaml"))
    for body in spec.bodies:
        body.simple = False  # a body compiled as simple cannot have its centre of mass moved later
    if file.physics:
        set_physics(spec, file.physics)
    if file.drives:
        set_drives(spec, file.drives, str(path))
    if terrain and file.ground:
        terrain.replace_plane(spec, file.ground)
    if file.initial_act is not None or file.initial_ctrl is not None:
        key = spec.add_key(name=HOME)
        key.qpos = [] if file.initial_qpos is None else [*file.initial_qpos]
        key.act, key.ctrl = [*(file.initial_act or ())], [*(file.initial_ctrl or ())]
    found, force = mujoco.mjtConDataField.mjCONDATA_FOUND, mujoco.mjtConDataField.mjCONDATA_FORCE
    for part in file.feet:
        _contact(spec, file, f"force/{part}", part, force)
    for part in file.forbidden_contacts:
        _contact(spec, file, f"contact/{part}", part, found)
    model = spec.compile()
    set_late_armature(model, file.drives)
    return model


NET_FORCE = 3  # the contact sensor's reduction that sums all contacts, in the world frame
FREE = int(mujoco.mjtJoint.mjJNT_FREE)
ANY, OWN = "#any", "#own"  # ends of the names of two sensors whose difference is read
GEOM, BODY, TREE = mujoco.mjtObj.mjOBJ_GEOM, mujoco.mjtObj.mjOBJ_BODY, mujoco.mjtObj.mjOBJ_XBODY


def _contact(
    spec: mujoco.MjSpec, file: RobotFile, name: str, part: str, field: mujoco.mjtConDataField
) -> None:
    """Adds a sensor of the contacts of one geom with everything that is not the robot itself.

    It does not change the physics.
    """

    def add(name: str, kind: mujoco.mjtObj, held_against: str | None) -> None:
        sensor = spec.add_sensor(name=name, type=mujoco.mjtSensor.mjSENS_CONTACT)
        sensor.objtype, sensor.objname = GEOM, part
        if held_against is not None:
            sensor.reftype, sensor.refname = kind, held_against
        sensor.intprm[0], sensor.intprm[1], sensor.intprm[2] = 1 << int(field), NET_FORCE, 1

    own = (
        _tree(spec, file.base_body) if spec.body(file.base_body) else set()
    )  # a miss is told later
    others = [g for g in spec.geoms if g.parent.name not in own and _touches(g)]
    if {g.name for g in others} <= {file.ground} and file.ground is not None:
        add(name, GEOM, file.ground)
    elif all(g.parent.name == "world" for g in others):
        add(name, BODY, "world")
    else:  # all contacts, less those with the robot itself
        add(f"{name}{ANY}", GEOM, None)
        add(f"{name}{OWN}", TREE, _root(spec, file.base_body).name)


def _apart(model: mujoco.MjModel) -> dict[str, tuple[int, int, int]]:
    """Readings that are the difference of two sensors: where both begin, and how many numbers."""
    names = [model.sensor(i).name for i in range(model.nsensor)]
    whole = [name.removesuffix(ANY) for name in names if name.endswith(ANY)]
    sensors = {n: (model.sensor(f"{n}{ANY}"), model.sensor(f"{n}{OWN}")) for n in whole}
    return {n: (int(a.adr[0]), int(b.adr[0]), int(a.dim[0])) for n, (a, b) in sensors.items()}


def _root(spec: mujoco.MjSpec, body: str) -> Any:
    """The body of the world that a body hangs on."""
    found = spec.body(body)
    while found.parent.name != "world":
        found = found.parent
    return found


def _tree(spec: mujoco.MjSpec, body: str) -> set[str]:
    """The names of the bodies of a robot: all that hang on the same body of the world."""
    waiting, found = [_root(spec, body)], set()
    while waiting:
        one = waiting.pop()
        found.add(one.name)
        waiting += one.bodies
    return found


def _touches(geom: Any) -> bool:
    """Whether a geom of a spec can touch anything, for all that it says itself."""
    return bool(geom.contype or geom.conaffinity)
