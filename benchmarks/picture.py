"""Draws the README's picture: python benchmarks/picture.py RUN/gap/results.json."""

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

from robo_rl.content import read_json
from robo_rl.files import write_text
from robo_rl.report import plots
from robo_rl.rollouts.statistics import Interval
from robo_rl.sim2real.gap import Sweep
from robo_rl.sim2real.gap_report import drawn

SHOWN = ("action_latency", "observation_jitter", "joint_velocity_noise")
SHOWN += ("motor_weakness", "actuator_slew", "push")
ARRAYS = ("magnitudes", "successes", "episodes", "retention")
TARGET = Path(__file__).resolve().parents[1] / "docs" / "images" / "degradation.svg"


def sweep(found: dict[str, Any]) -> Sweep:
    """A sweep as results.json holds it; what is beyond the largest magnitude is null there."""
    bounds = [found["breaking"][key] for key in ("low", "point", "high")]
    breaking = Interval(*(math.inf if bound is None else bound for bound in bounds))
    arrays = {key: np.array(found[key]) for key in ARRAYS}
    name = found["name"].replace("_", " ")
    return Sweep(**{**found, **arrays, "breaking": breaking, "name": name})


def main(path: Path) -> None:
    found = read_json(path)
    sweeps, floor = {s["name"]: s for s in found["sweeps"]}, found["undisturbed"]["floor"]
    shown = [drawn(sweep(sweeps[name]), floor) for name in SHOWN]
    write_text(TARGET, plots.degradation(shown))
    print(TARGET)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
