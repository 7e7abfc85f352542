"""Brax: the same MDP as a brax.envs.Env, so that brax.training can train on it."""

import jax
import jax.numpy as jnp
from brax.envs.base import Env
from brax.envs.base import State as BraxState

from robo_rl.engines.base import Array
from robo_rl.envs.step import Environment, State
from robo_rl.interop.gym import flat_info


class BraxEnv(Env):
    """One robot for brax.training, which vmaps, limits the time and resets by its own wrappers."""

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
        after = self.env.step(_unwrapped(state), action)
        return _wrapped(after, state.info, state.metrics)

    @property
    def observation_size(self) -> int:
        """Number of observations."""
        return self.env.observation_size

    @property
    def action_size(self) -> int:
        """Number of actions."""
        return self.env.action_size

    @property
    def backend(self) -> str:
        """The engine's name."""
        return "robo_rl"


def _wrapped(state: State, info: dict[str, Array], metrics: dict[str, Array]) -> BraxState:
    """Brax's view of a state; what its wrappers added to info and metrics is kept."""
    raw = state._replace(key=jax.random.key_data(state.key))
    return BraxState(
        pipeline_state=raw,  # type: ignore[arg-type]
        obs=state.observation,
        reward=state.reward,
        done=state.terminated.astype(jnp.float32),
        metrics={**metrics, **flat_info(state)},
        info=info,
    )


def _unwrapped(state: BraxState) -> State:
    raw: State = state.pipeline_state  # type: ignore[assignment]
    return raw._replace(key=jax.random.wrap_key_data(raw.key))
