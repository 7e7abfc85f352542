"""A curriculum of randomisation: each row of a profile opens as far as the policy copes with it.

Automatic domain randomisation per parameter (OpenAI et al. 2019, arXiv:1910.07113): most episodes
test one row at its present limit while all others are drawn within theirs; a row whose test
episodes keep most of the undisturbed return is opened further, one that loses most of it is closed.
"""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from robo_rl.engines.base import Array
from robo_rl.envs import mdp
from robo_rl.envs.state import State
from robo_rl.envs.step import Environment, make
from robo_rl.injection.episode import Injection, longest_latency_s, neutral
from robo_rl.robots.robot import Robot
from robo_rl.sim2real.profiles import Profile, load_profile
from robo_rl.sim2real.randomise import draw_row, trained_rows
from robo_rl.training.learner import Learner

RUNGS = 256  # magnitudes of each row, from nothing to the end of its trained range
CHOSEN, RUNG = 102, 103  # random streams, apart from those of the step
STEP = 0.1  # share of the trained range by which a row is opened or closed
WIDEN, NARROW = 0.8, 0.5  # share of the undisturbed return that opens, or closes, a row
LEAST_EPISODES = 8  # before a row, or the undisturbed reference, is judged
TESTED = ("tested/episodes", "tested/return")  # log entries: by the row that they tested


@dataclass(frozen=True, eq=False)
class CurriculumRandomizer:
    """Departures of every row by magnitude; an episode's key and the limits pick one of each."""

    nominal: Injection
    departures: Injection  # [rows, RUNGS, ...] injection - nominal, the magnitude grows
    applied: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def initial_limits(self) -> Array:
        """Limits at the start of training: nothing is disturbed, [rows]."""
        return jnp.zeros(len(self.applied))

    def __call__(self, key: Array, limits: Array | None = None) -> Injection:
        """The injection of an episode; limits: the share of each row's range in use, [rows]."""
        rows = len(self.applied)
        reach = jnp.ones(rows) if limits is None else limits
        tested = row_under_test(key, rows)
        drawn = reach * jax.random.uniform(jax.random.fold_in(key, RUNG), (rows,))
        share = jnp.where(jnp.arange(rows) == tested, reach, drawn)
        share = jnp.where(tested == rows, 0.0, share)
        rung = jnp.round(share * (RUNGS - 1)).astype(jnp.int32)

        def together(base: Array, departures: Array) -> Array:
            chosen = jnp.asarray(departures)[jnp.arange(rows), rung]
            return jnp.asarray(base) + jnp.sum(chosen, axis=0).astype(jnp.asarray(base).dtype)

        return jax.tree.map(together, self.nominal, self.departures)


def row_under_test(key: Array, rows: int) -> Array:
    """The row that an episode tests at its limit; `rows` stands for an undisturbed episode."""
    return jax.random.randint(jax.random.fold_in(key, CHOSEN), (), 0, rows + 1)


def tested_by_row(outcome: State) -> dict[str, Array]:
    """Episodes that finished in this step, and the sum of their returns, [rows + 1] each.

    Nothing without a curriculum.
    """
    if outcome.limits is None:
        return {}
    rows = outcome.limits.shape[-1]
    tested = jax.vmap(lambda key: row_under_test(key, rows))(outcome.key)
    done = outcome.done.astype(jnp.float32)
    episodes = done[:, None] * jax.nn.one_hot(tested, rows + 1)
    returns = episodes * outcome.episode_return[:, None]
    return dict(zip(TESTED, (jnp.sum(episodes, axis=0), jnp.sum(returns, axis=0)), strict=True))


class Scores(NamedTuple):
    """How far each row is open, and how its test episodes went since that changed."""

    limits: Array  # [rows] share of the trained range
    count: Array  # [rows + 1] finished episodes; the last: undisturbed
    total: Array  # [rows + 1] sum of their returns


def begin(rows: int) -> Scores:
    """All rows closed, nothing counted."""
    return Scores(jnp.zeros(rows), jnp.zeros(rows + 1), jnp.zeros(rows + 1))


def judge(scores: Scores, count: Array, total: Array) -> Scores:
    """Adds episodes and opens or closes the rows that have had enough of them.

    Kept is 1 + (mean return - reference) / |reference|; a change starts the row's count anew, the
    reference forgets half.
    """
    count, total = scores.count + count, scores.total + total
    mean = total / jnp.maximum(count, 1.0)
    reference = mean[-1]
    kept = 1.0 + (mean[:-1] - reference) / jnp.maximum(jnp.abs(reference), 1e-6)
    ready = (count[:-1] >= LEAST_EPISODES) & (count[-1] >= LEAST_EPISODES)
    change = jnp.where(kept >= WIDEN, STEP, jnp.where(kept < NARROW, -STEP, 0.0))
    limits = jnp.clip(scores.limits + jnp.where(ready, change, 0.0), 0.0, 1.0)
    left = jnp.append(jnp.where(ready, 0.0, 1.0), jnp.where(jnp.any(ready), 0.5, 1.0))
    return Scores(limits, count * left, total * left)


class CurriculumState(NamedTuple):
    """A learner's own state and how far its randomisation is open."""

    learner: Any
    scores: Scores


def with_curriculum(learner: Learner, rows: tuple[str, ...]) -> Learner:
    """The learner with a curriculum over these rows; its limits are logged by name."""

    def init(key: Array) -> CurriculumState:
        return CurriculumState(learner.init(key), begin(len(rows)))

    def advance(
        state: CurriculumState, rollouts: int = learner.rollouts
    ) -> tuple[CurriculumState, dict[str, Array]]:
        robots = state.learner.robots
        limits = jnp.broadcast_to(state.scores.limits, robots.limits.shape)
        inner = state.learner._replace(robots=robots._replace(limits=limits))
        inner, log = learner.advance(inner, rollouts)
        scores = jax.jit(judge)(state.scores, *(log.pop(name) for name in TESTED))
        shown = {f"curriculum/{row}": scores.limits[k] for k, row in enumerate(rows)}
        return CurriculumState(inner, scores), log | shown

    return learner._replace(
        init=init, advance=advance, network=lambda state: learner.network(state.learner)
    )


@functools.lru_cache(maxsize=8)
def curriculum_environment(
    name: str, reward: str, profile_name: str, seed: int, engine: str = "mujoco"
) -> Environment:
    """The environment whose episodes depart from nominal as far as a curriculum has opened.

    Raises UserError where no row of the profile can be trained with on this robot.
    """
    declared = mdp.get(name)
    ladder = build(declared.load_robot(), load_profile(profile_name), declared.episode_s, seed)
    everything = jax.tree.map(
        lambda base, more: base + more.max(axis=1).sum(axis=0), ladder.nominal, ladder.departures
    )
    longest = max(longest_latency_s(everything))
    return make(name, reward, history_s=longest, draw=ladder, engine=engine)


def build(robot: Robot, profile: Profile, episode_s: float, seed: int) -> CurriculumRandomizer:
    """The ladder of a profile's trained ranges, from nothing to their upper ends."""
    applied, left_out = trained_rows(robot, profile)
    rng = np.random.default_rng(seed)
    base = neutral(robot.model, len(robot.channels))
    rows = []
    for key, row in applied.items():
        assert row.trained
        made = [
            draw_row(base, robot, key, row, magnitude, episode_s, rng)
            for magnitude in np.linspace(0.0, row.trained[1], RUNGS)
        ]
        rows.append(jax.tree.map(lambda *leaves: np.stack(leaves), *made))
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
    departures = jax.tree.map(lambda many, one: many - one, stacked, base)
    return CurriculumRandomizer(base, departures, tuple(applied), left_out)
