"""Stable-Baselines3: the batched environment as a VecEnv."""

import time
import warnings
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from robo_rl.envs.step import Environment
from robo_rl.errors import UserError, suggestion
from robo_rl.interop.gym import RENDER_MODES, checked_render_mode, spaces
from robo_rl.interop.registration import gymnasium_id
from robo_rl.interop.robots import Robots, Start, WrongValueError, checked_actions

SHARED = ("reset", "step")  # the environment's pure methods, which no single robot has
OWN = ("observation_space", "action_space", "metadata", "render_mode", "spec")


class RobotView:
    """Robot i as SB3 addresses it: get_attr, set_attr and env_method read, write and call it.

    It has what its pure environment has, `render` and `render_mode`, its spaces, and what set_attr
    gave it. All robots share the environment, so its own attributes cannot be set for one.
    """

    def __init__(self, robots: Robots, index: int, render_mode: str | None):
        self._robots, self._index = robots, index
        self.observation_space, self.action_space = spaces(robots.size)
        self.metadata = {
            "render_modes": RENDER_MODES,
            "render_fps": round(1.0 / robots.control_s),
        }
        self.render_mode = render_mode
        self.spec = gymnasium.registry.get(gymnasium_id(robots.env.name))
        self._fixed = True

    @property
    def unwrapped(self) -> "RobotView":
        """Itself: no robot is wrapped."""
        return self

    def render(self) -> np.ndarray | None:
        """The robot from its tracking camera, [480, 640, 3] uint8."""
        return None if self.render_mode is None else self._robots.picture(self._index)

    def has_wrapper_attr(self, name: str) -> bool:
        """Whether the robot has an attribute, as gymnasium.Env says it."""
        return hasattr(self, name)

    def get_wrapper_attr(self, name: str) -> Any:
        """An attribute of the robot, as gymnasium.Env gives it."""
        return getattr(self, name)

    def set_wrapper_attr(self, name: str, value: Any, *, force: bool = True) -> bool:
        """Whether the robot was given the attribute, as gymnasium.Env does it; see set_attr."""
        if force or hasattr(self, name):
            setattr(self, name, value)
            return True
        return False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # while it is unpickled there is nothing to ask yet
            raise AttributeError(name)
        env = self._robots.env
        if name in SHARED or not hasattr(env, name):
            known = [n for n in (*vars(self), *dir(env)) if n[0] != "_" and n not in SHARED]
            raise AttributeError(f"{env.name}: no attribute {name!r}.{suggestion(name, known)}")
        return getattr(env, name)

    def __setattr__(self, name: str, value: Any) -> None:
        fixed = name in OWN and "_fixed" in self.__dict__
        if fixed or hasattr(Environment, name) or name in Environment.__dataclass_fields__:
            raise UserError(
                f"set_attr({name!r}): the robots share it and one pure environment; build another"
                " environment with make()."
            )
        object.__setattr__(self, name, value)


class RobotVecEnv(VecEnv):
    """Many robots for SB3; infos carry terminal_observation, TimeLimit.truncated and costs.

    Robot i starts with seed + i. Actions beyond [-1, 1] are clipped, see interop.gym.RobotEnv.
    """

    def __init__(
        self, env: Environment, robots: int, seed: int = 0, render_mode: str | None = None
    ):
        self.env = env
        self._robots = Robots(env, robots, env.mdp.episode_steps)
        mode = checked_render_mode(env.name, render_mode)
        self._views = [RobotView(self._robots, i, mode) for i in range(robots)]
        super().__init__(robots, *spaces(self._robots.size))
        self.seed(seed)
        self._actions: np.ndarray | None = None
        self._began_s = time.time()

    def reset(self) -> np.ndarray:
        """New episodes for all robots, from what seed() and set_options() asked for."""
        options = self._options
        if len(options) != self.num_envs:
            raise WrongValueError(
                f"set_options: {len(options)} options for {self.num_envs} robots."
            )
        starts: list[Start] = [
            self._robots.starts(given)[i] if given else {} for i, given in enumerate(options)
        ]
        seen = self._robots.restart(np.ones(self.num_envs, bool), self._seeds, starts)
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = [{} for _ in range(self.num_envs)]
        self._actions = None
        return seen

    def step_async(self, actions: np.ndarray) -> None:
        """Keeps the actions for step_wait()."""
        if not self._robots.started:
            raise UserError(f"{self.env.name}: step() was called before reset().")
        shape = (self.num_envs, *(self.action_space.shape or ()))
        self._actions = checked_actions(self.env.name, actions, shape)

    def step_wait(self) -> VecEnvStepReturn:
        """One control step of all robots."""
        if self._actions is None:
            raise UserError(f"{self.env.name}: step_wait() was called before step_async().")
        out, self._actions = self._robots.step(self._actions), None
        done, seen = out.done, out.observation
        columns = {name: column.tolist() for name, column in out.info.items()}
        infos: list[dict[str, Any]] = [
            {name: column[i] for name, column in columns.items()}
            | {"TimeLimit.truncated": bool(out.truncated[i])}
            for i in range(self.num_envs)
        ]
        for i in np.flatnonzero(done):
            infos[i] |= {
                "terminal_observation": out.observation[i].copy(),
                "episode": {
                    "r": round(float(out.episode_return[i]), 6),
                    "l": int(out.length[i]),
                    "t": round(time.time() - self._began_s, 6),
                },
            }
        if done.any():
            seen = self._robots.restart(done, [None] * self.num_envs)
        return seen, out.reward.astype(np.float32), done, infos

    def close(self) -> None:
        """Frees the camera."""
        self._robots.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Every robot from its tracking camera; None without render_mode="rgb_array"."""
        if self.render_mode is None:
            warnings.warn("RobotVecEnv was built without render_mode='rgb_array'.", stacklevel=2)
        return [view.render() for view in self._views]

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of each robot asked for; AttributeError if it has none of this name."""
        return [getattr(view, attr_name) for view in self._chosen(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Give each robot asked for an attribute; UserError for what all of them share."""
        for view in self._chosen(indices):
            setattr(view, attr_name, value)

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: VecEnvIndices = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """What a method of each robot asked for returns."""
        chosen = self._chosen(indices)
        return [getattr(view, method_name)(*method_args, **method_kwargs) for view in chosen]

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper], indices: VecEnvIndices = None
    ) -> list[bool]:
        """False for each robot asked for: none is wrapped."""
        return [False for _ in self._chosen(indices)]

    def _chosen(self, indices: VecEnvIndices) -> list[RobotView]:
        return [self._views[i] for i in self._get_indices(indices)]


class ScaledReward(VecEnvWrapper):
    """Rewards times a factor, for the learner; infos keep the task's own, as under VecNormalize."""

    def __init__(self, venv: VecEnv, factor: float):
        super().__init__(venv)
        self.factor = factor

    def reset(self) -> Any:
        """See VecEnv."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """See VecEnv; rewards are scaled."""
        seen, reward, done, infos = self.venv.step_wait()
        return seen, self.factor * reward, done, infos
