"""SAC: our loop over brax.training's losses, networks, running statistics and replay buffer."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from brax.training import gradients
from brax.training.acme import running_statistics
from brax.training.agents.sac import losses, networks
from brax.training.replay_buffers import ReplayBufferState, UniformSamplingQueue
from brax.training.types import Transition

from robo_rl.engines.base import Array
from robo_rl.envs.step import Environment, State
from robo_rl.policy import Network
from robo_rl.train.config import Sac
from robo_rl.train.learner import (
    ACTIVATIONS,
    Learner,
    episode_sums,
    init_statistics,
    numbered,
    summarise,
    to_network,
)

STEPS_PER_ADVANCE = 8  # of all robots


class Weights(NamedTuple):
    """What gradient updates change."""

    policy: Any
    critic: Any
    target: Any
    log_alpha: Array
    policy_optimiser: Any
    critic_optimiser: Any
    alpha_optimiser: Any


class SacState(NamedTuple):
    """Everything needed to go on bit for bit."""

    weights: Weights
    statistics: running_statistics.RunningStatisticsState
    replay: ReplayBufferState
    robots: State
    key: Array
    steps: Array  # [] int, of all robots together


def sac(env: Environment, hyper: Sac) -> Learner:
    """SAC on an environment; a truncated step is bootstrapped from its terminal observation."""
    nets = networks.make_sac_networks(
        env.observation_size,
        env.action_size,
        preprocess_observations_fn=running_statistics.normalize,  # type: ignore[arg-type]
        hidden_layer_sizes=hyper.hidden,
        activation=ACTIVATIONS[hyper.activation],
    )
    act = networks.make_inference_fn(nets)
    optimiser = optax.adam(hyper.learning_rate)
    alpha_optimiser = optax.adam(hyper.alpha_learning_rate)
    made: Any = losses.make_losses(  # typed as returning arrays, which gradients rejects
        nets,
        reward_scaling=hyper.reward_scale,
        discounting=hyper.discount,
        action_size=env.action_size,
    )
    alpha_loss, critic_loss, actor_loss = made
    update_alpha = gradients.gradient_update_fn(alpha_loss, alpha_optimiser, pmap_axis_name=None)
    update_critic = gradients.gradient_update_fn(critic_loss, optimiser, pmap_axis_name=None)
    update_actor = gradients.gradient_update_fn(actor_loss, optimiser, pmap_axis_name=None)
    buffer = UniformSamplingQueue(
        min(hyper.replay, hyper.steps + hyper.robots * STEPS_PER_ADVANCE),
        _example(env),
        hyper.batch * hyper.updates_per_step,
    )

    def init(key: Array) -> SacState:
        robot_key, policy_key, critic_key, replay_key, key = jax.random.split(key, 5)
        policy, critic = nets.policy_network.init(policy_key), nets.q_network.init(critic_key)
        log_alpha = jnp.float32(0.0)
        weights = Weights(
            policy=policy,
            critic=critic,
            target=jax.tree.map(jnp.copy, critic),
            log_alpha=log_alpha,
            policy_optimiser=optimiser.init(policy),
            critic_optimiser=optimiser.init(critic),
            alpha_optimiser=alpha_optimiser.init(log_alpha),
        )
        robots = env.reset_batch(jax.random.split(robot_key, hyper.robots))
        statistics = init_statistics(env.observation_size)
        return SacState(weights, statistics, buffer.init(replay_key), robots, key, jnp.int32(0))

    def explore(state: SacState, key: Array) -> Array:
        """Uniform actions until the buffer holds `warmup` steps, then the policy's."""
        random_key, policy_key = jax.random.split(key)
        policy = act((state.statistics, state.weights.policy))
        chosen, _ = policy(state.robots.observation, policy_key)
        uniform = jax.random.uniform(random_key, chosen.shape, minval=-1.0, maxval=1.0)
        return jnp.where(state.steps < hyper.warmup, uniform, chosen)

    def update(
        weights: Weights,
        at: tuple[Array, Transition],
        statistics: Any,
    ) -> tuple[Weights, dict[str, Array]]:
        key, batch = at
        alpha_key, critic_key, actor_key = jax.random.split(key, 3)
        alpha = jnp.exp(weights.log_alpha)
        alpha_value, log_alpha, alpha_state = update_alpha(
            weights.log_alpha,
            weights.policy,
            statistics,
            batch,
            alpha_key,
            optimizer_state=weights.alpha_optimiser,
        )
        critic_value, critic, critic_state = update_critic(
            weights.critic,
            weights.policy,
            statistics,
            weights.target,
            alpha,
            batch,
            critic_key,
            optimizer_state=weights.critic_optimiser,
        )
        actor_value, policy, policy_state = update_actor(
            weights.policy,
            statistics,
            weights.critic,
            alpha,
            batch,
            actor_key,
            optimizer_state=weights.policy_optimiser,
        )
        target = optax.incremental_update(critic, weights.target, hyper.tau)
        entries = {
            "critic_loss": critic_value,
            "actor_loss": actor_value,
            "alpha_loss": alpha_value,
            "alpha": alpha,
        }
        return (
            Weights(policy, critic, target, log_alpha, policy_state, critic_state, alpha_state),
            entries,
        )

    def learn(state: SacState, key: Array) -> tuple[SacState, dict[str, Array]]:
        replay, batch = buffer.sample_internal(state.replay)
        batches = jax.tree.map(lambda x: x.reshape(hyper.updates_per_step, -1, *x.shape[1:]), batch)
        keys = jax.random.split(key, hyper.updates_per_step)
        weights, entries = jax.lax.scan(
            lambda w, at: update(w, at, state.statistics), state.weights, (keys, batches)
        )
        return state._replace(weights=weights, replay=replay), jax.tree.map(jnp.mean, entries)

    def one(state: SacState, _: None) -> tuple[SacState, dict[str, Array]]:
        act_key, learn_key, key = jax.random.split(state.key, 3)
        action = explore(state, act_key)
        robots, outcome = env.step_autoreset(state.robots, action)
        seen = transition(state.robots.observation, action, outcome)
        state = state._replace(
            statistics=running_statistics.update(state.statistics, seen.observation),
            replay=buffer.insert_internal(state.replay, seen),
            robots=robots,
            key=key,
            steps=state.steps + hyper.robots,
        )
        names = ("critic_loss", "actor_loss", "alpha_loss", "alpha")
        idle = {name: jnp.float32(jnp.nan) for name in names}
        state, entries = jax.lax.cond(
            state.steps >= hyper.warmup, learn, lambda same, _: (same, idle), state, learn_key
        )
        return state, episode_sums(outcome) | {f"learn/{name}": entries[name] for name in names}

    def advance(state: SacState) -> tuple[SacState, dict[str, Array]]:
        state, log = jax.lax.scan(one, state, None, length=STEPS_PER_ADVANCE)
        return state, summarise(log)

    def network(state: SacState) -> Network:
        *inner, last = numbered(state.weights.policy["params"])
        mean = jax.tree.map(lambda x: x[..., : env.action_size], last)  # the rest is the deviation
        return to_network([*inner, mean], state.statistics, hyper.activation, "tanh")

    return Learner(
        init=jax.jit(init),
        advance=jax.jit(advance, donate_argnums=0),
        network=network,
        steps_per_advance=STEPS_PER_ADVANCE * hyper.robots,
    )


def transition(observation: Array, action: Array, outcome: State) -> Transition:
    """One step as brax's losses want it: a fall has no future, a time limit has."""
    marks: Any = {"state_extras": {"truncation": 0.0 * outcome.reward}, "policy_extras": {}}
    return Transition(
        observation=observation,
        action=action,
        reward=outcome.reward,
        discount=1.0 - outcome.terminated.astype(jnp.float32),
        next_observation=outcome.observation,
        extras=marks,
    )


def _example(env: Environment) -> Transition:
    """A transition of zeros: the shapes of one row of the replay buffer."""
    seen, zero = jnp.zeros(env.observation_size), jnp.float32(0.0)
    extras: Any = {"state_extras": {"truncation": zero}, "policy_extras": {}}
    return Transition(seen, jnp.zeros(env.action_size), zero, zero, seen, extras)
