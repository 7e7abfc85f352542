"""How often a regression is found, and how often it is made up: simulated paired episodes.

python benchmarks/regression.py [STUDIES]

Eight scenarios under the locomotion suite's own plan: an old and a new policy fail independently on
the same episodes. Printed: how often a study says FAIL somewhere, and how often every scenario
passes. A policy against itself is simulated with the same failures under both.
"""

import json
import sys
from pathlib import Path

import numpy as np

from robo_rl.safety_eval.regression import change_of_failures, verdict_of
from robo_rl.safety_eval.suite import Plan, load_suite
from robo_rl.verdicts import Verdict

SCENARIOS, MARGIN = 8, 0.1
COMPARISONS = 120  # of a whole locomotion study: they share the risk of a FAIL
RESULTS = Path(__file__).parent / "results" / "regression.json"
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


def main(studies: int) -> None:
    """Simulate every case and write results/regression.json."""
    plan, table = load_suite("locomotion").plan, {}
    for name, (old, new, same) in CASES.items():
        rng = np.random.default_rng(0)
        found = [study(rng, old, new, same, plan) for _ in range(studies)]
        table[name] = {
            "fail_somewhere": float(np.mean([Verdict.FAIL in v for v in found])),
            "pass_everywhere": float(np.mean([set(v) == {Verdict.PASS} for v in found])),
        }
        print(f"{name:36} {table[name]}")
    RESULTS.write_text(json.dumps({"studies": studies, "cases": table}, indent=1) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
