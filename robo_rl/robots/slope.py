"""A slope as a robot senses it: the ground is inclined, attitude is held against gravity."""

import jax.numpy as jnp
import mujoco

from robo_rl.engines.base import Array
from robo_rl.robots.robot import Robot
from robo_rl.robots.signals import UPRIGHT

SENSOR = mujoco.mjtSensor
WORLD_VECTORS = tuple(
    int(kind)
    for kind in (
        SENSOR.mjSENS_FRAMEXAXIS,
        SENSOR.mjSENS_FRAMEYAXIS,
        SENSOR.mjSENS_FRAMEZAXIS,
        SENSOR.mjSENS_FRAMELINVEL,
        SENSOR.mjSENS_FRAMEANGVEL,
    )
)


def up(robot: Robot, gravity_offset_mps2: Array) -> Array:
    """Unit vector against gravity in the ground's frame, [3]; exactly its z without a slope."""
    level = jnp.asarray(UPRIGHT, jnp.float32)
    pull = jnp.asarray(robot.model.opt.gravity, jnp.float32) + gravity_offset_mps2
    turned = jnp.any(gravity_offset_mps2 != 0)
    return jnp.where(turned, -pull / jnp.maximum(jnp.linalg.norm(pull), 1e-9), level)


def levelled(robot: Robot, samples: Array, up_w: Array) -> Array:
    """Samples [substeps, channels] as sensors give them: attitude and velocity against gravity.

    Places stay in the ground's frame: a height is one above the ground. Of a robot that is fixed or
    planar nothing changes.
    """
    model = robot.model
    if model.jnt_type[0] != int(mujoco.mjtJoint.mjJNT_FREE):
        return samples
    turn = jnp.array([1.0 + up_w[2], up_w[1], -up_w[0], 0.0])  # takes up_w to the z axis
    turn = turn / jnp.linalg.norm(turn)
    quaternions, vectors = [3], [model.nq]
    sensors = model.nq + 2 * model.nv
    for kind, at, reference in zip(
        model.sensor_type, model.sensor_adr, model.sensor_refid, strict=True
    ):
        if reference < 0 and kind == int(SENSOR.mjSENS_FRAMEQUAT):
            quaternions.append(sensors + int(at))
        if reference < 0 and int(kind) in WORLD_VECTORS:
            vectors.append(sensors + int(at))
    held = samples
    for at in quaternions:
        held = held.at[:, at : at + 4].set(_times(turn, held[:, at : at + 4]))
    for at in vectors:
        held = held.at[:, at : at + 3].set(_turned(turn, held[:, at : at + 3]))
    return jnp.where(up_w[2] == 1.0, samples, held)


def _times(left: Array, right: Array) -> Array:
    """Quaternion products left * right, [n, 4]."""
    w, x, y, z = left
    a, b, c, d = jnp.moveaxis(right, -1, 0)
    return jnp.stack(
        [
            w * a - x * b - y * c - z * d,
            w * b + x * a + y * d - z * c,
            w * c - x * d + y * a + z * b,
            w * d + x * c - y * b + z * a,
        ],
        axis=-1,
    )


def _turned(turn: Array, vectors: Array) -> Array:
    """Vectors [n, 3] turned by a unit quaternion."""
    w, axis = turn[0], turn[1:]
    across = 2.0 * jnp.cross(axis, vectors)
    return vectors + w * across + jnp.cross(axis, across)
