"""The state of one robot between two control steps."""

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from robo_rl.engines.base import Array
from robo_rl.injection import actuation, sensors
from robo_rl.injection.episode import Injection
from robo_rl.robots.signals import Command, Signals

T = TypeVar("T")


class State(NamedTuple):
    """One robot between two control steps; everything needed to go on."""

    physics_state: Array  # the engine's opaque payload
    signals: Signals
    command: Command  # in force from now on
    sensing: sensors.SensorMemory | None
    driving: actuation.ActuationMemory | None
    lagged: Array  # [nsensordata] past readings of the sensors, see signals.lag
    injection: Injection | None  # None is the nominal MDP
    limits: Array | None  # a curriculum's limits, share of each row's range; None without one
    key: Array  # of the episode
    step: Array  # [] int, control steps since the reset
    observation: Array
    reward: Array
    terms: dict[str, Array]  # weighted reward terms of the last step
    costs: dict[str, Array]
    cost: Array  # sum of costs of the last step
    terminated: Array
    truncated: Array
    error: Array  # physics or policy produced a number that is not finite; latched
    episode_return: Array
    episode_cost: Array

    @property
    def done(self) -> Array:
        """The episode is over, for whatever reason."""
        return self.terminated | self.truncated


def keep(condition: Array, kept: T, otherwise: T) -> T:
    """`kept` where a condition [] holds, leaf by leaf, else `otherwise`."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), kept, otherwise)


def keep_rows(condition: Array, kept: State, otherwise: State) -> State:
    """As keep() for many robots, [N] conditions; keys of random streams too."""

    def choose(a: Array, b: Array) -> Array:
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(choose(jax.random.key_data(a), jax.random.key_data(b)))
        return jnp.where(condition.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(choose, kept, otherwise)
