"""Stable-Baselines3: the batched environment as a VecEnv."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from robo_rl.content import UserError
from robo_rl.envs.step import Environment
from robo_rl.interop.gym import flat_info, spaces


class RobotVecEnv(VecEnv):
    """Many robots for SB3; infos carry terminal_observation, TimeLimit.truncated and costs."""

    def __init__(self, env: Environment, robots: int, seed: int = 0, reward_scale: float = 1.0):
        self.env, self.reward_scale = env, reward_scale
        super().__init__(robots, *spaces(env))
        self._root = jax.random.key(seed)
        self._reset, self._step = jax.jit(env.reset_batch), jax.jit(env.step_autoreset)
        self._state: Any = None  # a State once reset
        self._actions: np.ndarray | None = None

    def reset(self) -> np.ndarray:
        """New episodes for all robots."""
        self._root, key = jax.random.split(self._root)
        self._state = self._reset(jax.random.split(key, self.num_envs))
        return np.array(self._state.observation)

    def step_async(self, actions: np.ndarray) -> None:
        """Keeps the actions for step_wait()."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """One control step of all robots."""
        assert self._state is not None
        self._state, outcome = self._step(self._state, jnp.asarray(self._actions, jnp.float32))
        done = np.asarray(outcome.done)
        columns = {name: np.asarray(value) for name, value in flat_info(outcome).items()}
        infos: list[dict[str, Any]] = [
            {name: float(column[i]) for name, column in columns.items()}
            for i in range(self.num_envs)
        ]
        for i in np.flatnonzero(done):
            infos[i] |= {
                "terminal_observation": np.array(outcome.observation[i]),
                "TimeLimit.truncated": bool(outcome.truncated[i]),
                "episode": {
                    "r": float(outcome.episode_return[i]),
                    "l": int(outcome.step[i]),
                    "t": 0.0,
                },
            }
        return (
            np.array(self._state.observation),
            self.reward_scale * np.array(outcome.reward),
            done.copy(),
            infos,
        )

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seeds the next reset."""
        if seed is not None:
            self._root = jax.random.key(seed)
        return [seed] * self.num_envs

    def close(self) -> None:
        """Nothing to free."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the environment, once per robot."""
        return [getattr(self, attr_name, getattr(self.env, attr_name, None))] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Not offered: the robots share one pure environment."""
        raise UserError(
            f"{self.env.name}: set_attr({attr_name!r}) is not offered; build another environment."
        )

    def env_method(
        self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any
    ) -> list[Any]:
        """Not offered: the robots share one pure environment."""
        raise UserError(f"{self.env.name}: env_method({method_name!r}) is not offered.")

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper], indices: Any = None
    ) -> list[bool]:
        """No robot is wrapped."""
        return [False] * self.num_envs
