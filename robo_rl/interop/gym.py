"""Gymnasium: gymnasium.make("robo_rl/hopper-v1", reward="safety") and gymnasium.make_vec."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from robo_rl.envs import mdp
from robo_rl.envs.step import Environment, make
from robo_rl.errors import UserError
from robo_rl.interop.apart import build
from robo_rl.interop.registration import jax_hangs
from robo_rl.interop.robots import Robots, Start, WrongTypeError, WrongValueError, checked_actions
from robo_rl.registry import load_own

SEEDS = 2**31
RENDER_MODES = ["rgb_array"]


def spaces(size: tuple[int, int]) -> tuple[Box, Box]:
    """Observation and action space of one robot from its number of observations and actions."""
    seen = Box(-np.inf, np.inf, (size[0],), np.float32)
    return seen, Box(-1.0, 1.0, (size[1],), np.float32)


def time_limit(name: str) -> int | None:
    """Control steps until an environment's own time limit; None where there is no such environment.

    Asked by registration, which must not import JAX.
    """
    load_own()
    return mdp.get(name).episode_steps if name in mdp.ENTRIES else None


def robots_of(name: str, reward: str, count: int, limit: int | None) -> Robots:
    """Robots of the environment registered under `name`."""
    return Robots(make(name, reward), count, limit)


def checked_render_mode(where: str, render_mode: str | None) -> str | None:
    """The render mode. Raises WrongValueError for another than None and "rgb_array"."""
    if render_mode not in (None, *RENDER_MODES):
        raise WrongValueError(f"{where}: render_mode {render_mode!r}: only 'rgb_array' exists.")
    return render_mode


class RobotEnv(gymnasium.Env):
    """One robot; info is flat: reward/<term> (weighted), cost/<name>, cost, error, all 0-d arrays.

    The time limit is gymnasium.make's TimeLimit: the MDP's own, or the max_episode_steps given to
    make(), shorter or longer. Actions are those of the MDP, [-1, 1]: one beyond is clipped before
    anything else sees it, so effort is paid for the clipped action (Gymnasium's own robots pay for
    the one that was asked for). reset(seed=s) starts where make(name).reset(jax.random.key(s))
    does, and a reset without a seed draws the episode that follows from the last.
    """

    metadata = {"render_modes": RENDER_MODES, "render_fps": 50}  # noqa: RUF012

    def __init__(self, name: str, reward: str = "task", render_mode: str | None = None):
        self.render_mode = checked_render_mode(name, render_mode)
        self.name, self.reward = name, reward
        self._robots: Robots = build(robots_of, name, reward, 1, None)
        self.metadata = {**self.metadata, "render_fps": round(1.0 / self._robots.control_s)}
        self.observation_space, self.action_space = spaces(self._robots.size)

    @property
    def env(self) -> Environment:
        """The pure environment behind it."""
        return make(self.name, self.reward)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """A new episode; options={"qpos": ..., "qvel": ...} starts from a given state, exactly."""
        super().reset(seed=seed)
        starts = self._robots.starts(options or {})
        if seed is None and not self._robots.started:
            seed = int(self.np_random.integers(SEEDS))
        return self._robots.restart(np.ones(1, bool), [seed], starts)[0], {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One control step with an action in [-1, 1]."""
        given = checked_actions(self.name, action, self.action_space.shape or ())
        out = self._robots.step(given[None])
        info = {name: column[0, ...] for name, column in out.info.items()}
        return out.observation[0], float(out.reward[0]), bool(out.terminated[0]), False, info

    def render(self) -> np.ndarray | None:
        """The robot from its tracking camera, [480, 640, 3] uint8."""
        return None if self.render_mode is None else self._robots.picture(0)

    def close(self) -> None:
        """Frees the camera."""
        self._robots.close()


class RobotVectorEnv(gymnasium.vector.VectorEnv):
    """Many robots in lockstep, with the autoreset modes, options and infos of SyncVectorEnv.

    Robot i of reset(seed=s) lives through the episodes of the single environment of seed s + i.
    autoreset_mode: NEXT_STEP as in Gymnasium, SAME_STEP or DISABLED. max_episode_steps: another
    time limit than the MDP's own; -1 for none. Actions beyond [-1, 1] are clipped, see RobotEnv.
    """

    metadata = {  # noqa: RUF012
        "render_modes": RENDER_MODES,
        "render_fps": 50,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        name: str,
        num_envs: int = 1,
        reward: str = "task",
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ):
        if jax_hangs():
            raise UserError(
                f"{name}: this process was forked from one that uses JAX, where JAX hangs. Start it"
                " with the multiprocessing method 'spawn' or 'forkserver'."
            )
        self.render_mode = checked_render_mode(name, render_mode)
        env, self.num_envs = make(name, reward), num_envs
        self.env, self.mode = env, _mode(autoreset_mode)
        limit = env.mdp.episode_steps if max_episode_steps is None else max_episode_steps
        self._robots = Robots(env, num_envs, None if limit == -1 else _positive(limit))
        self.metadata = {
            **self.metadata,
            "render_fps": round(1.0 / env.control_s),
            "autoreset_mode": self.mode,
        }
        self.single_observation_space, self.single_action_space = spaces(self._robots.size)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._over = np.zeros(num_envs, bool)  # whose episode ended and was not begun anew

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """New episodes for all robots, or for those of options["reset_mask"].

        seed: s for s, s + 1, ... or a list of one for each. options: qpos, qvel of one robot for
        all or one row each; reset_mask [num_envs] bool.
        """
        given = dict(options or {})
        mask = self._mask(given.pop("reset_mask", None))
        starts: list[Start] = self._robots.starts(given)
        seeds = self._seeds(seed)
        seen = self._robots.restart(mask, seeds, starts)
        self._over &= ~mask
        return seen, {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One control step of all robots; the autoreset mode says what a finished one does."""
        again = self._over
        if self.mode is AutoresetMode.DISABLED and again.any():
            raise WrongValueError(
                f"{self.env.name}: the episodes of {np.flatnonzero(again).tolist()} are over and"
                " autoreset is disabled: reset(options={'reset_mask': ...}) begins new ones."
            )
        out = self._robots.step(actions, ~again)
        terminated, truncated = out.terminated & ~again, out.truncated & ~again
        done, seen, info = terminated | truncated, out.observation, _masked(out.info, ~again)
        if self.mode is AutoresetMode.SAME_STEP and done.any():
            info = _masked(out.info, ~done) | _final(out.observation, out.info, done)
            again = done
        if again.any():
            seen = self._robots.restart(again, [None] * self.num_envs)
        self._over = done & ~again
        reward = np.where(done | ~again, out.reward, 0.0)
        return seen, reward, terminated, truncated, info

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Every robot from its tracking camera, [480, 640, 3] uint8 each."""
        if self.render_mode is None:
            return None
        return tuple(self._robots.picture(i) for i in range(self.num_envs))

    def close_extras(self, **kwargs: Any) -> None:
        """Frees the camera."""
        self._robots.close()

    def _mask(self, given: Any) -> np.ndarray:
        if given is None:
            return np.ones(self.num_envs, bool)
        if not isinstance(given, np.ndarray) or given.dtype != np.bool_:
            raise WrongTypeError(
                f"reset options: reset_mask must be an array of bool, got {given!r}."
            )
        if given.shape != (self.num_envs,) or not given.any():
            raise WrongValueError(
                f"reset options: reset_mask needs shape ({self.num_envs},) and a True, got {given}."
            )
        if not given.all() and not self._robots.started:
            raise WrongValueError(
                "reset options: the first reset is of all robots, without reset_mask."
            )
        return given.copy()

    def _seeds(self, seed: Any) -> list[int | None]:
        if seed is None or isinstance(seed, int | np.integer):
            super().reset(seed=None if seed is None else int(seed))
            seeds = [None if seed is None else int(seed) + i for i in range(self.num_envs)]
        else:
            seeds = list(seed)
        if len(seeds) != self.num_envs:
            raise WrongValueError(f"reset: {len(seeds)} seeds for {self.num_envs} robots.")
        if self._robots.started:
            return seeds
        return [int(self.np_random.integers(SEEDS)) if s is None else s for s in seeds]


def _mode(given: AutoresetMode | str) -> AutoresetMode:
    try:
        return AutoresetMode(given)
    except ValueError as error:
        known = ", ".join(mode.value for mode in AutoresetMode)
        raise WrongValueError(f"autoreset_mode: no mode {given!r}. Known: {known}.") from error


def _positive(limit: int) -> int:
    if limit < 1:
        raise WrongValueError(f"max_episode_steps must be 1 or more, or -1 for none, got {limit}.")
    return limit


def _masked(columns: Mapping[str, np.ndarray], mask: np.ndarray) -> dict[str, Any]:
    """The columns where the mask holds, zero elsewhere, each with its mask, as Gymnasium has it."""
    if not mask.any():
        return {}
    found: dict[str, Any] = {}
    for name, column in columns.items():
        found |= {name: np.where(mask, column, np.zeros_like(column)), f"_{name}": mask.copy()}
    return found


def _final(seen: np.ndarray, columns: Mapping[str, np.ndarray], done: np.ndarray) -> dict[str, Any]:
    """The last observation and info of the episodes that ended in this step."""
    last = np.full(len(done), None, object)
    for i in np.flatnonzero(done):
        last[i] = seen[i]
    return {
        "final_obs": last,
        "_final_obs": done.copy(),
        "final_info": _masked(columns, done),
        "_final_info": done.copy(),
    }
