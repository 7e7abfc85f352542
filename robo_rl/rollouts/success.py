"""When an episode counts as a success: the goal's tolerance, or what the reward file says."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robo_rl.envs.step import Environment
from robo_rl.errors import UserError, suggestion
from robo_rl.rewards.layers import Done
from robo_rl.rollouts.metrics import METRICS, Episodes
from robo_rl.rollouts.play import Trajectories

RETURN_KEPT = 0.5  # share of the undisturbed return


class Success(NamedTuple):
    """What an episode must do besides surviving: a bound on a metric."""

    metric: str
    limit: float
    at_most: bool
    unit: str
    words: str  # after "it survives and ...": "its mean goal error is at most 0.2 m/s"

    def only(self, rows: NDArray[np.int64]) -> "Success":
        """What is asked of some episodes: the same of all."""
        return self

    def of(self, env: Environment, track: Trajectories) -> NDArray[np.bool_]:
        """Whether each episode succeeds; a fall or a number that is not finite never does."""
        values = METRICS[self.metric].of(Episodes.of(env, track))
        met = values <= self.limit if self.at_most else values >= self.limit
        return np.asarray(met & ~(track.fell | track.crashed), bool)


def task_of(env: Environment) -> Success | None:
    """When the task is done: the goal's tolerance, else what the reward file says under `done`.

    None where neither says it. Raises UserError for a metric that does not exist or has another
    unit.
    """
    if goal := env.mdp.goal:
        words = _words(goal.judged_by, "at most", goal.tolerance, goal.error_unit)
        return Success(goal.judged_by, goal.tolerance, True, goal.error_unit, words)
    done = env.rewards.done
    if done is None:
        return None
    if reason := why_not(done):
        raise UserError(f"rewards/{env.rewards.name}.yaml: done: {reason}")
    at_most = done.at_most is not None
    limit = float(done.at_most if done.at_most is not None else done.at_least or 0.0)
    words = _words(done.metric, "at most" if at_most else "at least", limit, done.unit)
    return Success(done.metric, limit, at_most, done.unit, words)


def why_not(done: Done) -> str:
    """Why no episode can be held against what a reward file says under `done`; "" where one can."""
    if done.metric not in METRICS:
        return f"no metric named {done.metric!r}.{suggestion(done.metric, METRICS)}"
    metric = METRICS[done.metric]
    if metric.takes_cost:
        return f"{done.metric} needs a cost, of which nothing is said here."
    if metric.unit != done.unit:
        return f"{done.metric} is in {metric.unit!r}; {done.unit!r} was given."
    return ""


class Twins(NamedTuple):
    """Where nothing says when a task is done: an episode keeps half of what its twin earned.

    The twin is the same episode (start, command, noise) with nothing departed.
    """

    returns: NDArray[np.float64]  # of the twins, [N]; one of negative return may lose as much

    @property
    def words(self) -> str:
        """After "it survives and ..."."""
        return f"keeps {RETURN_KEPT:.0%} of what the same episode earns undisturbed"

    def only(self, rows: NDArray[np.int64]) -> "Twins":
        """The twins of some episodes."""
        return Twins(self.returns[rows])

    def of(self, env: Environment, track: Trajectories) -> NDArray[np.bool_]:
        """Whether each episode succeeds; a fall or a number that is not finite never does."""
        least = self.returns - (1.0 - RETURN_KEPT) * np.abs(self.returns)
        with np.errstate(invalid="ignore"):
            met = METRICS["return"].of(Episodes.of(env, track)) >= least
        return np.asarray(met & ~(track.fell | track.crashed), bool)


def success_of(env: Environment, undisturbed: NDArray[np.float64]) -> Success | Twins:
    """task_of(), or against the undisturbed twins, whose returns are given, [N]."""
    return task_of(env) or Twins(undisturbed)


def _words(metric: str, side: str, limit: float, unit: str) -> str:
    return f"its {metric.replace('_', ' ')} is {side} {limit:g}{'' if unit == '1' else ' ' + unit}"
