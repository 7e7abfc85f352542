"""Do breaking points lie in their intervals: on known curves, and on policies by dense sampling.

python benchmarks/margins.py [cases=2000] [episodes=400] [RUN ...]

Known curves: thresholds from 0.02 to 20 times the measured magnitude, success falling there at once
or with a slope (success = 1 / (1 + (1 / 0.8 - 1) (magnitude / threshold)^slope)), rounds of 12
episodes. RUN: a run folder with a gap study; success at both bounds of every breaking point is
measured again on new episodes.
"""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from robo_rl import files
from robo_rl.content import read_json
from robo_rl.envs.step import make
from robo_rl.policy import contract
from robo_rl.policy.stored import load_policy
from robo_rl.rollouts.statistics import rate
from robo_rl.rollouts.threshold import CLOSE, EPISODES, FLOOR, Search, magnitudes
from robo_rl.sim2real import gap
from robo_rl.sim2real.departures import departures, together
from robo_rl.sim2real.profiles import load_profile

RESULTS = Path(__file__).resolve().parent / "results" / "margins.json"
SHAPES = {"step": math.inf, "slope 32": 32.0, "slope 16": 16.0, "slope 8": 8.0, "slope 4": 4.0}
SEED = 31_415_926
AT_ONCE = 12


def curve(at: float, slope: float) -> Callable[[float], float]:
    """Success by magnitude; 0.8 at the threshold."""
    if math.isinf(slope):
        return lambda magnitude: 1.0 if magnitude < at else 0.0
    return lambda magnitude: 1.0 / (1.0 + (1.0 / FLOOR - 1.0) * (magnitude / at) ** slope)


def simulated(shape: str, cases: int) -> dict[str, Any]:
    """How often the threshold is inside, how close the bounds are and how many episodes it took."""
    rng, levels = np.random.default_rng(SEED), magnitudes(1.0, 0.01, 25.0)
    inside, ratios, spent = 0, [], []
    for _ in range(cases):
        at = float(np.exp(rng.uniform(math.log(0.02), math.log(20.0))))
        success, search = curve(at, SHAPES[shape]), Search(levels, EPISODES, (1.0, 2.0))
        while not search.done:
            asked = search.ask(AT_ONCE)
            for level in np.unique(asked):
                count = int((asked == level).sum())
                search.tell(int(level), rng.random(count) < success(float(levels[level])))
        low, _, high = search.interval()
        inside += low <= at <= high
        ratios.append(high / low if low > 0 else math.inf)
        spent.append(search.spent)
    return {
        "cases": cases,
        "inside": inside,
        "ratio_median": float(np.median(ratios)),
        "close": float(np.mean(np.array(ratios) <= CLOSE * (1 + 1e-9))),
        "episodes_mean": float(np.mean(spent)),
        "episodes_most": int(max(spent)),
    }


def measured(run: Path, episodes: int) -> list[dict[str, Any]]:
    """Success at both bounds of every breaking point of a study, on new episodes."""
    found, policy = read_json(run / "gap" / "results.json"), load_policy(run)
    env = make(str(policy.contract["env"]), str(policy.contract["reward"]), history_s=0.5)
    profile = load_profile(str(found["profile"]["name"]))
    parts, _ = departures(env.robot, profile, SEED)
    everything = together(env.robot, parts, SEED)
    by_name = {part.name: part for part in (*parts, *((everything,) if everything else ()))}
    floor = float(found["undisturbed"]["floor"])
    study, rows = gap.Study(env, policy, SEED, episodes), []
    for sweep in found["sweeps"]:
        low, high = sweep["breaking"]["low"], sweep["breaking"]["high"]
        part = by_name[sweep["name"]]
        low = part.largest if low is None else low
        here = {"name": sweep["name"], "low": low, "high": high, "verdict": sweep["verdict"]}
        here["at_low"] = rate(study.successes(part, low))._asdict() if low else None
        here["at_high"] = rate(study.successes(part, high))._asdict() if high else None
        above = here["at_low"] is None or here["at_low"]["point"] >= floor
        below = here["at_high"] is None or here["at_high"]["point"] < floor
        rows.append(here | {"inside": above and below})
    return rows


def main(words: list[str]) -> None:
    """The command; see the module."""
    console = Console()
    given = dict(word.split("=", 1) for word in words if "=" in word)
    data: dict[str, Any] = {"simulated": {}, "policies": {}}
    if RESULTS.is_file():
        data |= {key: read_json(RESULTS)[key] for key in data}
    if cases := int(given.get("cases", 2000)):
        for shape in SHAPES:
            data["simulated"][shape] = simulated(shape, cases // len(SHAPES))
            console.print(shape, data["simulated"][shape])
    for run in (Path(word) for word in words if "=" not in word):
        rows = measured(run, int(given.get("episodes", 400)))
        name = str(load_policy(run).contract["env"])
        data["policies"][name] = rows
        inside = sum(r["inside"] for r in rows)
        console.print(f"{name}: {inside} of {len(rows)} breaking points inside")
        for r in rows:
            if not r["inside"]:
                console.print(r)
    files.write_json(RESULTS, data | {"versions": contract.versions()})


if __name__ == "__main__":
    main(sys.argv[1:])
