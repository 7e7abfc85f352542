"""Initial-state distributions: Gymnasium v5's, and those of floating bases and servo arms."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from robo_rl.engines.base import Array
from robo_rl.envs.mdp import Reset
from robo_rl.robots.robot import Robot

PLACE = 5  # a random stream beside those of a split
SHARE = 0.1  # of a joint's range, the most that a start is off home
M_PER_RAD = 0.1  # how far a sliding joint starts off home, where hinges do by 1 rad
HINGE, SLIDE = int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE)
FOOTPRINT_M = 0.3  # half width of the ground that a floating base is set down on


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


def near_home(joint_rad: float, joint_m: float, speed: float) -> Reset:
    """Every joint near home in its own unit, within its range; speeds U(+-speed)."""

    def draw(robot: Robot, key: Array, scale: Array) -> tuple[Array, Array]:
        at, rate = jax.random.split(key)
        spread = _spread(robot, joint_rad, joint_m)
        qpos = _qpos0(robot) + scale * spread * _symmetric(at, robot.model.nq, 1.0)
        qvel = scale * _symmetric(rate, robot.model.nv, speed)
        return _within(robot, qpos), qvel

    return Reset(
        f"home + U(+-{joint_rad:g} rad, +-{joint_m:g} m) within the ranges, qvel U(+-{speed:g})",
        draw,
    )


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


def floating(
    position_m: float,
    tilt_rad: float,
    speed_mps: float,
    rate_radps: float,
    joint_rad: float = 0.0,
    anywhere_m: float = 0.0,
) -> Reset:
    """A free base around its home: box of positions, tilt about a horizontal axis, velocities.

    The joints behind it start within joint_rad of their home (sliding ones within M_PER_RAD as many
    metres) and in their ranges. On a terrain the home is moved within +-anywhere_m
    and raised by the highest ground beneath the robot.
    """

    def draw(robot: Robot, key: Array, scale: Array) -> tuple[Array, Array]:
        at, axis, angle, speed, joints = jax.random.split(key, 5)
        moved = scale * _symmetric(at, 3, position_m)
        if robot.terrain:
            spot = _symmetric(jax.random.fold_in(key, PLACE), 2, anywhere_m)
            moved += jnp.append(spot, robot.terrain.highest_m(spot, FOOTPRINT_M))
        heading = jax.random.uniform(axis, maxval=2 * jnp.pi)
        half = scale * jax.random.uniform(angle, maxval=tilt_rad) / 2
        lean = jnp.sin(half) * jnp.array([jnp.cos(heading), jnp.sin(heading), 0.0])
        turned = _turned(robot, jnp.append(jnp.cos(half), lean))
        qpos = _qpos0(robot).at[:3].add(moved).at[3:7].set(turned)
        if _hinged(robot):
            spread = scale * _symmetric(joints, robot.model.nq - 7, joint_rad)
        else:
            most = _spread(robot, joint_rad, M_PER_RAD * joint_rad)[7:]
            spread = scale * most * _symmetric(joints, robot.model.nq - 7, 1.0)
        qpos = _within(robot, qpos.at[7:].add(spread))
        limits = jnp.array([speed_mps] * 3 + [rate_radps] * 3 + [0.0] * (robot.model.nv - 6))
        qvel = scale * limits * _symmetric(speed, robot.model.nv, 1.0)
        moving = robot.file.initial_qvel is not None
        return qpos, qvel + robot.qvel0.astype(np.float32) if moving else qvel

    where = f" anywhere within {anywhere_m:g} m" if anywhere_m else ""
    return Reset(
        f"home{where} + U(+-{position_m:g} m), tilt U(0, {tilt_rad:g} rad),"
        f" joints U(+-{joint_rad:g}), speed U(+-{speed_mps:g} m/s, +-{rate_radps:g} rad/s)",
        draw,
    )


def planar(x_m: tuple[float, float], y_m: tuple[float, float], heading_rad: float) -> Reset:
    """A free base at rest on the ground: uniform in a rectangle, heading U(+-heading_rad)."""

    def draw(robot: Robot, key: Array, scale: Array) -> tuple[Array, Array]:
        low, high = (
            jnp.array([x_m[0], y_m[0], -heading_rad]),
            jnp.array([x_m[1], y_m[1], heading_rad]),
        )
        middle, half = (low + high) / 2, (high - low) / 2
        x, y, turn = middle + scale * half * jax.random.uniform(key, (3,), minval=-1.0)
        quaternion = jnp.array([jnp.cos(turn / 2), 0.0, 0.0, jnp.sin(turn / 2)])
        turned = _turned(robot, quaternion)
        qpos = _qpos0(robot).at[:2].set(jnp.stack([x, y])).at[3:7].set(turned)
        return qpos, jnp.zeros(robot.model.nv)

    return Reset(f"x U{x_m} m, y U{y_m} m, heading U(+-{heading_rad:g} rad), at rest", draw)


def joints_anywhere(share: float) -> Reset:
    """Every joint uniform within this share of its range around the middle, at rest."""

    def draw(robot: Robot, key: Array, scale: Array) -> tuple[Array, Array]:
        low, high = robot.model.jnt_range.T.astype(np.float32)
        middle, half = (low + high) / 2, (high - low) / 2
        qpos = middle + scale * share * half * _symmetric(key, robot.model.nq, 1.0)
        return qpos, jnp.zeros(robot.model.nv)

    return Reset(f"joints uniform within {100 * share:g} % of their ranges, at rest", draw)


def _qpos0(robot: Robot) -> Array:
    return jnp.asarray(robot.qpos0, jnp.float32)


def _turned(robot: Robot, quaternion: Array) -> Array:
    """The home orientation turned by a rotation in the world's frame, (w, x, y, z)."""
    home = robot.qpos0[3:7]
    if np.array_equal(home, [1.0, 0.0, 0.0, 0.0]):
        return quaternion
    w, x, y, z = quaternion
    a, b, c, d = jnp.asarray(home, jnp.float32)
    return jnp.stack(
        [
            w * a - x * b - y * c - z * d,
            w * b + x * a + y * d - z * c,
            w * c - x * d + y * a + z * b,
            w * d + x * c - y * b + z * a,
        ]
    )


def _hinged(robot: Robot) -> bool:
    """Whether all joints behind a free base are hinges, each with a coordinate of its own."""
    return bool((robot.model.jnt_type[1:] == HINGE).all())


def _spread(robot: Robot, hinge: float, slide: float) -> np.ndarray:
    """Largest distance from home of each entry of qpos, [nq]; none of what is free or turns.

    At most SHARE of a joint's range.
    """
    model, spread = robot.model, np.zeros(robot.model.nq, np.float32)
    for joint in range(model.njnt):
        kind = int(model.jnt_type[joint])
        if kind in (HINGE, SLIDE):
            low, high = model.jnt_range[joint]
            most = SHARE * (high - low) if model.jnt_limited[joint] else np.inf
            spread[model.jnt_qposadr[joint]] = min(hinge if kind == HINGE else slide, most)
    return spread


def _within(robot: Robot, qpos: Array) -> Array:
    """Every hinge and slide moved into its range."""
    model = robot.model
    low, high = np.full((2, model.nq), np.inf, np.float32) * [[-1.0], [1.0]]
    joints = np.flatnonzero(model.jnt_limited & (model.jnt_type >= SLIDE))
    at = model.jnt_qposadr[joints]
    low[at], high[at] = model.jnt_range[joints].T
    return jnp.clip(qpos, low.astype(np.float32), high.astype(np.float32))


def _symmetric(key: Array, size: int, limit: float) -> Array:
    return jax.random.uniform(key, (size,), minval=-limit, maxval=limit)
