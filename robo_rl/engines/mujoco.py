"""C MuJoCo behind a JAX callback: exact float64 state in, exact float64 state out.

The state crosses JAX as an opaque payload (float64 viewed as uint32), so float32 JAX loses nothing
and a trajectory equals a plain MuJoCo loop bit for bit.
"""

import math
import os
import threading
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import batch

from robo_rl.engines.base import (
    PLANT_FIELDS,
    Array,
    Plant,
    Readout,
    Tracking,
    nominal_plant,
    plant_fields,
    plant_shapes,
    readout_shape,
    split_shapes,
)

try:
    from jax.experimental.buffer_callback import buffer_callback
except ImportError:  # experimental in JAX: may move or go
    buffer_callback = None

RECORDED = ("qpos", "qvel", "qfrc_constraint", "sensordata", "actuator_force", "actuator_velocity")
SMALL_BATCH = 8  # below this, handing work to threads costs more than it saves


class MujocoEngine:
    """The `mujoco` engine for one model; every batch size gets its own pool of simulations."""

    def __init__(self, model: mujoco.MjModel, substeps: int, tracking: Tracking):
        self.model = model
        self.substeps = substeps
        self.tracking = tracking
        # A diverged simulation must stay visibly diverged, not silently restart from qpos0.
        model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
        if (
            model.ntree == 1
        ):  # one kinematic tree is one island: finding it costs 8 %, changes no bit
            model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_ISLAND)
        self._state_size = model.nq + 2 * model.nv + model.na + 3
        self._readout = readout_shape(model, substeps, tracking.frames)
        self._pools: dict[int, _Pool] = {}
        self._lock = threading.Lock()

    def reset(
        self, qpos: Array, qvel: Array, plant: Plant | None, active: Array
    ) -> tuple[Array, Readout]:
        """State and readout at qpos [nq], qvel [nv]; see Engine.reset."""
        return self._call(self._reset, active, qpos, qvel, _flat(plant))

    def step(
        self, bits: Array, ctrl: Array, wrench: Array | None, plant: Plant | None, active: Array
    ) -> tuple[Array, Readout]:
        """One control step; see Engine.step."""
        wrench = jnp.zeros(0) if wrench is None else wrench
        return self._call(self._step, active, bits, ctrl, wrench, _flat(plant))

    def place(self, qpos: np.ndarray, qvel: np.ndarray) -> tuple[np.ndarray, Readout]:
        """reset() of the nominal plant from float64 NumPy, exact to the last bit."""
        start = np.asarray(qpos, np.float64), np.asarray(qvel, np.float64)
        bits, flat = self._reset(np.bool_(True), *start, np.zeros(0, np.float32))
        return bits, self._unpack(jnp.asarray(flat))

    def unpack(self, bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Qpos and qvel in float64 of a payload [..., words]."""
        state = np.ascontiguousarray(bits).view(np.float64)
        return (
            state[..., : self.model.nq],
            state[..., self.model.nq : self.model.nq + self.model.nv],
        )

    def _call(self, host: Any, *args: Array) -> tuple[Array, Readout]:
        width = sum(math.prod(shape) for shape in self._readout)
        shapes = (
            jax.ShapeDtypeStruct((2 * self._state_size,), jnp.uint32),
            jax.ShapeDtypeStruct((width,), jnp.float32),
        )
        bits, flat = _call_host(host, shapes, args)
        return bits, self._unpack(flat)

    def _unpack(self, flat: Array) -> Readout:
        return Readout(*split_shapes(flat, self._readout))

    def _pool(self, robots: int) -> "_Pool":
        with self._lock:
            if robots not in self._pools:
                self._pools[robots] = _Pool(self, robots)
            return self._pools[robots]

    def _reset(self, active: Any, *args: Any) -> tuple[np.ndarray, np.ndarray]:
        return self._run("reset", active, *args)

    def _step(self, active: Any, *args: Any) -> tuple[np.ndarray, np.ndarray]:
        return self._run("step", active, *args)

    def _run(self, what: str, active: Any, *args: Any) -> tuple[np.ndarray, np.ndarray]:
        """A pool's method on arguments of any batch shape, which is that of `active`."""
        mask = np.asarray(active)
        arrays = [np.asarray(a) for a in args]
        rows = [a.reshape(mask.size, *a.shape[mask.ndim :]) for a in arrays]
        pool = self._pool(mask.size)
        with pool.lock:
            bits, flat = getattr(pool, what)(mask.reshape(-1), *rows)
        return bits.reshape(*mask.shape, -1), flat.reshape(*mask.shape, -1)


def _call_host(host: Any, shapes: Any, args: tuple[Array, ...]) -> tuple[Array, Array]:
    """A NumPy function inside JAX: on its buffers in place on CPU, through pure_callback elsewhere.

    In place costs about 10 us a call on CPU; pure_callback copies every argument, 0.2 to 0.5 ms.
    """
    if buffer_callback is None or jax.default_backend() != "cpu":
        return jax.pure_callback(host, shapes, *args, vmap_method="broadcast_all")

    def in_place(_: Any, out: Any, *buffers: Any) -> None:
        results = host(*(np.asarray(b) for b in buffers))
        for buffer, result in zip(out, results, strict=True):
            np.asarray(buffer)[...] = result

    return buffer_callback(in_place, shapes, vmap_method="broadcast_all")(*args)


class _Pool:
    """A fixed number of simulations, their live views, and the plant each was last given."""

    def __init__(self, engine: MujocoEngine, robots: int):
        self.lock = threading.Lock()
        self.model, self.substeps = engine.model, engine.substeps
        self.base, from_com, self.frames = engine.tracking
        self.moving = "subtree_com" if from_com else "xpos"
        self.recorded = (*RECORDED, "xpos", "site_xpos") if self.frames else RECORDED
        # What is bound is copied out after every call, so stepping binds no more than it reads.
        pose = dict.fromkeys(("xpos", "xmat", self.moving))
        self.stepping = _Simulations(self.model, robots, (*pose,))
        self.starting = _Simulations(self.model, robots, (*RECORDED, *pose, "site_xpos"))

    def reset(
        self, active: np.ndarray, qpos: np.ndarray, qvel: np.ndarray, plant: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        ids, sims = np.flatnonzero(active), self.starting
        sims.plants.write(plant, ids)
        for view in (*sims.state, sims.ctrl, sims.wrench):
            view[ids] = 0.0
        sims.state[0][ids], sims.state[1][ids] = qpos[ids], qvel[ids]
        sims.batch.forward(ids=ids)
        now = self._sample({name: view[ids, None] for name, view in sims.views.items()})
        samples = np.repeat(now, self.substeps, axis=1)
        base = sims.views[self.moving][:, self.base]
        still = np.zeros((ids.size, self.substeps, self.model.nu))
        rate = np.zeros((ids.size, self.model.nq))
        force = sims.views["actuator_force"][ids]
        flat = self._flat(sims, ids, samples, rate, np.zeros((ids.size, 3)), force, still)
        return sims.pack(base), _scatter(flat, ids, len(active))

    def step(
        self,
        active: np.ndarray,
        bits: np.ndarray,
        ctrl: np.ndarray,
        wrench: np.ndarray,
        plant: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        everyone, sims = bool(active.all()), self.stepping
        ids = None if everyone else np.flatnonzero(active)
        rows = slice(None) if ids is None else ids
        sims.plants.write(plant, np.arange(len(bits)) if ids is None else ids)
        before = np.ascontiguousarray(bits).view(np.float64)
        at = 0
        for view in sims.state:
            view[:] = before[:, at : at + view.shape[1]]
            at += view.shape[1]
        sims.wrench[:] = wrench if wrench.size else 0.0
        control = ctrl[rows].astype(np.float64)
        records = sims.batch.rollout(self.substeps, control=control, record=self.recorded, ids=ids)
        period_s = self.model.opt.timestep * self.substeps
        base_before = before[:, at : at + 3]
        base = base_before.copy()
        base[rows] = sims.views[self.moving][rows, self.base]
        rate = (sims.state[0] - before[:, : self.model.nq])[rows] / period_s
        velocity = (base - base_before)[rows] / period_s
        force = records["actuator_force"]
        power = force * records["actuator_velocity"]
        flat = self._flat(sims, rows, self._sample(records), rate, velocity, force[:, -1], power)
        return sims.pack(base), flat if everyone else _scatter(flat, rows, len(bits))

    def _sample(self, records: Any) -> np.ndarray:
        frame = {"body": "xpos", "site": "site_xpos"}
        places = [records[frame[kind]][:, :, index] for kind, index in self.frames]
        return np.concatenate([*(records[name] for name in RECORDED[:4]), *places], axis=2)

    def _flat(
        self,
        sims: "_Simulations",
        rows: slice | np.ndarray,
        samples: np.ndarray,
        rate: np.ndarray,
        velocity: np.ndarray,
        force: np.ndarray,
        power: np.ndarray,
    ) -> np.ndarray:
        count = len(samples)
        parts = (
            samples.reshape(count, samples.shape[1] * samples.shape[2]),
            rate,
            sims.views["xpos"][rows, self.base],
            sims.views["xmat"][rows, self.base].reshape(count, 9),
            velocity,
            force,
            power.reshape(count, power.shape[1] * power.shape[2]),
        )
        return np.concatenate(parts, axis=1, dtype=np.float32, casting="same_kind")


class _Simulations:
    """One mujoco.batch with live views of its state and of some derived fields."""

    def __init__(self, model: mujoco.MjModel, robots: int, derived: tuple[str, ...]):
        threads = 1 if robots < SMALL_BATCH else len(os.sched_getaffinity(0))
        self.batch = batch.Batch(model, nsim=robots, nthread=threads)
        state = ("qpos", "qvel", *(("act",) if model.na else ()), "qacc_warmstart")
        self.state = [self.batch.bind(name) for name in state]
        self.ctrl, self.wrench = self.batch.bind("ctrl"), self.batch.bind("xfrc_applied")
        self.views = {name: self.batch.bind(name) for name in derived}
        self.plants = _PlantWriter(model, self.batch)

    def pack(self, base: np.ndarray) -> np.ndarray:
        """The state of every simulation and its base position as an opaque payload."""
        return np.ascontiguousarray(np.concatenate([*self.state, base], axis=1)).view(np.uint32)


class _PlantWriter:
    """Writes changed plants into per-simulation model fields; a nominal batch never expands any."""

    def __init__(self, model: mujoco.MjModel, sims: batch.Batch):
        self.model, self.batch = model, sims
        self.nominal = np.asarray(_flat(nominal_plant(model)))
        self.written = np.tile(self.nominal, (sims.nsim, 1))
        self.fields: dict[str, np.ndarray] = {}

    def write(self, plant: np.ndarray, ids: np.ndarray) -> None:
        """Gives the simulations `ids` their rows of plant [robots, fields]; none: the nominal."""
        if not plant.shape[-1]:
            if not self.fields:
                return
            plant = np.broadcast_to(self.nominal, self.written.shape)
        changed = ids[(self.written[ids] != plant[ids]).any(axis=1)]
        if not changed.size:
            return
        if not self.fields:
            self.fields = {name: self.batch.expand(name) for name in PLANT_FIELDS}
        for row in changed:
            for name, value in plant_fields(self.model, _unflat(self.model, plant[row])).items():
                self.fields[name][row] = value
        self.batch.set_const(ids=changed)
        self.written[changed] = plant[changed]


def _flat(plant: Plant | None) -> Array:
    if plant is None:
        return jnp.zeros(0)
    return jnp.concatenate([jnp.ravel(part) for part in plant])


def _unflat(model: mujoco.MjModel, flat: np.ndarray) -> Plant:
    return Plant(*split_shapes(flat.astype(np.float64), tuple(plant_shapes(model).values())))


def _scatter(rows: np.ndarray, ids: np.ndarray | slice, count: int) -> np.ndarray:
    """Rows of the active robots at their places; the others read zero."""
    full = np.zeros((count, *rows.shape[1:]), rows.dtype)
    full[ids] = rows
    return full
