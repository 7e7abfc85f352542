"""When an episode counts as a success: the task's own tolerance, or the return it must keep."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robo_rl.envs.step import Environment
from robo_rl.safety_eval.metrics import METRICS, Episodes
from robo_rl.safety_eval.rollout import Track

RETURN_KEPT = 0.5  # share of the undisturbed return


class Success(NamedTuple):
    """What an episode must do besides surviving: stay within a tolerance, or earn a return."""

    metric: str
    limit: float
    at_most: bool
    words: str  # after "it survives and ...": "its mean goal error is at most 0.2 m/s"

    def of(self, env: Environment, track: Track) -> NDArray[np.bool_]:
        """Whether each episode succeeds; a fall or a number that is not finite never does."""
        values = METRICS[self.metric].of(Episodes.of(env, track))
        met = values <= self.limit if self.at_most else values >= self.limit
        return np.asarray(met & ~(track.fell | track.crashed), bool)


def success_of(env: Environment, undisturbed: NDArray[np.float64]) -> Success:
    """The goal's tolerance where the task has a goal, else half of the undisturbed return.

    undisturbed: returns, [N]. A task of negative returns may lose as much as one of positive.
    """
    if goal := env.mdp.goal:
        what = goal.judged_by.replace("_", " ")
        words = f"its {what} is at most {goal.tolerance:g} {goal.error_unit}"
        return Success(goal.judged_by, goal.tolerance, True, words)
    reference = float(np.median(undisturbed))
    least = reference - (1.0 - RETURN_KEPT) * abs(reference)
    words = f"keeps {RETURN_KEPT:.0%} of the nominal return ({reference:.0f})"
    return Success("return", least, False, words)
