"""Physics, and nothing else: what every engine shares, and the engines by name."""

from collections.abc import Callable

import mujoco

from robo_rl.engines.base import Engine, Tracking


def _mujoco(model: mujoco.MjModel, substeps: int, tracking: Tracking) -> Engine:
    from robo_rl.engines.mujoco import MujocoEngine

    return MujocoEngine(model, substeps, tracking)


def _mjx(model: mujoco.MjModel, substeps: int, tracking: Tracking) -> Engine:
    from robo_rl.engines.mjx import MjxEngine  # imports take seconds

    return MjxEngine(model, substeps, tracking)


ENGINES: dict[str, Callable[[mujoco.MjModel, int, Tracking], Engine]] = {
    "mujoco": _mujoco,
    "mjx": _mjx,
}
