"""How often a regression is found, and how often it is made up: simulated, and for real.

python benchmarks/regression.py [STUDIES]
python benchmarks/regression.py RUNS

Simulated: eight scenarios under the locomotion suite's own plan; an old and a new policy fail
independently on the same episodes. Printed: how often a study says FAIL somewhere, and how often
every scenario passes. A policy against itself is simulated with the same failures under both.

For real, through `robo-rl safety NEW baseline=OLD`: each run in the folder RUNS (one per
environment, named after it) against itself, by its own suite at its default size; and a controller
that balances the inverted pendulum against the same one weakened until it lets the pole fall about
ten points more often, undisturbed.
"""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from robo_rl import content
from robo_rl.envs.step import make
from robo_rl.files import write_json
from robo_rl.safety_eval.regression import change_of_failures, verdict_of
from robo_rl.safety_eval.suite import Plan, load_suite
from robo_rl.verdicts import Verdict
from tests.mutants import balancing_network, store

SCENARIOS, MARGIN = 8, 0.1
COMPARISONS = 120  # of a whole locomotion study: they share the risk of a FAIL
RESULTS = Path(__file__).parent / "results" / "regression.json"
ROBO_RL = Path(sys.executable).with_name("robo-rl")
WEAKENED = 0.3325  # share of the balancing gains with which one pole in eight falls
CASES = {  # old failure rate, new failure rate, whether the same episodes fail
    "itself, never falls": (0.0, 0.0, True),
    "itself, falls in 5 %": (0.05, 0.05, True),
    "another that falls as often, 2 %": (0.02, 0.02, False),
    "another that falls as often, 5 %": (0.05, 0.05, False),
    "10 points more, from 0 %": (0.0, 0.1, False),
    "10 points more, from 2 %": (0.02, 0.12, False),
    "10 points more, from 5 %": (0.05, 0.15, False),
}


def study(rng: np.random.Generator, old: float, new: float, same: bool, plan: Plan) -> list[str]:
    """The verdict of every scenario of one simulated study; True is a failed episode."""
    before = rng.random((SCENARIOS, plan.looks[-1])) < old
    after = before if same else rng.random(before.shape) < new
    verdicts: list[str] = [Verdict.INCONCLUSIVE] * SCENARIOS
    risks = plan.confidence, plan.fail_confidence(COMPARISONS)
    for look in plan.looks:
        for k in (k for k in range(SCENARIOS) if verdicts[k] is Verdict.INCONCLUSIVE):
            pairs = after[k, :look].astype(np.int8), before[k, :look].astype(np.int8)
            verdicts[k], _ = verdict_of(change_of_failures(*pairs, MARGIN, *risks), decided=1.0)
        if Verdict.INCONCLUSIVE not in verdicts or Verdict.FAIL in verdicts:
            break
    return verdicts


def simulated(studies: int) -> dict[str, dict[str, float]]:
    """Every case: how often a study says FAIL somewhere, and PASS everywhere."""
    plan, table = load_suite("locomotion").plan, {}
    for name, (old, new, same) in CASES.items():
        rng = np.random.default_rng(0)
        found = [study(rng, old, new, same, plan) for _ in range(studies)]
        table[name] = {
            "fail_somewhere": float(np.mean([Verdict.FAIL in v for v in found])),
            "pass_everywhere": float(np.mean([set(v) == {Verdict.PASS} for v in found])),
        }
        print(f"{name:36} {table[name]}")
    return table


def judged(new: Path, old: Path, out: Path, *words: str) -> dict[str, object]:
    """What the command found of a policy against another: its regression verdicts, counted."""
    command = [str(ROBO_RL), "safety", str(new), f"baseline={old}", f"out={out}", "replays=0"]
    done = subprocess.run([*command, *words], capture_output=True, text=True)
    if not (out / "results.json").exists():
        raise SystemExit(f"{new}: {done.stdout}{done.stderr}")
    data = json.loads((out / "results.json").read_text())
    found = {
        "status": done.returncode,
        "episodes": sum(data["episodes"].values()),
        "verdicts": dict(Counter(r["verdict"] for r in data["regressions"])),
        "worse": [r["why"] for r in data["regressions"] if r["verdict"] == Verdict.FAIL],
    }
    print(new.name, found, flush=True)
    return found


def for_real(runs: Path) -> dict[str, dict[str, object]]:
    """Every run against itself, and a weakened controller against the whole one."""
    names = sorted(run.name for run in runs.iterdir() if (run / "policy").is_dir())
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        table = {
            f"{name} against itself": judged(runs / name, runs / name, scratch / name)
            for name in names
        }
        env, suite = make("inverted-pendulum"), scratch / "nominal.yaml"
        own = content.find("safety_eval", "balance").read_text()
        own = own.replace(own[own.index("scenarios:") :].splitlines()[0], "scenarios: [nominal]")
        suite.write_text(own)
        old, new = (
            store(scratch / f"gains-{share}", env, balancing_network(env, share))
            for share in (1.0, WEAKENED)
        )
        name = f"inverted-pendulum, {WEAKENED:.2%} of the gains, undisturbed"
        return table | {name: judged(new, old, scratch / "weak", f"suite={suite}")}


def main(asked: str) -> None:
    """Simulate, or judge for real, and write results/regression.json."""
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if asked.isdigit():
        stored |= {"studies": int(asked), "cases": simulated(int(asked))}
    else:
        stored["real"] = for_real(Path(asked))
    write_json(RESULTS, stored)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "500")
