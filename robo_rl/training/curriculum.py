"""A learner whose environment opens up as it succeeds; PPO and SAC alike."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from robo_rl.engines.base import Array
from robo_rl.sim2real.curriculum import Scores, begin, judge
from robo_rl.training.learner import TALLY, Learner


class Opening(NamedTuple):
    """A learner's own state and how far its randomisation is open."""

    learner: Any
    scores: Scores


def opening(learner: Learner, rows: tuple[str, ...]) -> Learner:
    """The learner with a curriculum over these rows; its limits are logged by name."""

    def init(key: Array) -> Opening:
        return Opening(learner.init(key), begin(len(rows)))

    def advance(
        state: Opening, rollouts: int = learner.rollouts
    ) -> tuple[Opening, dict[str, Array]]:
        robots = state.learner.robots
        opened = jnp.broadcast_to(state.scores.opened, robots.opened.shape)
        inner = state.learner._replace(robots=robots._replace(opened=opened))
        inner, log = learner.advance(inner, rollouts)
        scores = jax.jit(judge)(state.scores, *(log.pop(name) for name in TALLY))
        limits = {f"curriculum/{row}": scores.opened[k] for k, row in enumerate(rows)}
        return Opening(inner, scores), log | limits

    return learner._replace(
        init=init, advance=advance, network=lambda state: learner.network(state.learner)
    )
