"""Domain randomisation: every training episode is drawn from the trained ranges of a profile."""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from robo_rl.engines.base import Array
from robo_rl.envs import mdp
from robo_rl.envs.step import Environment, make
from robo_rl.errors import UserError
from robo_rl.injection.episode import Injection, longest_latency_s, neutral
from robo_rl.injection.injectors import INJECTORS, NotApplicableError, inject
from robo_rl.robots.robot import Robot
from robo_rl.sim2real.profiles import Profile, ProfileRow, load_profile

POOL = 2048  # different robots; an episode is one of them, chosen by its key
CHOICE = 101  # random stream of that choice, apart from those of the step
PUSHED_WITHIN = (0.1, 0.9)  # share of the episode in which something timed happens


@dataclass(frozen=True, eq=False)
class PoolRandomizer:
    """Injections drawn beforehand; the key of an episode picks one."""

    drawn: Injection  # [POOL, ...]
    applied: tuple[str, ...]  # rows of the profile that are in it
    left_out: tuple[str, ...]  # rows that have no trained range, or nothing to act on here

    initial_limits = None  # no curriculum: all of it from the start

    def __call__(self, key: Array, limits: Array | None = None) -> Injection:
        """The injection of the episode with this key."""
        chosen = jax.random.randint(jax.random.fold_in(key, CHOICE), (), 0, POOL)
        return jax.tree.map(lambda x: jax.numpy.asarray(x)[chosen], self.drawn)


@functools.lru_cache(maxsize=8)
def randomised(
    name: str, reward: str, profile_name: str, seed: int, engine: str = "mujoco"
) -> Environment:
    """The environment whose every episode has a plant, sensors, latency and pushes of its own.

    Each magnitude is uniform in the profile's trained range. Raises UserError where no row of the
    profile can be trained with on this robot.
    """
    declared, profile = mdp.get(name), load_profile(profile_name)
    pool = draw_pool(declared.load_robot(), profile, declared.episode_s, seed)
    longest = max(longest_latency_s(pool.drawn))
    return make(name, reward, history_s=longest, draw=pool, engine=engine)


def draw_pool(robot: Robot, profile: Profile, episode_s: float, seed: int) -> PoolRandomizer:
    """POOL injections of a profile's trained ranges."""
    applied, left_out = trained_rows(robot, profile)
    rng = np.random.default_rng(seed)
    drawn = [_draw(robot, applied, episode_s, rng) for _ in range(POOL)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *drawn)
    return PoolRandomizer(stacked, tuple(applied), left_out)


def trained_rows(robot: Robot, profile: Profile) -> tuple[dict[str, ProfileRow], tuple[str, ...]]:
    """The rows that can be trained with on a robot, and the names of the others."""
    applied = {
        key: row for key, row in profile.rows.items() if row.trained and _acts_on(robot, row)
    }
    if not applied:
        raise UserError(
            f"randomize={profile.name}: no row has a trained range that applies to {robot.name}."
        )
    return applied, tuple(key for key in profile.rows if key not in applied)


def _draw(
    robot: Robot, rows: dict[str, ProfileRow], episode_s: float, rng: np.random.Generator
) -> Injection:
    injection = neutral(robot.model, len(robot.channels))
    for key, row in rows.items():
        assert row.trained
        magnitude = rng.uniform(*row.trained)
        injection = draw_row(injection, robot, key, row, magnitude, episode_s, rng)
    return injection


def draw_row(
    injection: Injection,
    robot: Robot,
    key: str,
    row: ProfileRow,
    magnitude: float,
    episode_s: float,
    rng: np.random.Generator,
) -> Injection:
    """One departure more, at a moment of its own where it is timed."""
    options: dict[str, Any] = dict(row.options)
    if "at_s" in INJECTORS[row.injector].options:
        options.setdefault("at_s", episode_s * rng.uniform(*PUSHED_WITHIN))
    return inject(injection, robot, row.injector, magnitude, rng, key, **options)


def _acts_on(robot: Robot, row: ProfileRow) -> bool:
    start, rng = neutral(robot.model, len(robot.channels)), np.random.default_rng(0)
    try:
        inject(start, robot, row.injector, row.sweep_to, rng, robot.name, **row.options)
    except NotApplicableError:
        return False
    return True
