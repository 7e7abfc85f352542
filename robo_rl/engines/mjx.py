"""MuJoCo XLA: the same models as arrays on GPU or TPU, in float32; on CPU for small tests only.

Same formulas as C MuJoCo, another precision and another solver path: trajectories agree for a
while, not bit for bit. Contact sensors that MJX lacks (net force) are summed here.
"""

import copy
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import mujoco.mjx as mjx
import numpy as np
from mujoco.mjx._src.support import contact_force, jac

from robo_rl.engines.base import (
    Array,
    Plant,
    Readout,
    Tracking,
    partners,
    plant_fields,
    rest,
    subtract,
)
from robo_rl.errors import UserError

NET_FORCE, CLOSEST = 3, 1  # reductions of a contact sensor
TINY_FRICTION = 1e-6  # N m; makes MJX allocate the constraint that a plant's friction needs
LIMITLESS = 1e6  # N m; stands for "no force limit" where a plant may set one


class Derived(NamedTuple):
    """Constants that follow from masses and inertias, computed once an episode."""

    dof_invweight0: Array  # [nv]
    body_invweight0: Array  # [nbody, 2]
    body_subtreemass: Array  # [nbody]


class MjxEngine:
    """The `mjx` engine for one model. State is float32; nothing leaves the device."""

    def __init__(self, model: mujoco.MjModel, substeps: int, tracking: Tracking):
        self.model, self.substeps, self.tracking = model, substeps, tracking
        self._contacts, self._rest = _contact_sensors(model), rest(model)
        leaving = _leaving_contacts(_solvable(model), list(self._contacts))
        self._nominal, self._blank = _put(leaving)
        self._variable, self._blank_variable = _put(_open_to_change(leaving))
        self._sizes = (model.nq, model.nv, model.na, model.nv, 3)

    @property
    def bare(self) -> tuple[mjx.Model, mjx.Data]:
        """The nominal model and a blank state, as mjx.step takes them: the raw speed to beat."""
        return self._nominal, self._blank

    def reset(
        self, qpos: Array, qvel: Array, plant: Plant | None, active: Array
    ) -> tuple[Array, Readout]:
        """State and readout at qpos [nq], qvel [nv]; see Engine.reset."""
        derived = None if plant is None else _derive(self._with(plant, None), self._blank_variable)
        model, blank = self._with(plant, derived), self._data(plant)
        blank = blank.replace(act=jnp.float32(self._rest.act), ctrl=jnp.float32(self._rest.ctrl))
        data = mjx.forward(model, blank.replace(qpos=qpos, qvel=qvel))
        still = jnp.zeros(self.model.nu)
        sample = self._sample(model, data)
        readout = Readout(
            samples=jnp.broadcast_to(sample, (self.substeps, *sample.shape)),
            qpos_rate=jnp.zeros(self.model.nq),
            base_position_w_m=data.xpos[self.tracking.base_body],
            base_rotation=data.xmat[self.tracking.base_body].reshape(3, 3),
            base_velocity_w_mps=jnp.zeros(3),
            actuator_force=data.actuator_force,
            power_w=jnp.broadcast_to(still, (self.substeps, self.model.nu)),
        )
        return self._pack(data, derived), _where(active, readout)

    def step(
        self,
        physics_state: Array,
        ctrl: Array,
        wrench: Array | None,
        plant: Plant | None,
        active: Array,
    ) -> tuple[Array, Readout]:
        """One control step; see Engine.step."""
        (qpos, qvel, act, warmstart, base), derived = self._split(physics_state)
        model = self._with(plant, derived)
        data = self._data(plant).replace(qpos=qpos, qvel=qvel, act=act, qacc_warmstart=warmstart)
        if wrench is not None:
            data = data.replace(xfrc_applied=wrench)

        def substep(data: mjx.Data, ctrl: Array) -> tuple[mjx.Data, Any]:
            data = mjx.step(model, data.replace(ctrl=ctrl))
            power = data.actuator_force * _inner(data).actuator_velocity
            return data, (self._sample(model, data), power)

        data, (samples, power) = jax.lax.scan(substep, data, ctrl)
        period_s = self.model.opt.timestep * self.substeps
        readout = Readout(
            samples=samples,
            qpos_rate=(data.qpos - qpos) / period_s,
            base_position_w_m=data.xpos[self.tracking.base_body],
            base_rotation=data.xmat[self.tracking.base_body].reshape(3, 3),
            base_velocity_w_mps=(self._moving(data) - base) / period_s,
            actuator_force=data.actuator_force,
            power_w=power,
        )
        return jnp.where(active, self._pack(data, derived), physics_state), _where(active, readout)

    def place(self, qpos: np.ndarray, qvel: np.ndarray) -> tuple[np.ndarray, Readout]:
        """reset() of the nominal plant from NumPy, in float32."""
        start = jnp.asarray(qpos, jnp.float32), jnp.asarray(qvel, jnp.float32)
        physics_state, readout = jax.jit(lambda q, v: self.reset(q, v, None, jnp.bool_(True)))(
            *start
        )
        return np.asarray(physics_state), readout

    def unpack(self, physics_state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Qpos and qvel in float64 of a payload [..., words]."""
        state = np.ascontiguousarray(physics_state).view(np.float32).astype(np.float64)
        nq, nv = self.model.nq, self.model.nv
        return state[..., :nq], state[..., nq : nq + nv]

    def _data(self, plant: Plant | None) -> mjx.Data:
        return self._blank if plant is None else self._blank_variable

    def _with(self, plant: Plant | None, derived: Derived | None) -> mjx.Model:
        if plant is None:
            return self._nominal
        fields = plant_fields(self.model, plant, jnp)
        limited = fields.pop("actuator_forcelimited")[:, None]  # MJX has them all limited
        free = jnp.array([-LIMITLESS, LIMITLESS])
        fields["actuator_forcerange"] = jnp.where(limited, fields["actuator_forcerange"], free)
        fields["dof_frictionloss"] = jnp.maximum(fields["dof_frictionloss"], TINY_FRICTION)
        world = {name: fields.pop(f"opt.{name}") for name in ("gravity", "wind")}
        changes = jax.tree.map(jnp.float32, fields | (derived._asdict() if derived else {}))
        option = self._variable.opt.replace(**jax.tree.map(jnp.float32, world))
        return self._variable.replace(opt=option, **changes)

    def _moving(self, data: mjx.Data) -> Array:
        body = self.tracking.base_body
        return data.subtree_com[body] if self.tracking.from_com else data.xpos[body]

    def _sample(self, model: mjx.Model, data: mjx.Data) -> Array:
        sensors = _with_net_contacts(model, data, self.model, self._contacts)
        frames = {"body": data.xpos, "site": data.site_xpos}
        places = [frames[kind][index] for kind, index in self.tracking.frames]
        places += subtract(self.tracking.differences, sensors)
        return jnp.concatenate([data.qpos, data.qvel, data.qfrc_constraint, sensors, *places])

    def _pack(self, data: mjx.Data, derived: Derived | None) -> Array:
        parts = [data.qpos, data.qvel, data.act, data.qacc_warmstart, self._moving(data)]
        parts += [] if derived is None else [jnp.ravel(x) for x in derived]
        flat = jnp.concatenate([jnp.asarray(p, jnp.float32) for p in parts])
        return jax.lax.bitcast_convert_type(flat, jnp.uint32)

    def _split(self, physics_state: Array) -> tuple[list[Array], Derived | None]:
        flat = jax.lax.bitcast_convert_type(physics_state, jnp.float32)
        cuts = np.cumsum(self._sizes)
        *state, rest = jnp.split(flat, cuts)
        if not rest.size:
            return state, None
        nv, nbody = self.model.nv, self.model.nbody
        dof, body, mass = jnp.split(rest, np.cumsum([nv, 2 * nbody]))
        return state, Derived(dof, body.reshape(nbody, 2), mass)


def _put(model: mujoco.MjModel) -> tuple[mjx.Model, mjx.Data]:
    for kind, late in (("actuator", model.actuator_history), ("sensor", model.sensor_history)):
        for index in np.flatnonzero(late[:, 0]):
            name = getattr(model, kind)(int(index)).name
            raise UserError(f"engine mjx cannot run this model: {kind} {name!r}: it has a delay.")
    try:
        return mjx.put_model(model), mjx.make_data(model)
    except NotImplementedError as error:
        raise UserError(f"engine mjx cannot run this model: {error}") from error


def _solvable(model: mujoco.MjModel) -> mujoco.MjModel:
    """The model with Newton in the place of PGS, which MJX lacks: same problem, closer solution."""
    if model.opt.solver != mujoco.mjtSolver.mjSOL_PGS:
        return model
    known = copy.copy(model)
    known.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
    return known


def _leaving_contacts(model: mujoco.MjModel, sensors: list[int]) -> mujoco.MjModel:
    """The model with its net contact sensors left to us: a kind MJX accepts, at no stage."""
    known = copy.copy(model)
    known.sensor_reftype[sensors] = int(mujoco.mjtObj.mjOBJ_GEOM)
    known.sensor_refid[sensors] = 0
    known.sensor_intprm[sensors, 1] = CLOSEST
    known.sensor_needstage[sensors] = int(mujoco.mjtStage.mjSTAGE_NONE)
    return known


def _contact_sensors(model: mujoco.MjModel) -> dict[int, tuple[int, np.ndarray]]:
    """Contact sensors with net force of a geom: the geom, and which geoms it is held against."""
    kinds = model.sensor_type == int(mujoco.mjtSensor.mjSENS_CONTACT)
    net = kinds & (model.sensor_intprm[:, 1] == NET_FORCE)
    return {
        int(i): (
            int(model.sensor_objid[i]),
            np.isin(np.arange(model.ngeom), partners(model, int(i))),
        )
        for i in np.flatnonzero(net)
    }


def _with_net_contacts(
    model: mjx.Model,
    data: mjx.Data,
    compiled: mujoco.MjModel,
    sensors: dict[int, tuple[int, np.ndarray]],
) -> Array:
    """Sensordata with the force of the contacts of each sensor summed, or their number, filled in.

    The geoms of a sensor: its own, and [ngeom] whether it is held against each of the others.
    """
    found = data.sensordata
    if not sensors:
        return found
    contact = _inner(data).contact
    touching = contact.dist < contact.includemargin
    forces = jnp.stack(
        [contact_force(model, data, k, True)[:3] for k in range(contact.dist.shape[0])]
    )
    for sensor, (geom, others) in sensors.items():
        against = jnp.asarray(others)
        here = touching & (
            ((contact.geom1 == geom) & against[contact.geom2])
            | (against[contact.geom1] & (contact.geom2 == geom))
        )
        at = int(compiled.sensor_adr[sensor])
        if compiled.sensor_intprm[sensor, 0] == 1 << int(mujoco.mjtConDataField.mjCONDATA_FOUND):
            found = found.at[at].set(jnp.sum(here).astype(jnp.float32))
        else:
            sign = jnp.where(contact.geom1 == geom, 1.0, -1.0)
            total = jnp.sum(jnp.where(here[:, None], sign[:, None] * forces, 0.0), axis=0)
            found = found.at[at : at + 3].set(total)
    return found


def _open_to_change(model: mujoco.MjModel) -> mujoco.MjModel:
    """The model with every constraint and limit allocated that a plant may ask for.

    Their values are set from the plant at every step.
    """
    opened = copy.copy(model)
    opened.dof_frictionloss[:] = np.maximum(model.dof_frictionloss, TINY_FRICTION)
    opened.actuator_forcelimited[:] = 1
    return opened


def _derive(model: mjx.Model, blank: mjx.Data) -> Derived:
    """What C MuJoCo's mj_setConst computes of masses: inverse weights at qpos0, subtree masses."""
    mass = model.body_mass
    subtree = mass
    for body in range(model.nbody - 1, 0, -1):
        subtree = subtree.at[int(model.body_parentid[body])].add(subtree[body])
    model = model.replace(body_subtreemass=subtree)
    data = mjx.kinematics(model, blank.replace(qpos=jnp.asarray(model.qpos0)))
    data = mjx.crb(model, mjx.com_pos(model, data))
    inverse = jnp.linalg.inv(mjx.full_m(model, data))
    jacobians = [jac(model, data, data.xipos[b], jnp.int32(b)) for b in range(model.nbody)]
    weights = [jnp.array([jnp.trace(j.T @ inverse @ j) / 3 for j in pair]) for pair in jacobians]
    moving = np.asarray(model.body_weldid) > 0
    body = jnp.where(moving[:, None], jnp.stack(weights), 0.0)
    return Derived(_by_joint(model, jnp.diag(inverse)), body, subtree)


def _by_joint(model: mjx.Model, diagonal: Array) -> Array:
    """Inverse weights per degree of freedom; those of a free or ball joint are averaged."""
    free, ball = int(mujoco.mjtJoint.mjJNT_FREE), int(mujoco.mjtJoint.mjJNT_BALL)
    for joint, at in zip(model.jnt_type, model.jnt_dofadr, strict=True):
        triples = {free: (0, 3), ball: (0,)}.get(int(joint), ())
        for start in triples:
            rows = slice(int(at) + start, int(at) + start + 3)
            diagonal = diagonal.at[rows].set(jnp.mean(diagonal[rows]))
    return diagonal


def _inner(data: mjx.Data) -> Any:
    """The fields that MJX keeps for itself; each of its implementations has others."""
    return data._impl


def _where(active: Array, readout: Readout) -> Readout:
    return jax.tree.map(lambda x: jnp.where(active, x, 0.0), readout)
