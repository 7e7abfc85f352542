"""Strikes training runs with Ctrl-C and SIGKILL at random moments, resumes them, compares the end.

Usage: python benchmarks/resume.py [STRIKES]. STRIKES of each kind (20 if left out) are shared among
the kinds of run. Half of them strike the console command at a moment drawn from its start to its
first row, imports and compilation included, half between its rows. Prints one line per kind of run;
exit code 1 where a run was lost, a step was lost to Ctrl-C, or a number differs at the end.
"""

import csv
import itertools
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from robo_rl.files import read_arrays, write_json
from robo_rl.policy.contract import versions
from robo_rl.training.interrupt import STOPPING

ROBO_RL = Path(sys.executable).with_name("robo-rl")
STRIKES = 20
CTRL_C_ENDED = 130
PPO = ["env=hopper", "algo=ppo", "ppo.hidden=[32,32]", "ppo.robots=16", "ppo.unroll=16"]
SAC = ["env=hopper", "algo=sac", "sac.hidden=[32,32]", "sac.robots=16", "sac.warmup=500"]
SOURCES = {"ppo": [*PPO, "steps=2000"], "sac": [*SAC, "steps=1500"]}
LONG = {"ppo": [*PPO, "steps=30000"], "sac": [*SAC, "steps=5000"]}
RUNS = {
    "ppo": LONG["ppo"],
    "sac": LONG["sac"],
    "ppo start=": [*LONG["ppo"], "start=ppo"],
    "sac start=": [*LONG["sac"], "start=sac"],
    "ppo curriculum=true": [*LONG["ppo"], "randomize=legged", "curriculum=true"],
}
TIMES = ("train_s", "steps_per_s")  # columns that no two runs share


class Strike(NamedTuple):
    """What one blow found and left."""

    kind: str
    when: str  # how far the run was
    status: int  # of the process that was struck
    lost: str  # what was lost; empty if nothing


class Run(NamedTuple):
    """A run that is being trained, and struck."""

    words: list[str]
    folder: Path
    scratch: Path

    def start(self) -> subprocess.Popen:
        """A process that trains it: the first command until it is a run, then resume=."""
        begun = (self.folder / "config.yaml").exists()
        words = [f"resume={self.folder}"] if begun else [*self.words, f"out={self.folder}"]
        settings = [] if begun else ["checkpoint_s=0.5", "eval_points=2", "eval_episodes=2"]
        return subprocess.Popen(
            [ROBO_RL, "train", *words, *settings],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=self.scratch,
        )

    def saved(self) -> int:
        """The step of its newest checkpoint; -1 where there is none."""
        names = [path.name for path in (self.folder / "checkpoints").glob("step_*")]
        return max((int(name.removeprefix("step_")) for name in names), default=-1)

    def logged(self) -> int:
        """The step of its last row."""
        rows = table(self.folder / "metrics.csv")
        return int(rows[-1]["steps"]) if rows else 0

    def stage(self) -> str:
        """How far it is, in words."""
        if (self.folder / "done.json").exists():
            return "complete"
        if not (self.folder / "config.yaml").exists():
            return "not a run yet"
        return "in training" if self.logged() else "before its first row"


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV table, the times left out."""
    if not path.exists():
        return []
    with path.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if None not in row.values()]
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def finish(run: Run) -> float:
    """Trains it to the end, unharmed; returns the seconds it took."""
    began = time.monotonic()
    process = run.start()
    _, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"{run.words}: exit code {process.returncode}: {errors.decode()[-2000:]}")
    return time.monotonic() - began


def strike(run: Run, kind: str, after_s: float, *, in_training: bool) -> Strike | None:
    """Starts or resumes a run and strikes after some seconds; None where it had ended by then.

    in_training: the seconds count from the first row that it writes, and not from its start.
    """
    before, rows, process = run.saved(), run.logged(), run.start()
    while in_training and process.poll() is None and run.logged() <= rows:
        time.sleep(0.005)
    deadline = time.monotonic() + after_s
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    stage = run.stage()
    if process.poll() is None:
        process.send_signal(signal.SIGINT if kind == "SIGINT" else signal.SIGKILL)
        _, errors = process.communicate()
        heard = STOPPING.strip() in errors
        return Strike(kind, stage, process.returncode, lost(run, before, heard, process.returncode))
    _, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"{run.words}: it did not go on: {errors.decode()[-2000:]}")
    return None


def lost(run: Run, before: int, heard: bool, status: int) -> str:
    """What a strike cost: what had been saved before, or where Ctrl-C was heard anything at all."""
    if run.saved() < before:
        return f"went back from step {before} to {run.saved()}"
    if heard and run.saved() != run.logged():
        return f"saved at step {run.saved()}, trained to {run.logged()}"
    if heard and status not in (0, CTRL_C_ENDED):
        return f"exit code {status}"
    return ""


def struck(
    words: list[str],
    kinds: list[str],
    whole_s: float,
    train_s: float,
    scratch: Path,
    rng: random.Random,
) -> tuple[list[Run], list[Strike]]:
    """Runs that took all these blows between them, each trained to its end, and the blows."""
    runs, blows, waiting = [Run(words, scratch / "struck-0", scratch)], [], list(kinds)
    while waiting:
        if runs[-1].stage() == "complete":
            runs.append(Run(words, scratch / f"struck-{len(runs)}", scratch))
        in_training = bool(len(waiting) % 2)
        longest_s = train_s if in_training else whole_s - train_s
        blow = strike(runs[-1], waiting[0], rng.uniform(0.0, longest_s), in_training=in_training)
        if blow is not None:
            blows.append(blow)
            waiting.pop(0)
    finish(runs[-1])
    return runs, blows


def final_state(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of a run's newest checkpoint."""
    return read_arrays(sorted(folder.glob("checkpoints/step_*"))[-1] / "state.npz")


def different(one: Path, other: Path) -> list[str]:
    """Arrays of the final checkpoints and tables that are not the same to the last bit."""
    a, b = (
        read_arrays(sorted(f.glob("checkpoints/step_*"))[-1] / "state.npz") for f in (one, other)
    )
    wrong = [
        n
        for n in sorted(a.keys() | b.keys())
        if n not in a
        or n not in b
        or not np.array_equal(a[n], b[n], equal_nan=a[n].dtype.kind == "f")
    ]
    names = ("metrics.csv", "evaluation.csv")
    return wrong + [name for name in names if table(one / name) != table(other / name)]


def measure(words: list[str], kinds: list[str], scratch: Path, rng: random.Random) -> dict:
    """One kind of run: whole, struck, compared."""
    for name, source in SOURCES.items():
        if f"start={name}" in words:
            finish(Run(source, scratch / name, scratch))
    whole = Run(words, scratch / "whole", scratch)
    whole_s = finish(whole)
    with (whole.folder / "metrics.csv").open(newline="") as stream:
        first, *_, last = (float(row["train_s"]) for row in csv.DictReader(stream))
    runs, blows = struck(words, kinds, whole_s, last - first, scratch, rng)
    return {
        "sigint": sum(blow.kind == "SIGINT" for blow in blows),
        "sigkill": sum(blow.kind == "SIGKILL" for blow in blows),
        "runs": len(runs),
        "lost": [blow.lost for blow in blows if blow.lost],
        "arrays": len(final_state(whole.folder)),
        "different": [name for run in runs for name in different(whole.folder, run.folder)],
        "strikes": [blow._asdict() for blow in blows],
        "whole_s": round(whole_s, 1),
    }


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored under nohup, and inherited
    count = int(sys.argv[1]) if len(sys.argv) > 1 else STRIKES
    rng, results = random.Random(), {}
    shares = {name: [] for name in RUNS}
    for kind, (_, name) in itertools.product(
        ("SIGINT", "SIGKILL"), zip(range(count), itertools.cycle(RUNS), strict=False)
    ):
        shares[name].append(kind)
    for name, words in RUNS.items():
        scratch = Path(tempfile.mkdtemp())
        rng.shuffle(shares[name])
        results[name] = measure(words, shares[name], scratch, rng)
        shutil.rmtree(scratch)
        r = results[name]
        print(
            f"{name}: {r['sigint']} Ctrl-C, {r['sigkill']} SIGKILL on {r['runs']} runs;"
            f" lost: {r['lost']}; of {r['arrays']} arrays and 2 tables differ: {r['different']}",
            flush=True,
        )
    write_json(
        Path(__file__).parent / "results" / "resume.json",
        {"results": results, "versions": versions()},
    )
    sys.exit(any(r["different"] or r["lost"] for r in results.values()))


if __name__ == "__main__":
    main()
