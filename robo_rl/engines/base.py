"""What every physics engine shares.

The state, the plant, the readout, and the contract between them.
"""

import math
from typing import Any, NamedTuple, Protocol, TypeAlias

import jax.numpy as jnp
import mujoco
import numpy as np

Array: TypeAlias = Any  # jax.Array under jit, NumPy outside it


class Plant(NamedTuple):
    """The physical parameters that may differ from nominal, for one robot.

    Always applied to the nominal model, never accumulated; derived constants are recomputed.
    """

    mass_scale: Array  # [nbody] multiplies mass and inertia
    mass_offset_kg: Array  # [nbody] point mass at the body's centre of mass
    com_offset_m: Array  # [nbody, 3] body frame
    friction_scale: Array  # [] multiplies the sliding friction of every geom
    damping_scale: Array  # [nv]
    armature_scale: Array  # [nv]
    friction_loss: Array  # [nv] added dry friction, N m (hinge) or N (slide)
    gain_scale: Array  # [nu] multiplies actuator gain and bias: torque constant, or kp and kd
    force_limit_scale: Array  # [nu] share of the nominal maximal force that is available
    gravity_offset_mps2: Array  # [3] world frame, added to the model's gravity
    wind_w_mps: Array  # [3] world frame, added to the model's wind; acts where the medium is dense


def plant_shapes(model: mujoco.MjModel) -> dict[str, tuple[int, ...]]:
    """The shape of every plant field for a model."""
    bodies, dofs, actuators = (model.nbody,), (model.nv,), (model.nu,)
    return {
        "mass_scale": bodies,
        "mass_offset_kg": bodies,
        "com_offset_m": (model.nbody, 3),
        "friction_scale": (),
        "damping_scale": dofs,
        "armature_scale": dofs,
        "friction_loss": dofs,
        "gain_scale": actuators,
        "force_limit_scale": actuators,
        "gravity_offset_mps2": (3,),
        "wind_w_mps": (3,),
    }


def nominal_plant(model: mujoco.MjModel) -> Plant:
    """The plant that changes nothing: scales are 1, offsets 0.

    NumPy, so that it is a constant under jit.
    """
    shapes = plant_shapes(model)
    return Plant(
        **{n: np.full(s, float(n.endswith("_scale")), np.float32) for n, s in shapes.items()}
    )  # type: ignore[arg-type]


class Readout(NamedTuple):
    """What one control step of physics lets the MDP see, for one robot, in float32.

    Positions and velocities are those after the step. Derived fields (forces, sensors, body
    frames) are, as everywhere in MuJoCo, those at the start of the last physics substep.
    """

    samples: Array  # [substeps, channels] qpos, qvel, constraint force, sensors after each substep
    qpos_rate: Array  # [nq] (qpos after - qpos before) / control period, differenced in float64
    base_position_w_m: Array  # [3]
    base_rotation: Array  # [3, 3] base frame to world
    base_velocity_w_mps: Array  # [3] displacement / control period of the base or its tree's CoM
    actuator_force: Array  # [nu] last substep, N or N m before the gear
    power_w: Array  # [substeps, nu] force * velocity of each actuator, signed


class Engine(Protocol):
    """Physics for one robot, written to be vmapped; the only caller of a simulator."""

    model: mujoco.MjModel
    substeps: int

    def reset(
        self, qpos: Array, qvel: Array, plant: Plant | None, active: Array
    ) -> tuple[Array, Readout]:
        """The opaque state and readout in a given pose; inactive robots cost nothing and read zero.

        A plant of None is the nominal one, at no cost.
        """
        ...

    def step(
        self,
        physics_state: Array,
        ctrl: Array,
        wrench: Array | None,
        plant: Plant | None,
        active: Array,
    ) -> tuple[Array, Readout]:
        """One control step. ctrl [substeps, nu]; wrench [nbody, 6] force N and torque N m, world.

        A wrench of None is none, a plant of None is the nominal one, both at no cost.
        """
        ...

    def place(self, qpos: np.ndarray, qvel: np.ndarray) -> tuple[np.ndarray, Readout]:
        """reset() of the nominal plant from float64 NumPy, exact to the last bit."""
        ...

    def unpack(self, physics_state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Qpos and qvel in float64 of a payload [..., words]."""
        ...


HOME = "robo_rl/home"  # the keyframe that Robot adds where home has activations or controls


class Rest(NamedTuple):
    """What a simulation starts with beside its pose and velocities; a constant of the model."""

    act: np.ndarray  # [na] activations
    ctrl: np.ndarray  # [nu] controls in force before the first step
    history: np.ndarray  # [nhistory] of delayed actuators and sensors, filled from before the start


def rest(model: mujoco.MjModel) -> Rest:
    """Activations and controls of the keyframe HOME, zero without it; delays filled with them."""
    data = mujoco.MjData(model)
    key = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_KEY, HOME)
    if key >= 0:
        data.act[:], data.ctrl[:] = model.key_act[key], model.key_ctrl[key]
    for actuator, (samples, _) in enumerate(model.actuator_history):
        if samples:
            filled = np.full((samples, 1), data.ctrl[actuator])
            mujoco.mj_initCtrlHistory(model, data, actuator, None, filled)
    return Rest(data.act.copy(), data.ctrl.copy(), data.history.copy())


Frames = tuple[tuple[str, int], ...]  # ("body" or "site", index): frames whose position is a sensor
Difference = tuple[int, int, int]  # where two readings begin in sensordata, and how many numbers


class Tracking(NamedTuple):
    """Which parts of a model a readout follows."""

    base_body: int
    from_com: bool = False  # base velocity is that of the centre of mass of the base's tree
    frames: Frames = ()
    differences: tuple[Difference, ...] = ()  # of two sensors, read as one more

    @property
    def width(self) -> int:
        """Numbers that a readout adds to the model's own sensors: three per frame, differences."""
        return 3 * len(self.frames) + sum(size for _, _, size in self.differences)


def subtract(differences: tuple[Difference, ...], sensors: Array) -> list[Array]:
    """The readings of each difference of two sensors, from the model's own [..., nsensordata]."""
    return [sensors[..., a : a + n] - sensors[..., b : b + n] for a, b, n in differences]


def channels(model: mujoco.MjModel, tracking: Tracking) -> int:
    """Width of one sample: qpos, qvel, constraint force, sensors."""
    return int(model.nq + 2 * model.nv + model.nsensordata) + tracking.width


def partners(model: mujoco.MjModel, sensor: int) -> np.ndarray:
    """Geoms whose contacts with its own geom a contact sensor counts, [geoms]."""
    kind, at = int(model.sensor_reftype[sensor]), int(model.sensor_refid[sensor])
    bodies = model.geom_bodyid
    if kind == int(mujoco.mjtObj.mjOBJ_GEOM):
        return np.array([at])
    if kind == int(mujoco.mjtObj.mjOBJ_BODY):
        return np.flatnonzero(bodies == at)
    if kind == int(mujoco.mjtObj.mjOBJ_XBODY):
        inside = np.zeros(model.nbody, bool)
        inside[at] = True
        for body in range(at + 1, model.nbody):
            inside[body] = inside[model.body_parentid[body]]
        return np.flatnonzero(inside[bodies])
    return np.delete(np.arange(model.ngeom), int(model.sensor_objid[sensor]))


def split_sample(model: mujoco.MjModel, sample: Array) -> tuple[Array, Array, Array, Array]:
    """qpos, qvel, constraint force, sensors of a sample [..., channels]."""
    cuts = np.cumsum([model.nq, model.nv, model.nv])
    qpos, qvel, force, sensors = jnp.split(sample, cuts, axis=-1)
    return qpos, qvel, force, sensors


def plant_fields(model: mujoco.MjModel, plant: Plant, xp: Any = np) -> dict[str, Array]:
    """The model's fields under a plant, always computed from the nominal model; xp: NumPy or JAX's.

    Friction is that of geoms and of pairs, which have their own. Gravity compensation goes on
    carrying the nominal mass: it knows no other.
    """
    changed = plant.force_limit_scale != 1.0
    reach = nominal_force_limit(model)[:, None] * np.array([-1.0, 1.0])
    own = model.actuator_forcelimited.astype(bool)
    within = np.where(own[:, None], model.actuator_forcerange, [-np.inf, np.inf])
    nominal = np.clip(within, reach[:, :1], reach[:, 1:])  # keeps a range of one sign
    force_range = xp.where(
        changed[:, None], nominal * plant.force_limit_scale[:, None], model.actuator_forcerange
    )
    sliding = xp.stack([plant.friction_scale, *2 * [xp.ones_like(plant.friction_scale)]])
    mass = model.body_mass * plant.mass_scale + plant.mass_offset_kg
    strength = _strength(model, xp, plant.gain_scale)
    values = {
        "body_mass": mass,
        "body_inertia": model.body_inertia * plant.mass_scale[:, None],
        "body_ipos": model.body_ipos + plant.com_offset_m,
        "geom_friction": model.geom_friction * sliding,
        "dof_damping": model.dof_damping * plant.damping_scale,
        "dof_armature": model.dof_armature * plant.armature_scale,
        "dof_frictionloss": model.dof_frictionloss + plant.friction_loss,
        "actuator_gainprm": model.actuator_gainprm * strength,
        "actuator_biasprm": model.actuator_biasprm * strength,
        "actuator_forcelimited": changed | own,
        "actuator_forcerange": force_range,
        "opt.gravity": model.opt.gravity + plant.gravity_offset_mps2,
        "opt.wind": model.opt.wind + plant.wind_w_mps,
    }
    if model.npair:
        one = xp.ones_like(plant.friction_scale)
        tangential = xp.stack([*2 * [plant.friction_scale], *3 * [one]])
        values["pair_friction"] = model.pair_friction * tangential
    if model.body_gravcomp.any():
        carried = model.body_gravcomp * model.body_mass
        values["body_gravcomp"] = xp.where(mass > 0, carried / xp.where(mass > 0, mass, 1.0), 0.0)
    return values


MUSCLE_FORCE = slice(2, 4)  # peak force and the scale that stands in for it; the rest are shapes


def _strength(model: mujoco.MjModel, xp: Any, scale: Array) -> Array:
    """What multiplies the parameters of gain and bias, [nu, parameters]."""
    muscle = model.actuator_gaintype == int(mujoco.mjtGain.mjGAIN_MUSCLE)
    scaled = np.ones(model.actuator_gainprm.shape, bool)
    scaled[muscle] = False
    scaled[muscle, MUSCLE_FORCE] = True
    return xp.where(scaled, scale[:, None], 1.0)


def nominal_force_limit(model: mujoco.MjModel) -> np.ndarray:
    """Largest force of each actuator, [nu], before the gear.

    Its force range, else gain times control range (a muscle's peak force); no more than its joint's
    own limit lets through.
    """
    by_ctrl = np.abs(model.actuator_gainprm[:, 0]) * np.abs(model.actuator_ctrlrange).max(axis=1)
    muscle = model.actuator_gaintype == int(mujoco.mjtGain.mjGAIN_MUSCLE)
    peak, stands_in = model.actuator_gainprm[:, MUSCLE_FORCE].T
    by_ctrl = np.where(
        muscle,
        np.where(peak < 0, stands_in / np.maximum(model.actuator_acc0, 1e-12), peak),
        by_ctrl,
    )
    by_range = np.abs(model.actuator_forcerange).max(axis=1)
    largest = np.where(model.actuator_forcelimited.astype(bool), by_range, by_ctrl)
    return np.minimum(largest, _joint_limit(model))


def _joint_limit(model: mujoco.MjModel) -> np.ndarray:
    """What its joint's own force range lets an actuator give, [nu]; inf where nothing limits it."""
    drives = (int(mujoco.mjtTrn.mjTRN_JOINT), int(mujoco.mjtTrn.mjTRN_JOINTINPARENT))
    found = np.full(model.nu, np.inf)
    for k in np.flatnonzero(np.isin(model.actuator_trntype, drives)):
        joint, gear = model.actuator_trnid[k, 0], abs(model.actuator_gear[k, 0])
        if model.jnt_actfrclimited[joint] and gear > 0:
            found[k] = np.abs(model.jnt_actfrcrange[joint]).max() / gear
    return found


def readout_shape(
    model: mujoco.MjModel, substeps: int, tracking: Tracking
) -> tuple[tuple[int, ...], ...]:
    """The shape of every field of a Readout."""
    frame = ((3,), (3, 3), (3,))
    samples = (substeps, channels(model, tracking))
    return (samples, (model.nq,), *frame, (model.nu,), (substeps, model.nu))


def split_shapes(flat: Array, shapes: tuple[tuple[int, ...], ...]) -> list[Array]:
    """A flat array [..., total] cut into arrays of these shapes, leading axes kept."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    starts = [0, *ends[:-1]]
    lead = flat.shape[:-1]
    return [
        flat[..., a:b].reshape((*lead, *shape))
        for a, b, shape in zip(starts, ends, shapes, strict=True)
    ]
