"""Robots of one environment in lockstep: what the interfaces of Gymnasium and SB3 share."""

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from robo_rl.envs.step import EPISODE, Environment, State
from robo_rl.errors import UserError, suggestion

IMPL = "threefry2x32"  # named, so that JAX's configuration does not change what a seed means
WORD = 0xFFFFFFFF
START = ("qpos", "qvel")

Start = Mapping[str, np.ndarray]  # of one robot: any of START; empty for one that is drawn


class WrongValueError(UserError, ValueError):
    """A UserError that code written for Gymnasium or SB3 may catch as a ValueError."""


class WrongTypeError(UserError, TypeError):
    """A UserError that code written for Gymnasium or SB3 may catch as a TypeError."""


class Outcome(NamedTuple):
    """What one step did to every robot, as NumPy arrays of the caller's own."""

    observation: np.ndarray  # [robots, n]; of a finished episode its last
    reward: np.ndarray  # [robots] float64
    terminated: np.ndarray
    truncated: np.ndarray
    length: np.ndarray  # control steps since the episode's start
    episode_return: np.ndarray
    info: dict[str, np.ndarray]  # columns of flat_info

    @property
    def done(self) -> np.ndarray:
        """Whose episode is over, for whatever reason."""
        return self.terminated | self.truncated


class Robots:
    """A number of robots, their episodes, and the time limit these are held to (None: none).

    A robot's episodes follow from its seed alone, however many robots there are: seed s starts as
    env.reset(jax.random.key(s)), and every episode after it is drawn from the one before.
    """

    def __init__(self, env: Environment, count: int, limit: int | None = None):
        self.env, self.count, self.limit = env, count, limit
        self.size = sizes(env)
        self._state: Any = None  # a State once started
        self._camera: Any = None

    @property
    def started(self) -> bool:
        """Whether the robots have been reset once."""
        return self._state is not None

    @property
    def control_s(self) -> float:
        """Control period, s."""
        return self.env.control_s

    def starts(self, options: Mapping[str, Any]) -> list[Start]:
        """The start of every robot from reset options: qpos, qvel of one robot or one row each.

        Raises WrongValueError for an unknown option, another shape or a number that is not finite.
        """
        model = self.env.robot.model
        width = dict(zip(START, (model.nq, model.nv), strict=True))
        found: dict[str, np.ndarray] = {}
        for name, value in options.items():
            if name not in width:
                raise WrongValueError(
                    f"reset options: no option named {name!r}.{suggestion(name, START)}"
                )
            found[name] = _rows(name, value, self.count, width[name])
        return [{name: rows[i] for name, rows in found.items()} for i in range(self.count)]

    def restart(
        self,
        mask: np.ndarray,
        seeds: Sequence[int | None],
        starts: Sequence[Start] | None = None,
    ) -> np.ndarray:
        """Begin new episodes for the robots in the mask; returns all observations [robots, n].

        seeds: None goes on from the robot's last episode, which there must be. starts: where a
        robot is put; empty, or None for all, draws the start from the MDP.
        """
        compiled, limits = _compiled(self.env), self._state.limits if self.started else None
        keys = jax.random.wrap_key_data(jnp.asarray(self._words(seeds)), impl=IMPL)
        fresh = compiled.reset(keys, mask, limits)
        put = np.array([bool(start) for start in starts or ()])
        if starts and put.any():
            fresh = compiled.choose(put, self._placed(keys, put, starts, limits), fresh)
        self._state = fresh if mask.all() else compiled.choose(mask, fresh, self._state)
        return np.array(self._state.observation)

    def step(self, actions: Any, active: np.ndarray | None = None) -> Outcome:
        """One control step of the active robots (None: all) with actions [robots, m]."""
        if not self.started:
            raise UserError(f"{self.env.name}: step() was called before reset().")
        given = checked_actions(self.env.name, actions, (self.count, self.size[1]))
        active = np.ones(self.count, bool) if active is None else active
        self._state, numbers, flags = _compiled(self.env).step(self._state, given, active)
        return self._outcome(np.array(numbers), np.array(flags))

    def picture(self, index: int) -> np.ndarray:
        """A robot from its tracking camera, [480, 640, 3] uint8."""
        if not self.started:
            raise UserError(f"{self.env.name}: render() was called before reset().")
        from robo_rl.report.rendering import Camera

        self._camera = self._camera or Camera(self.env)
        return self._camera.picture(self._state, index)

    def close(self) -> None:
        """Frees the camera."""
        if self._camera:
            self._camera.close()
            self._camera = None

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        """Pickles and copies as plain arrays and the arguments of make()."""
        state = self._state
        if self.started:
            raw = state._replace(key=jax.random.key_data(state.key))
            state = jax.tree.map(np.asarray, raw)
        return _revived, (*self.env.__reduce__(), self.count, self.limit, state)

    def _outcome(self, numbers: np.ndarray, flags: np.ndarray) -> Outcome:
        seen, rest = np.split(numbers, [self.size[0]], axis=1)
        reward, total, *columns = rest.T.copy()
        terminated, error, length = flags.T.copy()
        info = dict(zip(info_names(self.env), columns, strict=True))
        late = length >= (np.inf if self.limit is None else self.limit)
        terminated = terminated.astype(bool)
        return Outcome(
            observation=seen.copy(),
            reward=reward.astype(np.float64),
            terminated=terminated,
            truncated=late & ~terminated,
            length=length,
            episode_return=total,
            info={**info, "error": error.astype(bool)},
        )

    def _words(self, seeds: Sequence[int | None]) -> np.ndarray:
        """Key data [robots, 2] of the episodes to come."""
        seeds = [None if seed is None else checked_seed(seed) for seed in seeds]
        if None not in seeds:
            words = np.zeros((self.count, 2), np.uint32)
        else:
            words = np.array(jax.random.key_data(_compiled(self.env).following(self._state.key)))
        for i, seed in enumerate(seeds):
            if seed is not None:
                words[i] = seed >> 32 & WORD, seed & WORD
        return words

    def _placed(
        self, keys: jax.Array, put: np.ndarray, starts: Sequence[Start], limits: Any
    ) -> State:
        """Begin every robot that is put somewhere there, exactly; of the others no use is made."""
        somewhere = next(start for start in starts if start)
        rest = {"qpos": self.env.robot.qpos0, "qvel": np.zeros(self.env.robot.model.nv)}
        places = [rest | dict(start or somewhere) for start in starts]
        begun = [self.env.engine.place(place["qpos"], place["qvel"]) for place in places]
        physics_state, readouts = zip(*begun, strict=True)
        readout = jax.tree.map(lambda *parts: jnp.stack(parts), *readouts)
        return _compiled(self.env).begin(keys, jnp.stack(physics_state), readout, limits)


def _revived(
    make: Callable[..., Environment],
    recipe: tuple[Any, ...],
    count: int,
    limit: int | None,
    state: Any,
) -> Robots:
    robots = Robots(make(*recipe), count, limit)
    if state is not None:
        state = jax.tree.map(jnp.asarray, state)
        key = jax.random.wrap_key_data(state.key, impl=IMPL)
        robots._state = state._replace(key=key)
    return robots


class _Compiled(NamedTuple):
    """The batched functions of one environment; compiled once for all who drive it."""

    reset: Callable[..., State]
    begin: Callable[..., State]
    step: Callable[..., tuple[State, jax.Array, jax.Array]]
    choose: Callable[..., State]
    following: Callable[..., jax.Array]


@functools.lru_cache(maxsize=32)
def _compiled(env: Environment) -> _Compiled:
    def reset(keys: jax.Array, active: jax.Array, limits: Any) -> State:
        return jax.vmap(lambda *row: env.reset(row[0], None, row[1], row[2]))(keys, active, limits)

    def begin(keys: jax.Array, physics_state: jax.Array, readout: Any, limits: Any) -> State:
        def one(key: jax.Array, physics_state: jax.Array, readout: Any, limits: Any) -> State:
            injection = None
            if env.draw is not None:
                limits = env.draw.initial_limits if limits is None else limits
                injection = env.draw(key, limits)
            return env.begin(key, injection, physics_state, readout)._replace(limits=limits)

        return jax.vmap(one)(keys, physics_state, readout, limits)

    def step(state: State, actions: jax.Array, active: jax.Array) -> tuple[State, Any, Any]:
        after = _choose(active, jax.vmap(env.step)(state, actions, active), state)
        # two arrays cross to the host, not one for every entry of info
        columns = [flat_info(after)[name] for name in info_names(env)]
        scalars = jnp.stack([after.reward, after.episode_return, *columns], axis=1)
        flags = jnp.stack([after.terminated, after.error, after.step], axis=1)
        return after, jnp.concatenate([after.observation, scalars], axis=1), flags

    return _Compiled(
        jax.jit(reset), jax.jit(begin), jax.jit(step), jax.jit(_choose), jax.jit(_following)
    )


def _choose(mask: jax.Array, chosen: State, otherwise: State) -> State:
    def rows(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(rows, chosen, otherwise)


def _following(keys: jax.Array) -> jax.Array:
    return jax.vmap(lambda key: jax.random.fold_in(key, EPISODE))(keys)


@functools.lru_cache(maxsize=32)
def sizes(env: Environment) -> tuple[int, int]:
    """Number of observations and of actions."""
    return env.observation_size, env.action_size


@functools.lru_cache(maxsize=32)
def info_names(env: Environment) -> tuple[str, ...]:
    """The entries of flat_info but `error`, in order."""
    terms = [f"reward/{weighted.name}" for weighted in env.weighted]
    return (*terms, *(f"cost/{cost.name}" for cost in env.rewards.costs), "cost")


def flat_info(state: State) -> dict[str, jax.Array]:
    """Weighted reward terms and costs by name, the sum of costs, and whether a robot diverged.

    `error`: physics or policy produced a number that is not finite; such an episode terminates.
    """
    terms = {f"reward/{name}": value for name, value in state.terms.items()}
    costs = {f"cost/{name}": value for name, value in state.costs.items()}
    return {**terms, **costs, "cost": state.cost, "error": state.error}


def checked_actions(where: str, actions: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The actions in float32, never broadcast. Raises WrongValueError for any other shape."""
    try:
        given = np.asarray(actions, np.float32)
    except (TypeError, ValueError) as error:
        raise WrongValueError(
            f"{where}: an action must be numbers of shape {shape}: {error}."
        ) from error
    if given.shape != shape:
        raise WrongValueError(f"{where}: an action of shape {shape} is needed, got {given.shape}.")
    return given


def checked_seed(seed: Any) -> int:
    """A seed as a Python int. Raises WrongValueError for what is no integer >= 0."""
    try:
        value = operator.index(seed)
    except TypeError as error:
        raise WrongValueError(f"reset: a seed must be an integer, got {seed!r}.") from error
    if value < 0:
        raise WrongValueError(f"reset: a seed must be 0 or more, got {value}.")
    return value


def _rows(name: str, value: Any, count: int, width: int) -> np.ndarray:
    try:
        given = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise WrongValueError(f"reset options: {name} must be numbers ({error}).") from error
    if given.shape not in ((width,), (count, width)) or not np.isfinite(given).all():
        each = f", or {count} rows of them" if count > 1 else ""
        raise WrongValueError(
            f"reset options: {name} must be {width} finite numbers{each}, got shape {given.shape}."
        )
    return np.broadcast_to(given, (count, width))
