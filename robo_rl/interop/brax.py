"""Brax: the same MDP as a brax.envs.Env, so that brax.training can train on it."""

from typing import Any

import jax
import jax.numpy as jnp
from brax.envs.base import Env
from brax.envs.base import State as BraxState

from robo_rl.engines.base import Array
from robo_rl.envs.step import EPISODE, Environment, State
from robo_rl.interop.robots import WrongValueError, flat_info, sizes

# Where brax.envs.wrappers.training.AutoResetWrapper keeps the start that it goes back to.
FIRST_STATE, FIRST_OBSERVATION = "first_pipeline_state", "first_obs"


class BraxEnv(Env):
    """One robot for brax.training, which vmaps, limits the time and resets by its own wrappers.

    metrics hold flat_info: reward terms, costs, and `error` for a robot that diverged (its reward
    is 0, its observation the last finite one). Under Brax's AutoResetWrapper every episode is a new
    one: another start, other goals, noise and disturbances.
    """

    def __init__(self, env: Environment):
        self.env = env

    def reset(self, rng: Array) -> BraxState:
        """A fresh episode; rng may be a raw or a typed key."""
        key = (
            rng if jnp.issubdtype(rng.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(rng)
        )
        return _wrapped(self.env.reset(key), {}, {})

    def step(self, state: BraxState, action: Array) -> BraxState:
        """One control step; the time limit is left to Brax's wrapper."""
        if action.shape[-1:] != (self.action_size,):
            raise WrongValueError(
                f"{self.env.name}: {self.action_size} actions are needed, got shape {action.shape}."
            )
        before = _unwrapped(state)
        info = self._with_next_start(before, state.info)
        return _wrapped(self.env.step(before, action), info, state.metrics)

    @property
    def observation_size(self) -> int:
        """Number of observations."""
        return sizes(self.env)[0]

    @property
    def action_size(self) -> int:
        """Number of actions."""
        return sizes(self.env)[1]

    @property
    def dt(self) -> float:
        """Control period, s."""
        return self.env.control_s

    @property
    def backend(self) -> str:
        """The engine's name."""
        return "robo_rl"

    def _with_next_start(self, before: State, info: dict[str, Any]) -> dict[str, Any]:
        """Brax's info in which the start to go back to has not been used yet.

        Brax's AutoResetWrapper begins every episode from the start in info. In the first step of an
        episode that is its own, used start: put the next episode's there.
        """
        if FIRST_STATE not in info:
            return info
        begun = before.step == 0
        key = jax.random.fold_in(before.key, EPISODE)
        fresh = _wrapped(self.env.reset(key, None, begun, before.limits), {}, {})
        given = fresh.pipeline_state, fresh.obs
        stored = info[FIRST_STATE], info[FIRST_OBSERVATION]
        state, seen = jax.tree.map(lambda a, b: jnp.where(begun, a, b), given, stored)
        return {**info, FIRST_STATE: state, FIRST_OBSERVATION: seen}


def _wrapped(state: State, info: dict[str, Any], metrics: dict[str, Array]) -> BraxState:
    """Brax's view of a state; what its wrappers added to info and metrics is kept."""
    raw = state._replace(key=jax.random.key_data(state.key))
    named = {name: value.astype(jnp.float32) for name, value in flat_info(state).items()}
    return BraxState(
        pipeline_state=raw,  # type: ignore[arg-type]
        obs=state.observation,
        reward=state.reward,
        done=state.terminated.astype(jnp.float32),
        metrics={**metrics, **named},
        info=info,
    )


def _unwrapped(state: BraxState) -> State:
    raw: State = state.pipeline_state  # type: ignore[assignment]
    return raw._replace(key=jax.random.wrap_key_data(raw.key))
