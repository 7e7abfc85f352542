"""Closed kinematic loops: the nearest state that satisfies a model's equality constraints."""

import copy
import functools
import threading
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from robo_rl.engines.base import Array

NEWTON_STEPS, CLOSED = 20, 1e-9  # m or rad: a loop is closed
NEGLIGIBLE = 1e-6  # share of the largest singular value under which a direction is left alone


def tied(model: mujoco.MjModel, qpos: Array, qvel: Array, active: Array) -> tuple[Array, Array]:
    """The nearest state with every loop closed; itself where the model has none, or inactive."""
    if not model.neq:
        return qpos, qvel
    shapes = tuple(jax.ShapeDtypeStruct(x.shape, jnp.float32) for x in (qpos, qvel))

    def close(qpos: Any, qvel: Any, active: Any) -> tuple[np.ndarray, np.ndarray]:
        at, rate = (np.array(x, np.float32).reshape(-1, x.shape[-1]) for x in (qpos, qvel))
        for row in np.flatnonzero(np.asarray(active)):
            at[row], rate[row] = close_loops(model, at[row], rate[row])
        return at.reshape(qpos.shape), rate.reshape(qvel.shape)

    return jax.pure_callback(close, shapes, qpos, qvel, active, vmap_method="broadcast_all")


def close_loops(
    model: mujoco.MjModel, qpos: np.ndarray, qvel: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest state that satisfies the model's equality constraints, by Gauss and Newton."""
    loops = _loops(model)
    with loops.lock:
        data = loops.data
        data.qpos[:], data.qvel[:] = qpos, qvel
        for _ in range(NEWTON_STEPS):
            mujoco.mj_fwdPosition(loops.model, data)
            if not data.nefc or np.abs(data.efc_pos).max() < CLOSED:
                break
            mujoco.mj_integratePos(loops.model, data.qpos, -_inverse(data) @ data.efc_pos, 1.0)
        mujoco.mj_fwdPosition(loops.model, data)
        if data.nefc:
            jacobian = data.efc_J.reshape(data.nefc, -1)
            data.qvel -= _inverse(data) @ (jacobian @ data.qvel)
        return data.qpos.copy(), data.qvel.copy()


class _Loops(NamedTuple):
    """A model of equality constraints alone, and room to evaluate it in."""

    model: mujoco.MjModel
    data: mujoco.MjData
    lock: threading.Lock


@functools.lru_cache(maxsize=16)
def _loops(model: mujoco.MjModel) -> _Loops:
    bare, kinds = copy.copy(model), mujoco.mjtDisableBit
    bare.opt.disableflags |= int(kinds.mjDSBL_CONTACT | kinds.mjDSBL_LIMIT)
    bare.opt.disableflags |= int(kinds.mjDSBL_FRICTIONLOSS)
    bare.opt.jacobian = mujoco.mjtJacobian.mjJAC_DENSE
    return _Loops(bare, mujoco.MjData(bare), threading.Lock())


def _inverse(data: mujoco.MjData) -> np.ndarray:
    """Pseudo-inverse [nv, constraints] of the constraints' Jacobian."""
    return np.linalg.pinv(data.efc_J.reshape(data.nefc, -1), rcond=NEGLIGIBLE)
