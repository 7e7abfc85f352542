"""Is training still sane? Alerts that a run writes down, and the one that stops it."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from robo_rl import files
from robo_rl.errors import NotFiniteError
from robo_rl.policy.stored import Network

LARGE_KL = 0.2
ABSURD = 1e12  # no loss, gradient or action of a learner that still learns comes near


class Alert(NamedTuple):
    """One finding; a fatal one ends the run before a broken policy is saved."""

    kind: str
    message: str
    fatal: bool


def alerts(log: Mapping[str, float]) -> list[Alert]:
    """What is wrong with one log entry of a training loop."""
    found = []
    learned = log.get("updates", 1.0) > 0  # before SAC's warm-up ends its losses are NaN
    for name, value in log.items():
        if learned and name.startswith("learn/") and not abs(value) < ABSURD:
            message = f"{name.removeprefix('learn/')} is {value:.3g}"
            found.append(Alert("diverged", message, fatal=True))
    if log.get("errors", 0.0) > 0:
        found.append(
            Alert(
                "error", f"{log['errors']:.0f} steps with numbers that are not finite", fatal=False
            )
        )
    if log.get("learn/kl_mean", 0.0) > LARGE_KL:
        found.append(
            Alert("large_update", f"KL {log['learn/kl_mean']:.2f} in one iteration", fatal=False)
        )
    return found


def record(path: Path, kind: str, steps: int, message: str) -> None:
    """Appends one line to health.jsonl."""
    line = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "kind": kind,
        "steps": steps,
        "message": message,
    }
    files.append_text(path, json.dumps(line) + "\n")


def demand_finite(network: Network, steps: int) -> None:
    """Raises NotFiniteError where a policy holds a number that is not finite."""
    broken = [name for name, array in network.arrays().items() if not np.isfinite(array).all()]
    if broken:
        raise NotFiniteError(
            f"Training stopped at step {steps:,}: the policy's {', '.join(broken)} are not finite."
        )
