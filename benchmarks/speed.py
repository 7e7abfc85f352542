"""Speed side by side with peers in one go.

Contestants in turn, several rounds, ratios of each round.

Usage: python benchmarks/speed.py [ROUNDS] [WORD IN THE TITLE]; other groups keep their figures.
Writes benchmarks/results/speed.json and prints the table.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from robo_rl.files import write_json
from robo_rl.policy.contract import versions

HERE = Path(__file__).resolve().parent
BENCH_PYTHON = HERE.parent / ".venv-bench" / "bin" / "python"
GROUPS = {
    "environment steps/s, hopper with three reward layers and costs, next to bare physics": (
        "env_robo_rl",
        "env_raw_batch",
    ),
    "environment steps/s, Gymnasium's hopper": (
        "env_robo_rl_task",
        "env_envpool",
        "env_gymnasium_sync",
        "env_gymnasium_async",
    ),
    "PPO training, environment steps/s, hopper": ("ppo_robo_rl", "ppo_sb3"),
    "SAC training, gradient updates/s, hopper": (
        "sac_robo_rl",
        "sac_products_alone",
        "sac_sb3",
        "sac_sbx",
    ),
}
ELSEWHERE = {"env_envpool", "sac_sbx"}  # need packages that are not dependencies


def measure(name: str) -> float | None:
    """One contestant's rate, or None where it is not installed."""
    python = str(BENCH_PYTHON) if name in ELSEWHERE else sys.executable
    if not Path(python).exists():
        return None
    env = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [python, str(HERE / "peers.py"), name], capture_output=True, text=True, env=env
    )
    if done.returncode:
        print(f"{name}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return float(json.loads(done.stdout.strip().splitlines()[-1])["rate"])


def main(rounds: int, word: str) -> None:
    target = HERE / "results" / "speed.json"
    before = json.loads(target.read_text())["results"] if target.exists() else {}
    results = {title: before[title] for title in GROUPS if title in before}
    for title, contestants in GROUPS.items():
        if word not in title:
            continue
        rates = {name: [] for name in contestants}
        for _ in range(rounds):
            for name in contestants:
                if (found := measure(name)) is not None:
                    rates[name].append(found)
        ours = rates[contestants[0]]
        results[title] = {}
        for name, values in rates.items():
            if not values:
                continue
            ratios = [a / b for a, b in zip(ours, values, strict=False)]
            results[title][name] = {
                "rate": statistics.median(values),
                "rates": values,
                "ours_over_this": statistics.median(ratios),
                "ratios": ratios,
            }
            print(
                f"{title:45s} {name:22s} {statistics.median(values):10,.0f}   ours / this"
                f" {statistics.median(ratios):6.2f}"
            )
    write_json(
        target,
        {"results": results, "versions": versions()},
    )


if __name__ == "__main__":
    given = sys.argv[1:]
    main(int(given[0]) if given else 3, given[1] if len(given) > 1 else "")
