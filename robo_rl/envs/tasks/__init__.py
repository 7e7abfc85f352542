"""The environments of the suite; importing this registers them."""

from robo_rl.envs.tasks import (
    arm,
    biped,
    classic,
    declared,
    locomotion,
    quadrotor,
    quadruped,
    rover,
)

__all__ = ["arm", "biped", "classic", "declared", "locomotion", "quadrotor", "quadruped", "rover"]
