"""What a training loop offers to whatever runs it."""

from collections.abc import Callable
from typing import Any, NamedTuple

from robo_rl.engines.base import Array
from robo_rl.policy.stored import Network


class Learner(NamedTuple):
    """A training loop as three functions over one state, all that a checkpoint must hold."""

    init: Callable[[Array], Any]
    # (state, rollouts) to (state, log entries); jitted, the state is donated
    advance: Callable[..., tuple[Any, dict[str, Array]]]
    network: Callable[[Any], Network]  # the deterministic policy of a state
    steps_per_rollout: int  # environment steps in the smallest piece of training
    rollouts: int  # in one advance, unless fewer are asked for
    learned: tuple[str, ...]  # parts of the state that another run can start from
    growing: tuple[str, ...] = ()  # leaves with more rows when the run is to have more steps

    @property
    def steps_per_advance(self) -> int:
        """Environment steps of a whole advance."""
        return self.steps_per_rollout * self.rollouts

    def rollouts_to(self, steps: int) -> int:
        """Rollouts that `steps` environment steps take, the last one whole."""
        return -(-steps // self.steps_per_rollout)
