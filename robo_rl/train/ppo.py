"""PPO: our loop over brax.training's loss, networks and running statistics."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from brax.training.acme import running_statistics
from brax.training.agents.ppo import losses, networks
from brax.training.types import Transition

from robo_rl.content import UserError
from robo_rl.engines.base import Array
from robo_rl.envs.step import Environment, State
from robo_rl.policy import Network
from robo_rl.train.config import Ppo
from robo_rl.train.learner import (
    ACTIVATIONS,
    Learner,
    episode_sums,
    init_statistics,
    numbered,
    summarise,
    to_network,
)

ITERATIONS_PER_ADVANCE = 4


class PpoState(NamedTuple):
    """Everything needed to go on bit for bit."""

    parameters: losses.PPONetworkParams
    optimiser: Any
    statistics: running_statistics.RunningStatisticsState
    robots: State
    key: Array


def ppo(env: Environment, hyper: Ppo) -> Learner:
    """PPO on an environment; truncated episodes are bootstrapped from where they stopped."""
    if hyper.robots % hyper.minibatches:
        raise UserError(
            f"ppo.robots={hyper.robots} must be a multiple of ppo.minibatches={hyper.minibatches}."
        )
    nets = networks.make_ppo_networks(
        env.observation_size,
        env.action_size,
        preprocess_observations_fn=running_statistics.normalize,  # type: ignore[arg-type]
        policy_hidden_layer_sizes=hyper.hidden,
        value_hidden_layer_sizes=hyper.hidden,
        activation=ACTIVATIONS[hyper.activation],
        distribution_type="normal",
        noise_std_type="log",
        init_noise_std=hyper.initial_std,
        policy_network_kernel_init_fn=jax.nn.initializers.orthogonal,
        policy_network_kernel_init_kwargs={"scale": math.sqrt(2.0)},
        value_network_kernel_init_fn=jax.nn.initializers.orthogonal,
        mean_kernel_init_fn=jax.nn.initializers.orthogonal,
        mean_kernel_init_kwargs={"scale": 0.01},
    )
    act = networks.make_inference_fn(nets)
    samples = hyper.robots * hyper.unroll
    updates = max(1, hyper.steps // samples) * hyper.epochs * hyper.minibatches
    decay = optax.linear_schedule(hyper.learning_rate, hyper.final_learning_rate, updates)
    optimiser = optax.chain(optax.clip_by_global_norm(hyper.max_gradient_norm), optax.adam(decay))

    def loss(parameters: Any, statistics: Any, batch: Transition, key: Array) -> Any:
        return losses.compute_ppo_loss(
            parameters,
            statistics,
            batch,
            key,
            nets,
            entropy_cost=hyper.entropy,
            discounting=hyper.discount,
            reward_scaling=hyper.reward_scale,
            gae_lambda=hyper.gae_lambda,
            clipping_epsilon=hyper.clip,
            vf_coefficient=hyper.value_weight,
        )

    def init(key: Array) -> PpoState:
        robot_key, policy_key, value_key, key = jax.random.split(key, 4)
        made: Any = losses.PPONetworkParams  # a flax dataclass, opaque to type checkers
        parameters = made(
            policy=nets.policy_network.init(policy_key), value=nets.value_network.init(value_key)
        )
        return PpoState(
            parameters,
            optimiser.init(parameters),
            init_statistics(env.observation_size),
            env.reset_batch(jax.random.split(robot_key, hyper.robots)),
            key,
        )

    def collect(state: PpoState, key: Array) -> tuple[State, Transition, dict[str, Array]]:
        policy = act((state.statistics, state.parameters.policy))

        def one(robots: State, key: Array) -> tuple[State, Any]:
            action, extras = policy(robots.observation, key)
            onward, outcome = env.step_autoreset(robots, action)
            kept = (robots.observation, action, outcome, extras)
            return onward, (transition(*kept), outcome.truncated, episode_sums(outcome))

        robots, (batch, truncated, sums) = jax.lax.scan(
            one, state.robots, jax.random.split(key, hyper.unroll)
        )
        return robots, bootstrap(state, batch, truncated), sums

    def bootstrap(state: PpoState, batch: Transition, truncated: Array) -> Transition:
        value = nets.value_network.apply(
            state.statistics, state.parameters.value, batch.next_observation
        )
        paid = bootstrapped(batch.reward, value, truncated, hyper.discount, hyper.reward_scale)
        return batch._replace(reward=paid)

    def minibatch(carry: Any, at: tuple[Array, Transition], statistics: Any) -> Any:
        parameters, optimiser_state = carry
        key, batch = at
        gradient, entries = jax.grad(loss, has_aux=True)(parameters, statistics, batch, key)
        change, optimiser_state = optimiser.update(gradient, optimiser_state, parameters)
        entries["gradient_norm"] = optax.global_norm(gradient)
        return (optax.apply_updates(parameters, change), optimiser_state), entries

    def epoch(carry: Any, key: Array, batch: Transition, statistics: Any) -> Any:
        order_key, loss_key = jax.random.split(key)
        order = jax.random.permutation(order_key, hyper.robots)
        shuffled = jax.tree.map(
            lambda x: x[order].reshape(hyper.minibatches, -1, *x.shape[1:]), batch
        )
        keys = jax.random.split(loss_key, hyper.minibatches)
        return jax.lax.scan(lambda c, at: minibatch(c, at, statistics), carry, (keys, shuffled))

    def iterate(state: PpoState, _: None) -> tuple[PpoState, dict[str, Array]]:
        collect_key, learn_key, key = jax.random.split(state.key, 3)
        robots, batch, sums = collect(state, collect_key)
        statistics = running_statistics.update(state.statistics, batch.observation)
        by_robot = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), batch)
        learned, entries = jax.lax.scan(
            lambda c, k: epoch(c, k, by_robot, statistics),
            (state.parameters, state.optimiser),
            jax.random.split(learn_key, hyper.epochs),
        )
        log = sums | {f"learn/{name}": jnp.mean(value) for name, value in entries.items()}
        return PpoState(*learned, statistics, robots, key), log

    def advance(state: PpoState) -> tuple[PpoState, dict[str, Array]]:
        state, log = jax.lax.scan(iterate, state, None, length=ITERATIONS_PER_ADVANCE)
        return state, summarise(log)

    def network(state: PpoState) -> Network:
        layers = state.parameters.policy["params"]
        stack = [*numbered(layers["MLP_0"]), layers["Dense_0"]]
        return to_network(stack, state.statistics, hyper.activation, "clip")

    return Learner(
        init=jax.jit(init),
        advance=jax.jit(advance, donate_argnums=0),
        network=network,
        steps_per_advance=samples * ITERATIONS_PER_ADVANCE,
    )


def bootstrapped(
    reward: Array, value: Array, truncated: Array, discount: float, reward_scale: float
) -> Array:
    """A time limit is no failure: its step earns the discounted value of the terminal observation.

    The value is in scaled reward, the reward is not: reward + discount * value / reward_scale.
    """
    return reward + jnp.where(truncated, discount * value / reward_scale, 0.0)


def transition(observation: Array, action: Array, outcome: State, extras: Any) -> Transition:
    """One step as brax's loss wants it.

    Truncation is marked as an end, for bootstrap() to make good.
    """
    marks: Any = {"policy_extras": extras, "state_extras": {"truncation": 0.0 * outcome.reward}}
    return Transition(
        observation=observation,
        action=action,
        reward=outcome.reward,
        discount=1.0 - outcome.done.astype(jnp.float32),
        next_observation=outcome.observation,
        extras=marks,
    )
