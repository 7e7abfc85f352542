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
from robo_rl.errors import UserError
from robo_rl.policy.stored import Network
from robo_rl.training.common import (
    ACTIVATIONS,
    episode_sums,
    init_statistics,
    mlp_layers,
    repeated,
    summarise,
    to_network,
)
from robo_rl.training.config import Sac
from robo_rl.training.learner import Learner

ROLLOUTS_PER_ADVANCE = 8  # each one step of all robots
ENTRIES = ("critic_loss", "actor_loss", "alpha_loss", "alpha")  # logged, each under learn/
LEARN = tuple(f"learn/{name}" for name in ENTRIES)
STARTED = (  # the temperature too: a new one would drown the returns that the critic knows
    "weights.policy",
    "weights.critic",
    "weights.target",
    "weights.log_alpha",
    "statistics",
)


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


def sac(env: Environment, hyper: Sac, *, started: bool = False) -> Learner:
    """SAC on an environment; a truncated step is bootstrapped from its terminal observation.

    started: it begins with the weights of another run. Then that policy fills the buffer, instead
    of random actions, and observations are normalised as it knows them until learning begins.
    Raises UserError where the replay buffer cannot hold one step of all robots.
    """
    if hyper.replay < hyper.robots:
        raise UserError(
            f"sac.replay={hyper.replay} must hold at least one step of each of"
            f" sac.robots={hyper.robots}."
        )
    loop = _Loop(env, hyper, started)
    return Learner(
        init=jax.jit(loop.init),
        advance=jax.jit(loop.advance, donate_argnums=0),
        network=loop.network,
        steps_per_rollout=hyper.robots,
        rollouts=ROLLOUTS_PER_ADVANCE,
        learned=STARTED,
        growing=(".replay.data",),
    )


class _Loop:
    """What SAC does, from a random start to a step of all robots and the updates it pays for."""

    def __init__(self, env: Environment, hyper: Sac, started: bool):
        self.env, self.hyper, self.started = env, hyper, started
        self.nets = networks.make_sac_networks(
            env.observation_size,
            env.action_size,
            preprocess_observations_fn=running_statistics.normalize,  # type: ignore[arg-type]
            hidden_layer_sizes=hyper.hidden,
            activation=ACTIVATIONS[hyper.activation],
        )
        self.act = networks.make_inference_fn(self.nets)
        self.optimiser = optax.adam(hyper.learning_rate)
        self.alpha_optimiser = optax.adam(hyper.alpha_learning_rate)
        made: Any = losses.make_losses(  # typed as returning arrays, which gradients rejects
            self.nets,
            reward_scaling=hyper.reward_scale,
            discounting=hyper.discount,
            action_size=env.action_size,
        )
        optimisers = (self.alpha_optimiser, self.optimiser, self.optimiser)
        self.update_alpha, self.update_critic, self.update_actor = (
            gradients.gradient_update_fn(loss, optimiser, pmap_axis_name=None)
            for loss, optimiser in zip(made, optimisers, strict=True)
        )
        self.buffer = UniformSamplingQueue(
            capacity(hyper),
            _example(env),
            hyper.batch * hyper.updates_per_step,
        )

    def init(self, key: Array) -> SacState:
        robot_key, policy_key, critic_key, replay_key, key = jax.random.split(key, 5)
        policy = self.nets.policy_network.init(policy_key)
        critic = self.nets.q_network.init(critic_key)
        log_alpha = jnp.float32(0.0)
        weights = Weights(
            policy=policy,
            critic=critic,
            target=jax.tree.map(jnp.copy, critic),
            log_alpha=log_alpha,
            policy_optimiser=self.optimiser.init(policy),
            critic_optimiser=self.optimiser.init(critic),
            alpha_optimiser=self.alpha_optimiser.init(log_alpha),
        )
        robots = self.env.reset_batch(jax.random.split(robot_key, self.hyper.robots))
        statistics, replay = (
            init_statistics(self.env.observation_size),
            self.buffer.init(replay_key),
        )
        return SacState(weights, statistics, replay, robots, key, jnp.int32(0))

    def advance(
        self, state: SacState, rollouts: Array | int = ROLLOUTS_PER_ADVANCE
    ) -> tuple[SacState, dict[str, Array]]:
        state, sums = repeated(self.one, state, rollouts)
        return state, summarise(sums)

    def one(self, state: SacState) -> tuple[SacState, dict[str, Array]]:
        act_key, learn_key, key = jax.random.split(state.key, 3)
        action = self.explore(state, act_key)
        robots, outcome = self.env.step_autoreset(state.robots, action)
        seen = transition(state.robots.observation, action, outcome)
        state = state._replace(
            statistics=self.observed(state, seen.observation),
            replay=self.buffer.insert_internal(state.replay, seen),
            robots=robots,
            key=key,
            steps=state.steps + self.hyper.robots,
        )
        idle = dict.fromkeys((*LEARN, "updates"), jnp.float32(0.0))
        state, sums = jax.lax.cond(
            state.steps >= self.hyper.warmup,
            self.learn,
            lambda same, _: (same, idle),
            state,
            learn_key,
        )
        return state, episode_sums(outcome) | sums

    def observed(self, state: SacState, observation: Array) -> Any:
        """The statistics after these observations; those of a given policy while it warms up."""
        updated = running_statistics.update(state.statistics, observation)
        if not self.started:
            return updated
        warm = state.steps >= self.hyper.warmup
        return jax.tree.map(lambda new, old: jnp.where(warm, new, old), updated, state.statistics)

    def explore(self, state: SacState, key: Array) -> Array:
        """Uniform actions until the buffer holds `warmup` steps, then the policy's.

        A policy that was given acts from the start.
        """
        random_key, policy_key = jax.random.split(key)
        policy = self.act((state.statistics, state.weights.policy))
        chosen, _ = policy(state.robots.observation, policy_key)
        if self.started:
            return chosen
        uniform = jax.random.uniform(random_key, chosen.shape, minval=-1.0, maxval=1.0)
        return jnp.where(state.steps < self.hyper.warmup, uniform, chosen)

    def learn(self, state: SacState, key: Array) -> tuple[SacState, dict[str, Array]]:
        count = self.hyper.updates_per_step
        replay, batch = self.buffer.sample_internal(state.replay)
        batches = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), batch)
        weights, entries = jax.lax.scan(
            lambda w, at: self.update(w, at, state.statistics),
            state.weights,
            (jax.random.split(key, count), batches),
        )
        sums = dict(zip(LEARN, (jnp.sum(entries[name]) for name in ENTRIES), strict=True))
        sums["updates"] = jnp.float32(count)
        return state._replace(weights=weights, replay=replay), sums

    def update(
        self, w: Weights, at: tuple[Array, Transition], statistics: Any
    ) -> tuple[Weights, dict[str, Array]]:
        key, batch = at
        alpha_key, critic_key, actor_key = jax.random.split(key, 3)
        alpha = jnp.exp(w.log_alpha)
        alpha_loss, log_alpha, alpha_state = self.update_alpha(
            *(w.log_alpha, w.policy, statistics, batch, alpha_key),
            optimizer_state=w.alpha_optimiser,
        )
        critic_loss, critic, critic_state = self.update_critic(
            *(w.critic, w.policy, statistics, w.target, alpha, batch, critic_key),
            optimizer_state=w.critic_optimiser,
        )
        actor_loss, policy, policy_state = self.update_actor(
            *(w.policy, statistics, w.critic, alpha, batch, actor_key),
            optimizer_state=w.policy_optimiser,
        )
        target = optax.incremental_update(critic, w.target, self.hyper.tau)
        learned = Weights(
            policy, critic, target, log_alpha, policy_state, critic_state, alpha_state
        )
        values = (critic_loss, actor_loss, alpha_loss, alpha)
        return learned, dict(zip(ENTRIES, values, strict=True))

    def network(self, state: SacState) -> Network:
        *inner, last = mlp_layers(state.weights.policy["params"])
        size = self.env.action_size
        mean = jax.tree.map(lambda x: x[..., :size], last)  # the rest is the deviation
        return to_network([*inner, mean], state.statistics, self.hyper.activation, "tanh")


def capacity(hyper: Sac) -> int:
    """Rows of the replay buffer: no more than a run of this length can fill."""
    return min(hyper.replay, hyper.steps + hyper.robots)


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
