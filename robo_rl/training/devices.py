"""Training over several devices: robots are divided among them, everything else is on each."""

from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from robo_rl.errors import UserError
from robo_rl.training.learner import Learner

AXIS = "robots"


def shard_over_devices(learner: Learner, robots: int) -> Learner:
    """The learner with its robots divided evenly among all devices; one device changes nothing.

    XLA partitions the loop from where its state lies; gradients are summed across devices by it.
    Raises UserError where the robots cannot be divided evenly.
    """
    devices = jax.devices()
    if len(devices) == 1:
        return learner
    if robots % len(devices):
        raise UserError(f"robots={robots} cannot be divided evenly among {len(devices)} devices.")
    mesh = Mesh(devices, (AXIS,))

    def divide(state: Any) -> Any:
        """A state whose robots lie row by row on the devices; what lies there already stays."""
        shared = NamedSharding(mesh, PartitionSpec())
        rows = NamedSharding(mesh, PartitionSpec(AXIS))
        alike = state._replace(robots=None)
        return jax.device_put(alike, shared)._replace(robots=jax.device_put(state.robots, rows))

    return learner._replace(
        init=lambda key: divide(learner.init(key)),
        advance=lambda state, rollouts=learner.rollouts: learner.advance(divide(state), rollouts),
    )
