"""Actuation injector: what happens to a command between the policy and the motor."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from robo_rl.engines.base import Array

UNLIMITED_PER_S = 1e9


class ActuationInjection(NamedTuple):
    """What the drive does to a command in [-1, 1]; the neutral one passes it on untouched."""

    latency_s: Array  # [] from the policy's output to the motor; resolved to one physics substep
    jitter_s: Array  # [] additional latency, drawn uniformly in [0, jitter] at every control step
    drop_probability: Array  # [] chance that a command is lost and the last one holds
    noise_std: Array  # [nu] share of full command, drawn anew at every control step
    saturation: Array  # [nu] largest command magnitude that is obeyed
    rate_limit_per_s: Array  # [nu] largest change of the command per second
    lag_s: Array  # [] time constant of a first-order lag


class ActuationMemory(NamedTuple):
    """Commands still on their way, the last one that was not lost, and the drive's state."""

    commands: Array  # [capacity, nu] newest last, one per control step
    last: Array  # [nu] what a lost command leaves in force
    limited: Array  # [nu] behind the rate limit
    applied: Array  # [nu] behind the lag, which follows the rate limit


def ideal(actuators: int) -> ActuationInjection:
    """The injection that changes nothing."""
    none = np.float32(0.0)
    full = np.ones(actuators, np.float32)
    return ActuationInjection(none, none, none, 0 * full, full, UNLIMITED_PER_S * full, none)  # type: ignore[arg-type]


def begin(actuators: int, capacity: int) -> ActuationMemory:
    """Memory at the start of an episode: no command has been given."""
    none = jnp.zeros(actuators)
    return ActuationMemory(jnp.zeros((capacity, actuators)), none, none, none)


def actuate(
    injection: ActuationInjection,
    memory: ActuationMemory,
    action: Array,
    substeps: int,
    substep_s: float,
    key: Array,
) -> tuple[ActuationMemory, Array]:
    """The memory after this step and the command at every substep, [substeps, nu].

    A command given at time t acts from t + latency on, also below the control period. With no
    capacity for the past a command acts at once, and a latency is refused where the environment
    is built.
    """
    jitter_key, drop_key, noise_key = jax.random.split(key, 3)
    lost = jax.random.uniform(drop_key) < injection.drop_probability
    command = jnp.where(lost, memory.last, action)
    commands = jnp.concatenate([memory.commands, command[None]])
    wanted = jnp.broadcast_to(command, (substeps, command.shape[0]))
    if memory.commands.shape[0]:
        late_s = injection.latency_s + injection.jitter_s * jax.random.uniform(jitter_key)
        wanted = commands[
            commands.shape[0] - 1 - command_age(late_s, substeps, substep_s, len(commands))
        ]
    wanted = wanted + injection.noise_std * jax.random.normal(noise_key, action.shape)
    wanted = jnp.clip(wanted, -injection.saturation, injection.saturation)
    limited, applied, sequence = memory.limited, memory.applied, []
    for k in range(substeps):
        limited, applied = follow(injection, limited, applied, wanted[k], substep_s)
        sequence.append(applied)
    return ActuationMemory(commands[1:], command, limited, applied), jnp.stack(sequence)


def command_age(late_s: Array, substeps: int, substep_s: float, available: int) -> Array:
    """How many control steps old the command at each substep is, [substeps] int.

    At substep k, k * substep_s after the newest command, a command has arrived if it is late_s old.
    """
    waiting = late_s / (substeps * substep_s) - jnp.arange(substeps) / substeps
    return jnp.clip(jnp.ceil(waiting - 1e-4).astype(jnp.int32), 0, available - 1)


def follow(
    injection: ActuationInjection, limited: Array, applied: Array, wanted: Array, substep_s: float
) -> tuple[Array, Array]:
    """Rate-limited and applied command one substep on: a rate limit, and behind it a lag.

    The lag is exact for what the rate limit gives, which moves in a straight line over a substep.
    """
    step = injection.rate_limit_per_s * substep_s
    moved = jnp.where(
        jnp.abs(wanted - limited) <= step, wanted, limited + jnp.clip(wanted - limited, -step, step)
    )
    tau = jnp.maximum(injection.lag_s, 1e-9)
    ramp = jnp.where(injection.rate_limit_per_s < UNLIMITED_PER_S, moved - limited, 0.0)
    begun = moved - ramp  # where the line begins; a jump has happened at once
    share = -jnp.expm1(-substep_s / tau)
    behind = ramp * (1.0 - share * tau / substep_s)
    lagging = applied + (begun - applied) * share + behind
    return moved, jnp.where(injection.lag_s > 0, lagging, moved)
