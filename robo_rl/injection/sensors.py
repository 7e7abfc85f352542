"""Sensor injector: delay, bias, noise, quantisation and loss, as pure functions of a value."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from robo_rl.engines.base import Array


class SensorInjection(NamedTuple):
    """What the sensors do to the truth; all zero is a perfect sensor.

    [c] = channels of a sample.
    """

    noise_std: Array  # [c] white Gaussian noise, drawn anew at every reading
    bias_limit: Array  # [c] turn-on bias, drawn uniformly in [-limit, limit] once per episode
    quantum: Array  # [c] resolution; 0 is continuous
    latency_s: Array  # [c] age of the sample when the policy sees it
    jitter_s: Array  # [] additional age, drawn uniformly in [0, jitter] at every reading
    drop_probability: Array  # [] chance that a reading is lost and the last one repeats


class SensorMemory(NamedTuple):
    """What an episode must remember.

    Past samples, the drawn bias, the last reading that arrived.
    """

    samples: Array  # [capacity, c] oldest first, one per physics substep
    bias: Array  # [c]
    held: Array  # [c]


def perfect(channels: int) -> SensorInjection:
    """The injection that changes nothing."""
    zero, none = np.zeros(channels, np.float32), np.float32(0.0)
    return SensorInjection(zero, zero, zero, zero, none, none)  # type: ignore[arg-type]


def begin(injection: SensorInjection, samples: Array, capacity: int, key: Array) -> SensorMemory:
    """Memory at the start of an episode: the past is filled with the first sample."""
    first = samples[-1]
    drawn = jax.random.uniform(key, first.shape, minval=-1.0, maxval=1.0)
    past = jnp.broadcast_to(first, (capacity, first.shape[0]))
    return SensorMemory(past, drawn * injection.bias_limit, first)


def measure(
    injection: SensorInjection, memory: SensorMemory, samples: Array, substep_s: float, key: Array
) -> tuple[SensorMemory, Array]:
    """The memory with this step's samples [substeps, c], and the reading [c] the policy gets.

    A latency between two samples is interpolated linearly. With no capacity for the past the
    newest sample is read, and a latency is refused where the environment is built.
    """
    jitter_key, noise_key, drop_key = jax.random.split(key, 3)
    past = jnp.concatenate([memory.samples, samples])[samples.shape[0] :]
    late = samples[-1]
    if memory.samples.shape[0]:
        age_s = injection.latency_s + injection.jitter_s * jax.random.uniform(jitter_key)
        late = delayed(past, age_s / substep_s)
    noise = injection.noise_std * jax.random.normal(noise_key, late.shape)
    reading = quantise(late + memory.bias + noise, injection.quantum)
    lost = jax.random.uniform(drop_key) < injection.drop_probability
    reading = jnp.where(lost, memory.held, reading)
    return SensorMemory(past, memory.bias, reading), reading


def delayed(past: Array, age: Array) -> Array:
    """The value `age` samples ago, per channel, from past [n, c] (oldest first), interpolated."""
    newest = past.shape[0] - 1
    whole = jnp.clip(jnp.floor(age).astype(jnp.int32), 0, newest)
    share = jnp.clip(age - whole, 0.0, 1.0)
    near = jnp.take_along_axis(past, newest - whole[None], axis=0)[0]
    far = jnp.take_along_axis(past, jnp.maximum(newest - whole[None] - 1, 0), axis=0)[0]
    return jnp.where(share > 0, near * (1.0 - share) + far * share, near)


def quantise(reading: Array, quantum: Array) -> Array:
    """The reading rounded to its resolution; a quantum of 0 leaves the channel alone."""
    safe = jnp.where(quantum > 0, quantum, 1.0)
    rounded: Array = jnp.rint(reading / safe) * safe
    return jnp.where(quantum > 0, rounded, reading)
