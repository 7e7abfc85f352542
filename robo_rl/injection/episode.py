"""One value that holds everything that can go wrong in an episode; changing it never recompiles."""

from typing import NamedTuple

import jax.numpy as jnp
import mujoco
import numpy as np

from robo_rl.engines.base import Array, Plant, nominal_plant
from robo_rl.injection.actuation import ActuationInjection, ideal
from robo_rl.injection.sensors import SensorInjection, perfect

PUSHES = 2


class Push(NamedTuple):
    """External wrenches on bodies, each for a while; a slot of zero force does nothing.

    [k] slots.
    """

    at_s: Array  # [k]
    duration_s: Array  # [k]
    body: Array  # [k] int
    force_w_n: Array  # [k, 3]
    torque_w_nm: Array  # [k, 3]


class Fault(NamedTuple):
    """From a moment on, actuators keep a share of their gain; 1 is healthy, 0 is dead."""

    at_s: Array  # []
    gain_scale: Array  # [nu]


class Start(NamedTuple):
    """How the initial state departs from the MDP's own reset."""

    noise_scale: Array  # [] multiplies the reset noise
    qpos_offset: Array  # [nq]
    qvel_offset: Array  # [nv]


class Asked(NamedTuple):
    """A velocity command in place of those that the task draws; not active, it does nothing."""

    active: Array  # [] 1 where it takes their place, else 0
    velocity_b_mps: Array  # [2] forward and sideways
    yaw_rate_radps: Array  # []


class Injection(NamedTuple):
    """Plant, sensors, actuation, pushes, fault, start and command of one episode of one robot."""

    plant: Plant
    sensors: SensorInjection
    actuation: ActuationInjection
    push: Push
    fault: Fault
    start: Start
    asked: Asked


def neutral(model: mujoco.MjModel, channels: int) -> Injection:
    """The injection under which the episode is the nominal MDP. NumPy leaves, one robot."""
    zeros = lambda *shape: np.zeros(shape, np.float32)  # noqa: E731
    push = Push(
        zeros(PUSHES), zeros(PUSHES), np.zeros(PUSHES, np.int32), zeros(PUSHES, 3), zeros(PUSHES, 3)
    )  # type: ignore[arg-type]
    return Injection(
        plant=nominal_plant(model),
        sensors=perfect(channels),
        actuation=ideal(model.nu),
        push=push,
        fault=Fault(np.float32(0.0), np.ones(model.nu, np.float32)),  # type: ignore[arg-type]
        start=Start(np.float32(1.0), zeros(model.nq), zeros(model.nv)),  # type: ignore[arg-type]
        asked=Asked(np.float32(0.0), zeros(2), np.float32(0.0)),  # type: ignore[arg-type]
    )


def ask(injection: Injection, command: tuple[float, float, float]) -> Injection:
    """The injection under which a velocity command holds all episode long.

    command: forward m/s, sideways m/s, yaw rate rad/s, in the base's frame.
    """
    forward, sideways, turn = command
    planar = np.array([forward, sideways], np.float32)
    asked = Asked(np.float32(1.0), planar, np.float32(turn))  # type: ignore[arg-type]
    return injection._replace(asked=asked)


def wrench_over(
    injection: Injection | None, time_s: Array, control_s: float, bodies: int
) -> Array | None:
    """The mean external wrench on every body over the control step from time_s on, [bodies, 6].

    Force N and torque N m, world frame. A push that covers a share of the step has that share of
    its force, so that its impulse is right however its times lie between the steps.
    """
    if injection is None:
        return None
    push = injection.push
    begins = jnp.maximum(push.at_s, time_s)
    ends = jnp.minimum(push.at_s + push.duration_s, time_s + control_s)
    share = jnp.clip((ends - begins) / control_s, 0.0, 1.0)
    slot = share[:, None] * jnp.concatenate([push.force_w_n, push.torque_w_nm], axis=1)
    target = push.body[:, None] == jnp.arange(bodies)[None]
    return jnp.einsum("kb,kf->bf", target.astype(jnp.float32), slot)


def plant_at(injection: Injection | None, time_s: Array) -> Plant | None:
    """The plant at a moment: a fault scales gains and force limits from the moment it strikes."""
    if injection is None:
        return None
    left = jnp.where(time_s >= injection.fault.at_s, injection.fault.gain_scale, 1.0)
    plant = injection.plant
    return plant._replace(
        gain_scale=plant.gain_scale * left, force_limit_scale=plant.force_limit_scale * left
    )


def longest_latency_s(injection: Injection) -> tuple[float, float]:
    """The longest sensor and actuation latency, jitter included, that an injection may ask for."""
    sensors, drive = injection.sensors, injection.actuation
    return (
        float(np.max(np.asarray(sensors.latency_s)) + np.max(np.asarray(sensors.jitter_s))),
        float(np.max(np.asarray(drive.latency_s)) + np.max(np.asarray(drive.jitter_s))),
    )
