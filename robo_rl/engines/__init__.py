"""Physics, and nothing else: what every engine shares, and the engines by name."""

from collections.abc import Callable

from mujoco import MjModel

from robo_rl.engines.base import Engine, Tracking


def _mujoco(model: MjModel, substeps: int, tracking: Tracking) -> Engine:
    from robo_rl.engines.mujoco import MujocoEngine

    return MujocoEngine(model, substeps, tracking)


def _mjx(model: MjModel, substeps: int, tracking: Tracking) -> Engine:
    from robo_rl.engines.mjx import MjxEngine  # imports take seconds

    return MjxEngine(model, substeps, tracking)


ENGINES: dict[str, Callable[[MjModel, int, Tracking], Engine]] = {
    "mujoco": _mujoco,
    "mjx": _mjx,
}
