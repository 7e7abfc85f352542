"""Physics, and nothing else: what every engine shares, and the engines by name."""

from collections.abc import Callable

from mujoco import MjModel

from robo_rl.engines.base import Engine, Tracking
from robo_rl.errors import UserError
from robo_rl.registry import Registry

Build = Callable[[MjModel, int, Tracking], Engine]
ENGINES: Registry[Build] = Registry("engine")


def engine(name: str) -> Callable[[Build], Build]:
    """Add a function of (model, substeps, tracking) that builds an engine, under a name."""

    def add(build: Build) -> Build:
        ENGINES.add(name, build, build.__module__)
        return build

    return add


@engine("mujoco")
def _mujoco(model: MjModel, substeps: int, tracking: Tracking) -> Engine:
    """C MuJoCo: CPUs, and every verdict."""
    from robo_rl.engines.mujoco import MujocoEngine

    return MujocoEngine(model, substeps, tracking)


@engine("mjx")
def _mjx(model: MjModel, substeps: int, tracking: Tracking) -> Engine:
    """MuJoCo XLA: training on a GPU."""
    from robo_rl.engines.mjx import MjxEngine  # imports take seconds

    return MjxEngine(model, substeps, tracking)


@engine("bullet")
def _bullet(model: MjModel, substeps: int, tracking: Tracking) -> Engine:
    """PyBullet: the second opinion."""
    try:
        from robo_rl.engines.bullet import BulletEngine
    except ImportError as error:
        raise UserError(
            "engine bullet needs PyBullet, which has wheels for Python 3.11 only:"
            " pip install 'robo-rl[bullet]'. Without it there are mujoco and mjx."
        ) from error
    return BulletEngine(model, substeps, tracking)
