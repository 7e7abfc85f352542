"""What PPO and SAC share."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from brax.training.acme import running_statistics
from brax.training.acme.specs import Array as Spec

from robo_rl.engines.base import Array
from robo_rl.envs.state import State
from robo_rl.policy.stored import Network
from robo_rl.training.curriculum import TESTED, tested_by_row

ACTIVATIONS = {"tanh": nn.tanh, "relu": nn.relu, "swish": nn.swish}
STD_EPSILON = 1e-6
PER_EPISODE = ("episode_return", "episode_length", "episode_cost", "falls")


def init_statistics(size: int) -> running_statistics.RunningStatisticsState:
    """Running mean and deviation of observations, before any."""
    return running_statistics.init_state(Spec((size,), jnp.dtype("float32")), std_eps=STD_EPSILON)


def strip_weak_types(parameters: Any) -> Any:
    """Strip weak types; otherwise the first update changes a dtype and `advance` compiles twice."""
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), parameters)


def mlp_layers(layers: Any) -> list[Any]:
    """The layers of a brax MLP in order."""
    return [layers[f"hidden_{i}"] for i in range(len(layers))]


def to_network(
    layers: list[Any],
    statistics: running_statistics.RunningStatisticsState,
    activation: str,
    head: str,
) -> Network:
    """Dense layers that end in the mean action, and the statistics, as a stored policy."""
    return Network(
        mean=np.asarray(statistics.mean),
        std=np.asarray(statistics.std),
        clip=np.inf,
        weights=tuple(np.asarray(layer["kernel"]) for layer in layers),
        biases=tuple(np.asarray(layer["bias"]) for layer in layers),
        activation=activation,
        head=head,
    )


def repeated(
    one: Callable[[Any], tuple[Any, dict[str, Array]]], state: Any, times: Array | int
) -> tuple[Any, dict[str, Array]]:
    """The state after `times` calls of `one`, and the sums of what they log.

    `times` may be traced: one compilation serves every length.
    """
    call = jax.jit(one)  # traced once for the shapes of its log and the loop
    shapes = jax.eval_shape(call, state)[1]
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    def body(_: Array, carry: Any) -> Any:
        state, total = carry
        state, log = call(state)
        return state, jax.tree.map(jnp.add, total, log)

    return jax.lax.fori_loop(0, times, body, (state, nothing))


def episode_sums(outcome: State) -> dict[str, Array]:
    """What the training log needs of one step of all robots, as sums."""
    done = outcome.done.astype(jnp.float32)
    sums = {
        "steps": jnp.float32(1.0),
        "episodes": jnp.sum(done),
        "episode_return": jnp.sum(done * outcome.episode_return),
        "episode_length": jnp.sum(done * outcome.step),
        "episode_cost": jnp.sum(done * outcome.episode_cost),
        "falls": jnp.sum(outcome.terminated),
        "errors": jnp.sum(outcome.error),
    }
    sums |= tested_by_row(outcome)
    sums |= {f"reward/{name}": jnp.mean(value) for name, value in outcome.terms.items()}
    return sums | {f"cost/{name}": jnp.mean(value) for name, value in outcome.costs.items()}


def summarise(sums: dict[str, Array]) -> dict[str, Array]:
    """Log entries from sums: means per episode, per step, and per gradient update (learn/).

    A mean over nothing is NaN; `updates` counts gradient updates, so that a loss that is NaN
    because there was none is told from one that diverged.
    """
    entries = {name: sums[name] for name in ("episodes", "errors", "updates")}
    for name in PER_EPISODE:
        entries[name] = mean_of(sums[name], sums["episodes"])
    for name in sums:
        if name in TESTED:
            entries[name] = sums[name]
        elif "/" in name:
            count = sums["updates"] if name.startswith("learn/") else sums["steps"]
            entries[name] = mean_of(sums[name], count)
    return entries


def mean_of(total: Array, count: Array) -> Array:
    """The mean of what sums to `total`; NaN where nothing was counted."""
    return jnp.where(count > 0, total / jnp.maximum(count, 1.0), jnp.nan)
