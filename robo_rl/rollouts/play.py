"""One batched rollout for comparison, safety and gap studies.

N episodes in lockstep, signals recorded.
"""

import functools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from robo_rl.content import LARGEST_SEED
from robo_rl.engines.base import Array
from robo_rl.envs.step import Environment, State
from robo_rl.errors import UserError
from robo_rl.injection.episode import Injection
from robo_rl.policy.networks import Memory, Program, begin
from robo_rl.policy.stored import Policy
from robo_rl.robots.robot import Robot
from robo_rl.robots.signals import tilt_rad, velocity_in_base

CHUNK = (
    50  # control steps under one jitted scan; the rollout stops between chunks when all are done
)
BLOCK = 128  # rows of one program for judged episodes


class Controller(Protocol):
    """A policy as a rollout needs it."""

    @property
    def program(self) -> Program:
        """What is done; hashable."""
        ...

    @property
    def parameters(self) -> Any:
        """With which numbers."""
        ...


class Trajectories(NamedTuple):
    """What N episodes did, [T, N, ...]; a row counts only where `alive`."""

    alive: np.ndarray  # bool, the episode made this step
    reward: np.ndarray
    terms: dict[str, np.ndarray]
    costs: dict[str, np.ndarray]
    terminated: np.ndarray  # bool, on the step it happened
    truncated: np.ndarray
    error: np.ndarray
    action: np.ndarray  # [T, N, nu]
    base_position_w_m: np.ndarray  # [T, N, 3]
    base_velocity_w_mps: np.ndarray  # [T, N, 3]
    tilt_rad: np.ndarray
    goal_error: np.ndarray  # distance from what the task asked for, in the goal's unit
    velocity_error: np.ndarray  # [T, N, 3] forward, sideways m/s, yaw rad/s; [.., 0] not asked for
    positive_power_w: np.ndarray  # sum over actuators
    absolute_power_w: np.ndarray
    finish: State  # the state after each episode's last step, [N]

    def only(self, rows: slice | np.ndarray) -> "Trajectories":
        """The same record of some episodes."""
        cut = jax.tree.map(lambda x: x[:, rows], self._replace(finish=None))  # type: ignore[arg-type]
        return cut._replace(finish=jax.tree.map(lambda x: x[rows], self.finish))

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return self.alive.shape[1]

    @property
    def episode_return(self) -> np.ndarray:
        """Sum of rewards of each episode, [N]; NaN where it ended in an error."""
        total = np.where(self.alive, self.reward, 0.0).sum(axis=0)
        return np.where(self.crashed, np.nan, total)

    @property
    def length(self) -> np.ndarray:
        """Control steps of each episode, [N]."""
        return self.alive.sum(axis=0)

    @property
    def fell(self) -> np.ndarray:
        """The episode was terminated by the MDP, [N]; errors are not falls."""
        return (self.terminated & self.alive).any(axis=0) & ~self.crashed

    @property
    def crashed(self) -> np.ndarray:
        """Physics or policy produced a number that is not finite, [N]."""
        return np.asarray((self.error & self.alive).any(axis=0))


def episode_keys(seed: int, episodes: int) -> Array:
    """The key of each episode: episode i of a seed is the same whatever else is run beside it.

    Raises UserError for a seed beyond 0 to LARGEST_SEED.
    """
    if not 0 <= seed <= LARGEST_SEED:
        raise UserError(f"seed={seed}: a whole number from 0 to {LARGEST_SEED} was expected.")
    root = jax.random.key(seed)
    return jax.vmap(lambda i: jax.random.fold_in(root, i))(jnp.arange(episodes))


def rollout(
    env: Environment,
    policy: Controller,
    keys: Array,
    injection: Injection | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Trajectories:
    """Runs the deterministic policy for one episode per key.

    injection: one per key (leading axis), or None for the environment's own draw. on_progress is
    told the control steps done and the most there can be.
    """
    start = reset_all(env, keys, injection)
    return run_from(env, policy, start, on_progress)


def reset_all(env: Environment, keys: Array, injection: Injection | None) -> State:
    """The first state of one episode per key."""
    if injection is None:
        return _jitted(env).reset(keys)
    return _jitted(env).reset(keys, jax.tree.map(jnp.asarray, env.check(injection)))


def run_from(
    env: Environment,
    policy: Controller,
    start: State,
    on_progress: Callable[[int, int], None] | None = None,
) -> Trajectories:
    """As rollout(), from states that are already set."""
    chunk, program = _jitted(env).chunk, policy.program
    parameters = jax.tree.map(jnp.asarray, policy.parameters)
    memory = begin(jnp, program, start.done.shape)

    def advance(state: State) -> tuple[State, dict[str, Any]]:
        nonlocal memory
        (state, memory), rows = chunk((state, memory), parameters, program)
        return state, rows

    return _collect(env, start, advance, on_progress)


class Recorded(NamedTuple):
    """Episodes as they were judged: how each began, what it did, where in its block it ran."""

    start: State  # [N]
    track: Trajectories  # [N]
    place: np.ndarray  # [N] row within a block of BLOCK, see run_in_blocks

    def only(self, rows: slice | np.ndarray) -> "Recorded":
        """Some of the episodes."""
        return Recorded(
            jax.tree.map(lambda x: x[rows], self.start), self.track.only(rows), self.place[rows]
        )


def run_in_blocks(
    env: Environment,
    policy: Policy,
    keys: Array,
    injection: Injection,
    on_progress: Callable[[int, int], None] | None = None,
) -> Recorded:
    """As rollout(), in blocks of BLOCK rows: one program whatever the number of episodes.

    The same program at the same row gives the same bits, so an episode can be replayed alone.
    """
    count = len(keys)
    blocks = [slice(at, min(at + BLOCK, count)) for at in range(0, count, BLOCK)]
    most, starts, tracks = env.mdp.episode_steps, [], []
    for index, rows in enumerate(blocks):
        filled = _filled_up(np.arange(rows.start, rows.stop))
        part = jax.tree.map(lambda leaf, filled=filled: np.asarray(leaf)[filled], injection)
        start = _only_first(reset_all(env, keys[filled], part), rows.stop - rows.start)

        def show(done: int, _: int, index: int = index) -> None:
            if on_progress:
                on_progress(index * most + done, len(blocks) * most)

        track = run_from(env, policy, start, show)
        used = slice(0, rows.stop - rows.start)
        starts.append(jax.tree.map(lambda leaf, used=used: leaf[used], start))
        tracks.append(track.only(used))
    return Recorded(
        jax.tree.map(lambda *parts: jnp.concatenate(parts), *starts),
        join(tracks),
        np.arange(count) % BLOCK,
    )


def replay_in_block(
    env: Environment, start: State, actions: np.ndarray, places: np.ndarray
) -> Trajectories:
    """Runs recorded actions [T, N, nu] open loop from states [N], each at its row of a block.

    places: [N], different rows. An episode whose actions end goes on with zero; cut it there.
    """
    if len(set(places.tolist())) < len(places):
        raise ValueError("two episodes of one row")
    source = np.zeros(BLOCK, int)
    source[places] = np.arange(len(places))
    block = jax.tree.map(lambda leaf: leaf[source], start)
    idle = ~np.isin(np.arange(BLOCK), places)
    block = block._replace(truncated=block.truncated | idle)
    padded = np.zeros((len(actions), BLOCK, actions.shape[-1]), np.float32)
    padded[:, places] = actions
    pieces = _pieces(padded)
    track = _collect(
        env, block, lambda s: _jitted(env).open_loop(s, next(pieces)), None, len(actions)
    )
    return track.only(places)


def open_loop_in_block(env: Environment, start: State, actions: np.ndarray) -> Iterator[State]:
    """Runs actions [T, BLOCK, nu] from states [BLOCK]; the states every CHUNK control steps."""
    state = start
    for piece in _pieces(actions):
        state, _ = _jitted(env).open_loop(state, piece)
        yield state


def _pieces(actions: np.ndarray) -> Iterator[np.ndarray]:
    """Actions [T, N, nu] in chunks, the last one filled up with zero."""
    missing = -len(actions) % CHUNK
    padded = np.pad(actions, [(0, missing), (0, 0), (0, 0)])
    return iter(padded.reshape(-1, CHUNK, *actions.shape[1:]))


def append(first: Recorded, more: Recorded) -> Recorded:
    """The episodes of both."""
    start = jax.tree.map(lambda *parts: jnp.concatenate(parts), first.start, more.start)
    track = join([first.track, more.track])
    return Recorded(start, track, np.concatenate([first.place, more.place]))


def join(tracks: list[Trajectories]) -> Trajectories:
    """Tracks of different episodes side by side; what ended earlier is padded with nothing."""
    most = max(len(t.alive) for t in tracks)

    def pad(x: np.ndarray) -> np.ndarray:
        return np.pad(x, [(0, most - len(x)), *[(0, 0)] * (x.ndim - 1)])

    recorded = [t._replace(finish=None) for t in tracks]  # type: ignore[arg-type]
    joined = jax.tree.map(lambda *parts: np.concatenate([pad(p) for p in parts], 1), *recorded)
    finish = jax.tree.map(lambda *parts: jnp.concatenate(parts), *(t.finish for t in tracks))
    return joined._replace(finish=finish)


def _filled_up(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows, np.full(BLOCK - len(rows), rows[0])])


def _only_first(start: State, count: int) -> State:
    """The block with all but its first rows over before they begin: they cost no physics."""
    idle = jnp.arange(len(start.truncated)) >= count
    return start._replace(truncated=start.truncated | idle)


class _Jitted(NamedTuple):
    reset: Callable[..., State]
    chunk: Callable[..., Any]
    open_loop: Callable[..., Any]


@functools.lru_cache(maxsize=16)
def _jitted(env: Environment) -> _Jitted:
    def one(state: State, action: Array) -> tuple[State, Any]:
        after = env.step_unless_done(state, action)
        row = _row(env.robot, state, after, action)
        row["goal_error"] = _judged_error(env, state, after)
        row["velocity_error"] = _velocity_error(state, after)
        return after, row

    def chunk(start: tuple[State, Memory], parameters: Any, program: Program) -> Any:
        def act(carry: tuple[State, Memory], _: None) -> tuple[tuple[State, Memory], Any]:
            state, memory = carry
            action, memory = program.act(jnp, parameters, memory, state.observation)
            after, row = one(state, action)
            return (after, memory), row

        return jax.lax.scan(act, start, None, length=CHUNK)

    return _Jitted(
        reset=jax.jit(env.reset_batch),
        chunk=jax.jit(chunk, static_argnums=2),
        open_loop=jax.jit(lambda state, actions: jax.lax.scan(one, state, actions)),
    )


def _judged_error(env: Environment, before: State, after: State) -> Array:
    """How far off the task each robot is judged to be in a step, [N]: the goal then in force."""
    goal = env.mdp.goal
    if goal is None or goal.judged is None:
        return after.signals.goal_error
    return jax.vmap(partial(goal.judged, env.robot))(after.signals, before.command)


def _velocity_error(before: State, after: State) -> Array:
    """Velocity of each base less the command in force in the step, [N, 3]; none asked for: [N, 0].

    Forward and sideways m/s, and yaw rate rad/s, in the base's frame.
    """
    asked, turn = before.command.velocity_b_mps, before.command.yaw_rate_radps
    if asked is None or turn is None:
        return jnp.zeros((len(after.done), 0))
    moving = jax.vmap(velocity_in_base)(after.signals)[:, :2]
    turning = after.signals.qvel[:, 5]
    return jnp.concatenate([moving - asked, (turning - turn)[:, None]], axis=1)


def _row(robot: Robot, before: State, after: State, action: Array) -> dict[str, Any]:
    s = after.signals
    return {
        "alive": ~before.done,
        "reward": after.reward,
        "terms": after.terms,
        "costs": after.costs,
        "terminated": after.terminated,
        "truncated": after.truncated,
        "error": after.error,
        "action": action,
        "base_position_w_m": s.base_position_w_m,
        "base_velocity_w_mps": s.base_velocity_w_mps,
        "tilt_rad": jax.vmap(lambda one: tilt_rad(one, robot.upright_b))(s),
        "positive_power_w": jnp.sum(s.positive_power_w, axis=-1),
        "absolute_power_w": jnp.sum(2.0 * s.positive_power_w - s.power_w, axis=-1),
    }


def _collect(
    env: Environment,
    state: State,
    advance: Callable[[State], tuple[State, dict[str, Any]]],
    on_progress: Callable[[int, int], None] | None,
    limit: int | None = None,
) -> Trajectories:
    most = limit or env.mdp.episode_steps
    pieces: list[dict[str, Any]] = []
    for done in range(0, most, CHUNK):
        state, rows = advance(state)
        pieces.append(jax.tree.map(np.asarray, rows))
        over = bool(state.done.all())
        if on_progress:
            on_progress(most if over else min(done + CHUNK, most), most)
        if over:
            break
    joined = jax.tree.map(lambda *parts: np.concatenate(parts)[:most], *pieces)
    return Trajectories(**joined, finish=state)
