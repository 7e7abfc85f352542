"""Every failing episode of every environment, replayed from its bundle in a fresh process.

python benchmarks/replays.py RUNS [ENV ...]

RUNS: a folder with one trained run per environment, named after it. That policy, where there is
one, and one that acts at random are judged by `robo-rl safety`, every failing episode is kept, and
`robo-rl replay` runs all of them again. What reproduced goes into results/replays.json; exit status
1 where an episode did not. Results that are there already are kept.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from robo_rl.envs import mdp
from robo_rl.envs.step import make
from robo_rl.files import write_json
from robo_rl.policy.contract import processor, versions
from robo_rl.policy.stored import load_policy
from tests.mutants import mutant, store

RESULTS = Path(__file__).parent / "results" / "replays.json"
ROBO_RL = Path(sys.executable).with_name("robo-rl")
EPISODES = 8  # of each scenario
EVERY = 10_000  # bundles per scenario: more than there are episodes


def replayed(run: Path) -> dict[str, object]:
    """Failing episodes of one safety study, and how many of them reproduce."""
    words = [str(ROBO_RL), "safety", str(run), f"episodes={EPISODES}", f"replays={EVERY}"]
    judged = subprocess.run(words, capture_output=True, text=True)
    results = sorted((run / "safety").glob("*/results.json"))
    if not results:
        raise SystemExit(f"{run}: {judged.stdout}{judged.stderr}")
    bundles = sorted(results[0].parent.glob("replays/*.npz"))
    if not bundles:
        return {"gate": json.loads(results[0].read_text())["verdict"], "failing": 0}
    again = subprocess.run(
        [str(ROBO_RL), "replay", str(results[0].parent / "replays")], capture_output=True, text=True
    )
    return {
        "gate": json.loads(results[0].read_text())["verdict"],
        "failing": len(bundles),
        "reproduced": len(re.findall("Reproduced bit for bit", again.stdout)),
        "status": again.returncode,
    }


def main(runs: Path, names: list[str]) -> int:
    """Replay what has no result yet; 1 if an episode did not reproduce."""
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    table = stored.get("results", {})
    for name in names or mdp.names():
        env, trained = make(name), runs / name
        row = table.setdefault(name, {})
        good = load_policy(trained) if (trained / "policy").is_dir() else None
        networks = {
            "trained": None if good is None else good.network,
            "random": mutant("random", env, good),
        }
        with tempfile.TemporaryDirectory() as place:
            for kind, network in networks.items():
                if kind not in row and network is not None:
                    row[kind] = replayed(store(Path(place) / kind, env, network))
        write_json(RESULTS, {"results": table, "versions": versions(), "processor": processor()})
        print(name, row, flush=True)
    found = [row for kinds in table.values() for row in kinds.values()]
    failing = sum(row["failing"] for row in found)
    same = sum(row.get("reproduced", 0) for row in found)
    print(f"{same} of {failing} failing episodes on {len(table)} environments reproduced")
    return int(same < failing)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
