"""C MuJoCo behind a JAX callback: a trajectory equals a plain MuJoCo loop bit for bit."""

import copy
import os
import threading
from typing import Any

import mujoco
import mujoco.batch as batch
import numpy as np

from robo_rl.engines.base import Tracking, nominal_plant, plant_fields, rest, subtract
from robo_rl.engines.callback import CallbackEngine, flat_plant, plant_from

RECORDED = ("qpos", "qvel", "qfrc_constraint", "sensordata", "actuator_force", "actuator_velocity")
SMALL_BATCH = 8  # below this, handing work to threads costs more than it saves


def cores() -> int:
    """Processor cores that this process may use; all of them where the system does not say."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # outside Linux
        return os.cpu_count() or 1


class MujocoEngine(CallbackEngine):
    """The `mujoco` engine for one model; every batch size gets its own pool of simulations."""

    def __init__(self, model: mujoco.MjModel, substeps: int, tracking: Tracking):
        if mujoco.get_mju_user_warning() is None:  # divergence is told by `error`, see step
            mujoco.set_mju_user_warning(lambda message: None)  # not by lines and MUJOCO_LOG.TXT
        model = copy.copy(model)  # the robot's own stays as it was compiled
        words = model.nq + 2 * model.nv + model.na + model.nhistory + int(_timed(model)) + 3
        super().__init__(model, substeps, tracking, words)
        # A diverged simulation must stay visibly diverged, not silently restart from qpos0.
        model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
        if model.ntree == 1:  # one tree is one island: finding it costs 8 %, changes no bit
            model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_ISLAND)
        self._pools: dict[int, _Pool] = {}
        self._lock = threading.Lock()

    def reset_rows(
        self, active: np.ndarray, qpos: np.ndarray, qvel: np.ndarray, plant: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """See CallbackEngine."""
        pool = self._pool(active.size)
        with pool.lock:
            return pool.reset(active, qpos, qvel, plant)

    def step_rows(
        self,
        active: np.ndarray,
        physics_state: np.ndarray,
        ctrl: np.ndarray,
        wrench: np.ndarray,
        plant: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """See CallbackEngine."""
        pool = self._pool(active.size)
        with pool.lock:
            return pool.step(active, physics_state, ctrl, wrench, plant)

    def _pool(self, robots: int) -> "_Pool":
        with self._lock:
            if robots not in self._pools:
                self._pools[robots] = _Pool(self, robots)
            return self._pools[robots]


def _timed(model: mujoco.MjModel) -> bool:
    """Whether physics looks at the clock: for a delay, or in a sensor of it."""
    clock = int(mujoco.mjtSensor.mjSENS_CLOCK)
    return bool(model.nhistory or (model.sensor_type == clock).any())


class _Pool:
    """A fixed number of simulations, their live views, and the plant each was last given."""

    def __init__(self, engine: MujocoEngine, robots: int):
        self.lock = threading.Lock()
        self.model, self.substeps, self.rest = engine.model, engine.substeps, rest(engine.model)
        self.base, from_com, self.frames, self.differences = engine.tracking
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
        for view in (*sims.state, sims.wrench):
            view[ids] = 0.0
        sims.ctrl[ids] = self.rest.ctrl
        for name, value in (("act", self.rest.act), ("history", self.rest.history)):
            if name in sims.named:
                sims.named[name][ids] = value
        sims.named["qpos"][ids], sims.named["qvel"][ids] = qpos[ids], qvel[ids]
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
        physics_state: np.ndarray,
        ctrl: np.ndarray,
        wrench: np.ndarray,
        plant: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        everyone, sims = bool(active.all()), self.stepping
        ids = None if everyone else np.flatnonzero(active)
        rows = slice(None) if ids is None else ids
        sims.plants.write(plant, np.arange(len(physics_state)) if ids is None else ids)
        before = np.ascontiguousarray(physics_state).view(np.float64)
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
        return sims.pack(base), flat if everyone else _scatter(flat, rows, len(physics_state))

    def _sample(self, records: Any) -> np.ndarray:
        frame = {"body": "xpos", "site": "site_xpos"}
        places = [records[frame[kind]][:, :, index] for kind, index in self.frames]
        apart = subtract(self.differences, records["sensordata"])
        return np.concatenate([*(records[name] for name in RECORDED[:4]), *places, *apart], axis=2)

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
        threads = 1 if robots < SMALL_BATCH else cores()
        self.batch = batch.Batch(model, nsim=robots, nthread=threads)
        state = ("qpos", "qvel", *(("act",) if model.na else ()), "qacc_warmstart")
        state += (*(("history",) if model.nhistory else ()), *(("time",) if _timed(model) else ()))
        self.named = {name: self.batch.bind(name) for name in state}
        if _timed(model):
            self.named["time"] = self.named["time"][:, None]
        self.state = list(self.named.values())
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
        self.nominal = np.asarray(flat_plant(nominal_plant(model)))
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
            names = plant_fields(self.model, plant_from(self.model, self.nominal))
            self.fields = {name: self.batch.expand(name) for name in names}
        for row in changed:
            for name, value in plant_fields(self.model, plant_from(self.model, plant[row])).items():
                self.fields[name][row] = value
        self.batch.set_const(ids=changed)
        self.written[changed] = plant[changed]


def _scatter(rows: np.ndarray, ids: np.ndarray | slice, count: int) -> np.ndarray:
    """Rows of the active robots at their places; the others read zero."""
    full = np.zeros((count, *rows.shape[1:]), rows.dtype)
    full[ids] = rows
    return full
