"""The contract of every environment on every engine.

Usage: python benchmarks/contract.py [ENGINE ...] [ENVIRONMENT ...]; all of either if none is named.
The test suite keeps it on mujoco and bullet; MJX compiles for minutes per environment on a CPU.
Writes benchmarks/results/contract.json and prints a line per environment and engine.
"""

import itertools
import json
import sys
import time
from pathlib import Path

from robo_rl.engines import ENGINES
from robo_rl.envs import mdp
from robo_rl.envs.authoring.check import check
from robo_rl.errors import UserError
from robo_rl.files import write_json
from robo_rl.policy.contract import versions

TARGET = Path(__file__).resolve().parent / "results" / "contract.json"
STEPS = {"mujoco": 40, "mjx": 12, "bullet": 40}


def judge(name: str, engine: str) -> dict[str, object]:
    """How many sentences hold, and those that do not."""
    began = time.perf_counter()
    try:
        found = check(name, engine, STEPS[engine])
    except UserError as reason:
        return {"env": name, "engine": engine, "claims": 0, "broken": [str(reason)]}
    broken = [f"{f.claim}: {f.detail}" for f in found if not f.holds]
    seconds = time.perf_counter() - began
    return {"env": name, "engine": engine, "claims": len(found), "broken": broken, "s": seconds}


def main(words: list[str]) -> None:
    engines = [word for word in words if word in ENGINES] or list(ENGINES)
    names = [word for word in words if word not in ENGINES] or mdp.names()
    for engine, name in itertools.product(engines, names):
        found = judge(name, engine)
        results = json.loads(TARGET.read_text())["results"] if TARGET.exists() else {}
        results[f"{name} on {engine}"] = found
        print(name, engine, found["claims"], found["broken"] or "kept", flush=True)
        write_json(TARGET, {"results": results, "versions": versions()})


if __name__ == "__main__":
    main(sys.argv[1:])
