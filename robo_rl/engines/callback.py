"""A simulator on the host behind a JAX callback: float64 state in, float64 state out.

The state crosses JAX as an opaque payload (float64 viewed as uint32), so float32 JAX loses nothing.
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from robo_rl.engines.base import (
    Array,
    Plant,
    Readout,
    Tracking,
    plant_shapes,
    readout_shape,
    split_shapes,
)

try:
    from jax.experimental.buffer_callback import buffer_callback
except ImportError:  # experimental in JAX: may move or go
    buffer_callback = None


class CallbackEngine(ABC):
    """An Engine whose physics is NumPy on rows of robots; what crosses JAX is handled here.

    A payload is qpos, qvel and what else a simulator needs to go on, in float64.
    """

    def __init__(self, model: mujoco.MjModel, substeps: int, tracking: Tracking, words: int):
        """words: float64 numbers in the state of one robot."""
        self.model, self.substeps, self.tracking = model, substeps, tracking
        self._words = words
        self._readout = readout_shape(model, substeps, tracking)

    @abstractmethod
    def reset_rows(
        self, active: np.ndarray, qpos: np.ndarray, qvel: np.ndarray, plant: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Payloads [robots, 2 * words] and flat readouts [robots, width]; active [robots] bool.

        A plant of no columns is the nominal one.
        """

    @abstractmethod
    def step_rows(
        self,
        active: np.ndarray,
        physics_state: np.ndarray,
        ctrl: np.ndarray,
        wrench: np.ndarray,
        plant: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Payloads and flat readouts after one control step; a wrench of no columns is none."""

    def reset(
        self, qpos: Array, qvel: Array, plant: Plant | None, active: Array
    ) -> tuple[Array, Readout]:
        """State and readout at qpos [nq], qvel [nv]; see Engine.reset."""
        return self._call(self._reset, active, qpos, qvel, flat_plant(plant))

    def step(
        self,
        physics_state: Array,
        ctrl: Array,
        wrench: Array | None,
        plant: Plant | None,
        active: Array,
    ) -> tuple[Array, Readout]:
        """One control step; see Engine.step."""
        wrench = jnp.zeros(0) if wrench is None else wrench
        return self._call(self._step, active, physics_state, ctrl, wrench, flat_plant(plant))

    def place(self, qpos: np.ndarray, qvel: np.ndarray) -> tuple[np.ndarray, Readout]:
        """reset() of the nominal plant from float64 NumPy, exact to the last bit."""
        start = np.asarray(qpos, np.float64), np.asarray(qvel, np.float64)
        physics_state, flat = self._reset(np.bool_(True), *start, np.zeros(0, np.float32))
        return physics_state, self._unpack(jnp.asarray(flat))

    def unpack(self, physics_state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Qpos and qvel in float64 of a payload [..., words]."""
        state = np.ascontiguousarray(physics_state).view(np.float64)
        nq, nv = self.model.nq, self.model.nv
        return state[..., :nq], state[..., nq : nq + nv]

    def _call(self, host: Any, *args: Array) -> tuple[Array, Readout]:
        width = sum(math.prod(shape) for shape in self._readout)
        shapes = (
            jax.ShapeDtypeStruct((2 * self._words,), jnp.uint32),
            jax.ShapeDtypeStruct((width,), jnp.float32),
        )
        physics_state, flat = _call_host(host, shapes, args)
        return physics_state, self._unpack(flat)

    def _unpack(self, flat: Array) -> Readout:
        return Readout(*split_shapes(flat, self._readout))

    def _reset(self, active: Any, *args: Any) -> tuple[np.ndarray, np.ndarray]:
        return _by_rows(self.reset_rows, active, *args)

    def _step(self, active: Any, *args: Any) -> tuple[np.ndarray, np.ndarray]:
        return _by_rows(self.step_rows, active, *args)


def _by_rows(work: Any, active: Any, *args: Any) -> tuple[np.ndarray, np.ndarray]:
    """Work on rows of robots applied to any batch shape, which is that of `active`."""
    mask = np.asarray(active)
    arrays = [np.asarray(a) for a in args]
    rows = [a.reshape(mask.size, *a.shape[mask.ndim :]) for a in arrays]
    physics_state, flat = work(mask.reshape(-1), *rows)
    return physics_state.reshape(*mask.shape, -1), flat.reshape(*mask.shape, -1)


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


def flat_plant(plant: Plant | None) -> Array:
    """A plant as one array; none: no numbers."""
    if plant is None:
        return jnp.zeros(0)
    return jnp.concatenate([jnp.ravel(part) for part in plant])


def plant_from(model: mujoco.MjModel, flat: np.ndarray) -> Plant:
    """The plant of a flat array, in float64."""
    return Plant(*split_shapes(flat.astype(np.float64), tuple(plant_shapes(model).values())))
