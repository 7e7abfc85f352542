"""Which code trains a configuration: ours in JAX, or Stable-Baselines3."""

from pathlib import Path

import jax
from rich.console import Console

from robo_rl.training import run
from robo_rl.training.config import TrainConfig


def train(config: TrainConfig, console: Console, *, resume: bool = False) -> Path:
    """Trains with the trainer the configuration names; returns the run folder.

    In 32 bits, also where JAX_ENABLE_X64 is set: a run means the same wherever it goes on.
    """
    with jax.enable_x64(False):
        if config.trainer == "sb3":
            from robo_rl.training import sb3  # torch takes seconds to import

            return sb3.train(config, console, resume=resume)
        return run.train(config, console, resume=resume)
