"""PPO: our loop over brax.training's loss, networks and running statistics."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from brax.training.acme import running_statistics
from brax.training.agents.ppo import losses, networks
from brax.training.types import Transition

from robo_rl.engines.base import Array
from robo_rl.envs.step import Environment, State
from robo_rl.errors import UserError
from robo_rl.policy.stored import Network
from robo_rl.training.common import (
    ACTIVATIONS,
    episode_sums,
    init_statistics,
    mlp_layers,
    repeated,
    strip_weak_types,
    summarise,
    to_network,
)
from robo_rl.training.config import Ppo
from robo_rl.training.learner import Learner

ROLLOUTS_PER_ADVANCE = 4


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
    loop = _Loop(env, hyper)
    return Learner(
        init=jax.jit(loop.init),
        advance=jax.jit(loop.advance, donate_argnums=0),
        network=loop.network,
        steps_per_rollout=hyper.robots * hyper.unroll,
        rollouts=ROLLOUTS_PER_ADVANCE,
        learned=("parameters", "statistics"),
    )


class _Loop:
    """What PPO does, from a random start to an iteration: collect, then learn for some epochs."""

    def __init__(self, env: Environment, hyper: Ppo):
        self.env, self.hyper, self.nets = env, hyper, _networks(env, hyper)
        self.act = networks.make_inference_fn(self.nets)
        iterations = -(-hyper.steps // (hyper.robots * hyper.unroll))
        rate = optax.linear_schedule(
            hyper.learning_rate,
            hyper.final_learning_rate,
            iterations * hyper.epochs * hyper.minibatches,
        )
        clip = optax.clip_by_global_norm(hyper.max_gradient_norm)
        self.optimiser = optax.chain(clip, optax.adam(rate))

    def init(self, key: Array) -> PpoState:
        robot_key, policy_key, value_key, key = jax.random.split(key, 4)
        made: Any = losses.PPONetworkParams  # a flax dataclass, opaque to type checkers
        parameters = strip_weak_types(
            made(
                policy=self.nets.policy_network.init(policy_key),
                value=self.nets.value_network.init(value_key),
            )
        )
        return PpoState(
            parameters,
            self.optimiser.init(parameters),
            init_statistics(self.env.observation_size),
            self.env.reset_batch(jax.random.split(robot_key, self.hyper.robots)),
            key,
        )

    def advance(
        self, state: PpoState, rollouts: Array | int = ROLLOUTS_PER_ADVANCE
    ) -> tuple[PpoState, dict[str, Array]]:
        state, sums = repeated(self.iterate, state, rollouts)
        return state, summarise(sums)

    def iterate(self, state: PpoState) -> tuple[PpoState, dict[str, Array]]:
        collect_key, learn_key, key = jax.random.split(state.key, 3)
        robots, batch, sums = self.collect(state, collect_key)
        statistics = running_statistics.update(state.statistics, batch.observation)
        by_robot = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), batch)
        learned, entries = jax.lax.scan(
            lambda c, k: self.epoch(c, k, by_robot, statistics),
            (state.parameters, state.optimiser),
            jax.random.split(learn_key, self.hyper.epochs),
        )
        sums |= {f"learn/{name}": jnp.sum(value) for name, value in entries.items()}
        sums["updates"] = jnp.float32(self.hyper.epochs * self.hyper.minibatches)
        return PpoState(*learned, statistics, robots, key), sums

    def collect(self, state: PpoState, key: Array) -> tuple[State, Transition, dict[str, Array]]:
        policy = self.act((state.statistics, state.parameters.policy))

        def one(robots: State, key: Array) -> tuple[State, Any]:
            action, extras = policy(robots.observation, key)
            onward, outcome = self.env.step_autoreset(robots, action)
            kept = (robots.observation, action, outcome, extras)
            return onward, (transition(*kept), outcome.truncated, episode_sums(outcome))

        keys = jax.random.split(key, self.hyper.unroll)
        robots, (batch, truncated, sums) = jax.lax.scan(one, state.robots, keys)
        total = jax.tree.map(lambda x: jnp.sum(x, axis=0), sums)
        return robots, self.bootstrap(state, batch, truncated), total

    def bootstrap(self, state: PpoState, batch: Transition, truncated: Array) -> Transition:
        value = self.nets.value_network.apply(
            state.statistics, state.parameters.value, batch.next_observation
        )
        discount, scale = self.hyper.discount, self.hyper.reward_scale
        return batch._replace(reward=bootstrapped(batch.reward, value, truncated, discount, scale))

    def epoch(self, carry: Any, key: Array, batch: Transition, statistics: Any) -> Any:
        order_key, loss_key = jax.random.split(key)
        order = jax.random.permutation(order_key, self.hyper.robots)
        shuffled = jax.tree.map(
            lambda x: x[order].reshape(self.hyper.minibatches, -1, *x.shape[1:]), batch
        )
        keys = jax.random.split(loss_key, self.hyper.minibatches)
        return jax.lax.scan(lambda c, at: self.update(c, at, statistics), carry, (keys, shuffled))

    def update(self, carry: Any, at: tuple[Array, Transition], statistics: Any) -> Any:
        parameters, optimiser_state = carry
        key, batch = at
        gradient, entries = jax.grad(self.loss, has_aux=True)(parameters, statistics, batch, key)
        change, optimiser_state = self.optimiser.update(gradient, optimiser_state, parameters)
        entries["gradient_norm"] = optax.global_norm(gradient)
        return (optax.apply_updates(parameters, change), optimiser_state), entries

    def loss(self, parameters: Any, statistics: Any, batch: Transition, key: Array) -> Any:
        return losses.compute_ppo_loss(
            parameters,
            statistics,
            batch,
            key,
            self.nets,
            entropy_cost=self.hyper.entropy,
            discounting=self.hyper.discount,
            reward_scaling=self.hyper.reward_scale,
            gae_lambda=self.hyper.gae_lambda,
            clipping_epsilon=self.hyper.clip,
            vf_coefficient=self.hyper.value_weight,
        )

    def network(self, state: PpoState) -> Network:
        layers = state.parameters.policy["params"]
        stack = [*mlp_layers(layers["MLP_0"]), layers["Dense_0"]]
        return to_network(stack, state.statistics, self.hyper.activation, "clip")


def _networks(env: Environment, hyper: Ppo) -> networks.PPONetworks:
    orthogonal = jax.nn.initializers.orthogonal
    return networks.make_ppo_networks(
        env.observation_size,
        env.action_size,
        preprocess_observations_fn=running_statistics.normalize,  # type: ignore[arg-type]
        policy_hidden_layer_sizes=hyper.hidden,
        value_hidden_layer_sizes=hyper.hidden,
        activation=ACTIVATIONS[hyper.activation],
        distribution_type="normal",
        noise_std_type="log",
        init_noise_std=hyper.initial_std,
        policy_network_kernel_init_fn=orthogonal,
        policy_network_kernel_init_kwargs={"scale": math.sqrt(2.0)},
        value_network_kernel_init_fn=orthogonal,
        mean_kernel_init_fn=orthogonal,
        mean_kernel_init_kwargs={"scale": 0.01},
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
