"""Policies that must never be accepted, on every environment, through the installed command.

python benchmarks/mutants.py RUNS [ENV ...]

RUNS: a folder with one trained run per environment, named after it. Each mutant (see
tests/mutants.py) is stored as a run folder and judged by `robo-rl safety` with the environment's
own suite; what the shell saw goes into results/mutants.json. The trained policy is judged too, so
that the table shows what a rejection rests on. Results that are there already are kept.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from robo_rl.envs import mdp
from robo_rl.envs.step import make
from robo_rl.policy.stored import load_policy
from robo_rl.verdicts import Exit
from tests.mutants import MUTANTS, mutant, store

RESULTS = Path(__file__).parent / "results" / "mutants.json"
ROBO_RL = Path(sys.executable).with_name("robo-rl")


def judge(run: Path) -> dict[str, object]:
    """Exit status and reason of one safety study."""
    done = subprocess.run(
        [str(ROBO_RL), "safety", str(run), "replays=0"], capture_output=True, text=True
    )
    found = sorted((run / "safety").glob("*/results.json"))
    if not found:
        return {"status": done.returncode, "why": (done.stdout + done.stderr)[-500:]}
    data = json.loads(found[0].read_text())
    return {
        "status": done.returncode,
        "gate": data["verdict"],
        "why": data["why"],
        "suite": data["suite"]["name"],
        "episodes": sum(data["episodes"].values()),
    }


def main(runs: Path, names: list[str]) -> int:
    """Judge what has no result yet; 1 if anything that must not be accepted was."""
    table = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in names or mdp.names():
        env, trained = make(name), runs / name
        good = load_policy(trained) if (trained / "policy").is_dir() else None
        row = table.setdefault(name, {})
        with tempfile.TemporaryDirectory() as place:
            for kind in MUTANTS:
                network = mutant(kind, env, good)
                if kind not in row and network is not None:
                    row[kind] = judge(store(Path(place) / kind, env, network))
            if good is not None and "trained" not in row:
                row["trained"] = judge(store(Path(place) / "trained", env, good.network))
        RESULTS.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")
        print(name, {kind: found.get("gate", found["status"]) for kind, found in row.items()})
    accepted = [
        f"{kind} on {name}"
        for name, row in table.items()
        for kind, found in row.items()
        if kind != "trained" and found["status"] not in (Exit.REJECT, Exit.ERROR)
    ]
    print(f"not rejected: {', '.join(accepted) or 'none'}")
    return bool(accepted)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
