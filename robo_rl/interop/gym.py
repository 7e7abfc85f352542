"""Gymnasium: gymnasium.make("robo_rl/hopper-v1", reward="safety") and gymnasium.make_vec."""

from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector.utils import batch_space

from robo_rl.content import UserError
from robo_rl.envs.step import Environment, State, make


def spaces(env: Environment) -> tuple[Box, Box]:
    """Observation and action space of one robot."""
    seen = Box(-np.inf, np.inf, (env.observation_size,), np.float32)
    return seen, Box(-1.0, 1.0, (env.action_size,), np.float32)


class RobotEnv(gymnasium.Env):
    """One robot; info is flat: reward/<term> (weighted), cost/<name>, cost, error."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012

    def __init__(self, name: str, reward: str = "task", render_mode: str | None = None):
        if render_mode not in (None, "rgb_array"):
            raise UserError(f"{name}: render_mode {render_mode!r}: only 'rgb_array' exists.")
        self.render_mode = render_mode
        self.env = make(name, reward)
        self.metadata = {**self.metadata, "render_fps": round(1.0 / self.env.control_s)}
        self.observation_space, self.action_space = spaces(self.env)
        self._reset, self._step = jax.jit(self.env.reset), jax.jit(self.env.step)
        self._state: Any = None  # a State once reset
        self._renderer: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """A new episode; options={"qpos": ..., "qvel": ...} starts from a given state, exactly."""
        super().reset(seed=seed)
        key = jax.random.key(int(self.np_random.integers(2**31)))
        self._state = self._reset(key) if not options else self._place(key, dict(options))
        return np.asarray(self._state.observation), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One control step with an action in [-1, 1]."""
        if self._state is None:
            raise UserError("step() was called before reset().")
        self._state = state = self._step(self._state, jnp.asarray(action, jnp.float32))
        outcome = float(state.reward), bool(state.terminated), bool(state.truncated)
        return np.asarray(state.observation), *outcome, info_of(state)

    def render(self) -> np.ndarray | None:
        """The robot from its tracking camera, [480, 640, 3] uint8."""
        if self.render_mode is None or self._state is None:
            return None
        from robo_rl.rendering import Camera

        self._renderer = self._renderer or Camera(self.env)
        return self._renderer.picture(
            np.asarray(self._state.bits), np.asarray(self._state.signals.goal)
        )

    def close(self) -> None:
        """Frees the renderer."""
        if self._renderer:
            self._renderer.close()
            self._renderer = None

    def _place(self, key: jax.Array, options: dict[str, Any]) -> State:
        model = self.env.robot.model
        start = {"qpos": self.env.robot.qpos0, "qvel": np.zeros(model.nv)}
        for name, value in options.items():
            if name not in start:
                raise UserError(f"reset options: no option named {name!r}. Known: qpos, qvel.")
            given = np.asarray(value, np.float64)
            if given.shape != start[name].shape or not np.isfinite(given).all():
                raise UserError(
                    f"reset options: {name} must be {start[name].size} finite numbers, got shape"
                    f" {given.shape}."
                )
            start[name] = given
        bits, readout = self.env.engine.place(start["qpos"], start["qvel"])
        return self.env.begin(key, None, jnp.asarray(bits), readout)


class RobotVectorEnv(gymnasium.vector.VectorEnv):
    """Many robots in lockstep; a finished one restarts within the same step (SAME_STEP)."""

    metadata = {"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, name: str, num_envs: int = 1, reward: str = "task"):
        self.env, self.num_envs = make(name, reward), num_envs
        self.single_observation_space, self.single_action_space = spaces(self.env)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.render_mode = None
        self._reset, self._step = jax.jit(self.env.reset_batch), jax.jit(self.env.step_autoreset)
        self._state: Any = None  # a State once reset

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """New episodes for all robots."""
        super().reset(seed=seed)
        root = jax.random.key(int(self.np_random.integers(2**31)))
        self._state = self._reset(jax.random.split(root, self.num_envs))
        return np.asarray(self._state.observation), {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One control step of all robots; info["final_obs"] holds the terminal observations."""
        if self._state is None:
            raise UserError("step() was called before reset().")
        self._state, outcome = self._step(self._state, jnp.asarray(actions, jnp.float32))
        done = np.asarray(outcome.done)
        info = {name: np.asarray(value) for name, value in flat_info(outcome).items()}
        if done.any():
            info["final_obs"] = np.asarray(outcome.observation)
            info["_final_obs"] = done
        return (
            np.asarray(self._state.observation),
            np.asarray(outcome.reward, np.float64),
            np.asarray(outcome.terminated),
            np.asarray(outcome.truncated),
            info,
        )


def flat_info(state: State) -> dict[str, jax.Array]:
    """Reward terms and costs by name, and the sum of costs."""
    terms = {f"reward/{name}": value for name, value in state.terms.items()}
    costs = {f"cost/{name}": value for name, value in state.costs.items()}
    return {**terms, **costs, "cost": state.cost}


def info_of(state: State) -> dict[str, Any]:
    """flat_info as Python floats, and whether a number was not finite."""
    return {name: float(value) for name, value in flat_info(state).items()} | {
        "error": bool(state.error)
    }
