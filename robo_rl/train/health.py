"""Is training still sane? Alerts that a run writes down, and the one that stops it."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

LARGE_KL = 0.2


class Alert(NamedTuple):
    """One finding; a fatal one ends the run before a broken policy is saved."""

    kind: str
    message: str
    fatal: bool


def alerts(log: Mapping[str, float]) -> list[Alert]:
    """What is wrong with one log entry of a training loop."""
    found = []
    broken = [k for k, v in log.items() if k.startswith("learn/") and np.isinf(v)]
    # SAC logs NaN losses before its warm-up ends; PPO never does
    broken += [k for k in ("learn/total_loss", "learn/v_loss") if np.isnan(log.get(k, 0.0))]
    if broken:
        found.append(Alert("not_finite", f"{', '.join(broken)} not finite", fatal=True))
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
    with path.open("a") as stream:
        stream.write(json.dumps(line) + "\n")
