"""Engine transfer: the same policy and episodes on another physics engine.

The cheapest honest proxy of a reality gap: a policy that lives on one engine's contacts fails on
another's.
"""

from typing import NamedTuple

import numpy as np

from robo_rl.engines.base import Array
from robo_rl.envs.step import Environment, make
from robo_rl.errors import UserError
from robo_rl.policy.stored import Policy
from robo_rl.rollouts.play import rollout
from robo_rl.rollouts.statistics import Interval, rate_bounds
from robo_rl.rollouts.success import Success, Twins
from robo_rl.verdicts import Grade

OTHER_ENGINES = ("bullet",)  # that run on CPU at a useful speed
EPISODES = 16  # the fewest of which all succeeding shows a rate of 80 % at 95 %, and two more
RETURN_GREEN = 0.9  # share of the return that a policy must keep on another engine


class Transfer(NamedTuple):
    """How a policy fares on another engine than the one it was trained on."""

    engine: str
    episodes: int
    successes: int
    success: Interval  # exact, one-sided 95 % bounds
    retention: float | None  # mean return there / mean return of the same episodes here
    verdict: Grade
    why: str


def transfer(
    policy: Policy,
    home: Environment,
    engine: str,
    keys: Array,
    here: float,
    criterion: Success | Twins,
    floor: float,
) -> Transfer:
    """Undisturbed episodes on another engine, one per key.

    here: their mean return at home; criterion: when each succeeds. GREEN: the
    success rate's lower bound is at least the floor and RETURN_GREEN of the return is kept; AMBER:
    the rate itself is at least the floor; else RED. UNKNOWN where the engine cannot run the robot.
    """
    n = len(keys)
    try:
        env = make(home.name, home.layer, episode_s=home.mdp.episode_s, engine=engine)
    except UserError as reason:
        return Transfer(engine, 0, 0, Interval(0.0, 0.0, 1.0), None, Grade.UNKNOWN, str(reason))
    track = rollout(env, policy, keys)
    successes = int(criterion.of(env, track).sum())
    low, high = rate_bounds(successes, n)
    kept = 1.0 + (float(np.mean(track.episode_return)) - here) / max(abs(here), 1e-9)
    verdict = transfer_verdict(low, successes / n, kept, floor)
    why = f"{successes} of {n} episodes succeed on {engine}, return kept {kept:.0%}"
    return Transfer(engine, n, successes, Interval(low, successes / n, high), kept, verdict, why)


def transfer_verdict(low: float, rate: float, kept: float, floor: float) -> Grade:
    """GREEN, AMBER or RED from the success rate, its lower bound and the return kept."""
    if low >= floor and kept >= RETURN_GREEN:
        return Grade.GREEN
    return Grade.AMBER if rate >= floor else Grade.RED
