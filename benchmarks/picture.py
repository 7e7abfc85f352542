"""Draws the README's picture: python benchmarks/picture.py RUN/gap/results.json."""

import sys
from pathlib import Path

import numpy as np

from robo_rl.content import read_json
from robo_rl.files import write_text
from robo_rl.report import plots
from robo_rl.rollouts.statistics import rate_bounds

SHOWN = ("action_latency", "observation_jitter", "joint_velocity_noise")
SHOWN += ("motor_weakness", "actuator_slew", "push")
TARGET = Path(__file__).resolve().parents[1] / "docs" / "images" / "degradation.svg"


def drawn(sweep, floor) -> plots.Degradation:
    bounds = np.array(
        [rate_bounds(k, n) for k, n in zip(sweep["successes"], sweep["episodes"], strict=True)]
    )
    return plots.Degradation(
        name=sweep["name"].replace("_", " "),
        unit=sweep["unit"],
        magnitudes=np.array(sweep["magnitudes"]),
        success=np.array(sweep["successes"]) / np.array(sweep["episodes"]),
        low=bounds[:, 0],
        high=bounds[:, 1],
        retention=np.array(sweep["retention"]),
        floor=floor,
        measured=sweep["measured"],
        breaking=_breaking(sweep["breaking"]),
        verdict=sweep["verdict"],
    )


def _breaking(found) -> tuple[float, float, float] | None:
    """Bounds and point; what is beyond the sweep is null in the file."""
    if found["point"] is None:
        return None
    return found["low"], found["point"], np.inf if found["high"] is None else found["high"]


def main(path: Path) -> None:
    found = read_json(path)
    sweeps, floor = {s["name"]: s for s in found["sweeps"]}, found["undisturbed"]["floor"]
    write_text(TARGET, plots.degradation([drawn(sweeps[name], floor) for name in SHOWN]))
    print(TARGET)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
