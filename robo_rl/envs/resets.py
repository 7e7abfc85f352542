"""Initial-state distributions, as Gymnasium v5 defines them."""

import jax
import jax.numpy as jnp

from robo_rl.engines.base import Array
from robo_rl.envs.mdp import Reset
from robo_rl.envs.robots import Robot


def uniform(position: float, velocity: float) -> Reset:
    """qpos0 + U(-position, position), U(-velocity, velocity)."""

    def draw(robot: Robot, key: Array, scale: Array) -> tuple[Array, Array]:
        at, speed = jax.random.split(key)
        qpos = _qpos0(robot) + scale * _symmetric(at, robot.model.nq, position)
        return qpos, scale * _symmetric(speed, robot.model.nv, velocity)

    return Reset(f"qpos0 + U(+-{position:g}), qvel U(+-{velocity:g})", draw)


def uniform_normal(position: float, velocity: float) -> Reset:
    """qpos0 + U(-position, position), velocity * N(0, 1)."""

    def draw(robot: Robot, key: Array, scale: Array) -> tuple[Array, Array]:
        at, speed = jax.random.split(key)
        qpos = _qpos0(robot) + scale * _symmetric(at, robot.model.nq, position)
        return qpos, scale * velocity * jax.random.normal(speed, (robot.model.nv,))

    return Reset(f"qpos0 + U(+-{position:g}), qvel {velocity:g} N(0, 1)", draw)


def reaching(position: float, velocity: float, target_radius_m: float) -> Reset:
    """Arm near qpos0, target uniform in a disc and at rest.

    The last two joints are the target's.
    """

    def draw(robot: Robot, key: Array, scale: Array) -> tuple[Array, Array]:
        at, speed, radius, angle = jax.random.split(key, 4)
        r = target_radius_m * jnp.sqrt(jax.random.uniform(radius))
        phi = jax.random.uniform(angle, maxval=2 * jnp.pi)
        qpos = _qpos0(robot) + scale * _symmetric(at, robot.model.nq, position)
        qpos = qpos.at[-2:].set(r * jnp.array([jnp.cos(phi), jnp.sin(phi)]))
        return qpos, (scale * _symmetric(speed, robot.model.nv, velocity)).at[-2:].set(0.0)

    return Reset(
        f"qpos0 + U(+-{position:g}), target uniform in a disc of {target_radius_m:g} m", draw
    )


def _qpos0(robot: Robot) -> Array:
    return jnp.asarray(robot.qpos0, jnp.float32)


def _symmetric(key: Array, size: int, limit: float) -> Array:
    return jax.random.uniform(key, (size,), minval=-limit, maxval=limit)
