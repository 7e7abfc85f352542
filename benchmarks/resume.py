"""Kills a training run with SIGKILL at five random moments, resumes it each time.

And compares the end.

Usage: python benchmarks/resume.py. Prints one line per algorithm; exit code 1 where a bit differs.
"""

import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from robo_rl.contract import versions
from robo_rl.files import read_arrays, write_json

KILLS = 5
LONGEST_WAIT_S = 0.6  # a run of this size trains for a few seconds
SETTINGS = {
    "ppo": ["steps=160000", "ppo.hidden=[32,32]"],
    "sac": ["steps=16000", "sac.warmup=1000", "sac.hidden=[32,32]", "sac.updates_per_step=2"],
}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "robo_rl.cli", "train", *words]


def final_state(folder: Path) -> dict[str, np.ndarray]:
    newest = sorted((folder / "checkpoints").glob("step_*"))[-1]
    return read_arrays(newest / "state.npz")


def killed_and_resumed(algo: str, folder: Path, rng: random.Random) -> int:
    """Runs to the end through SIGKILLs that strike while it trains; returns how many struck."""
    words = [
        "env=hopper",
        f"algo={algo}",
        f"out={folder}",
        "checkpoint_s=0.3",
        "eval_points=2",
        *SETTINGS[algo],
    ]
    struck = 0
    while not (folder / "done.json").exists():
        resume = (folder / "config.yaml").exists()
        process = subprocess.Popen(
            command(f"resume={folder}") if resume else command(*words), stdout=subprocess.DEVNULL
        )
        before = rows(folder)
        while struck < KILLS and process.poll() is None and rows(folder) <= before + 1:
            time.sleep(0.02)
        if struck < KILLS and process.poll() is None:
            time.sleep(rng.uniform(0.0, LONGEST_WAIT_S))
            if process.poll() is None:
                process.kill()
                struck += 1
        process.wait()
    return struck


def rows(folder: Path) -> int:
    table = folder / "metrics.csv"
    return len(table.read_text().splitlines()) if table.exists() else 0


def main() -> None:
    rng, results = random.Random(), {}
    for algo, settings in SETTINGS.items():
        scratch = Path(tempfile.mkdtemp())
        words = [
            "env=hopper",
            f"algo={algo}",
            f"out={scratch / 'whole'}",
            "eval_points=2",
            *settings,
        ]
        subprocess.run(command(*words), check=True, stdout=subprocess.DEVNULL)
        struck = killed_and_resumed(algo, scratch / "killed", rng)
        whole, killed = final_state(scratch / "whole"), final_state(scratch / "killed")
        different = [
            n
            for n in whole
            if not np.array_equal(whole[n], killed[n], equal_nan=whole[n].dtype.kind == "f")
        ]
        results[algo] = {"kills": struck, "arrays": len(whole), "different": different}
        print(f"{algo}: {struck} kills, {len(different)} of {len(whole)} arrays differ", flush=True)
        shutil.rmtree(scratch)
    write_json(
        Path(__file__).parent / "results" / "resume.json",
        {"results": results, "versions": versions()},
    )
    sys.exit(any(r["different"] or r["kills"] < KILLS for r in results.values()))


if __name__ == "__main__":
    main()
