"""Whether a trained policy does the task its robot was given, with an exact interval.

Trains each environment with its preset where its run folder is missing, then runs held-out
episodes and counts those within the tolerance.

Usage: python benchmarks/robots.py FOLDER [ENVIRONMENT ...]
Writes benchmarks/results/robots.json and prints the table.
"""

import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console

from robo_rl.envs.step import make
from robo_rl.files import write_json
from robo_rl.policy.contract import versions
from robo_rl.policy.stored import load_policy
from robo_rl.rollouts.metrics import METRICS, Episodes
from robo_rl.rollouts.play import episode_keys, rollout
from robo_rl.rollouts.statistics import rate
from robo_rl.rollouts.success import task_of
from robo_rl.training.config import resolve
from robo_rl.training.run import read_rows
from robo_rl.training.trainers import train

EPISODES, SEED = 200, 9_000_013
TARGET = Path(__file__).resolve().parent / "results" / "robots.json"


class Claim(NamedTuple):
    """What the preset promises; when an episode succeeds is the MDP's to say."""

    share: float  # of episodes that must succeed
    reward: str = "task"  # the layer it is trained on
    start: str | None = None  # the environment whose policy it goes on from


CLAIMS = {
    "arm-reach": Claim(0.95),
    "arm-track": Claim(0.95),
    "quadruped-velocity": Claim(0.95),
    "quadruped-rough": Claim(0.90, start="quadruped-velocity"),
    "biped-velocity": Claim(0.95),
    "quadrotor-hover": Claim(0.95),
    "quadrotor-waypoint": Claim(0.95),
    "rover-navigate": Claim(0.90, "safety"),
}


def judge(name: str, folder: Path, console: Console) -> dict[str, object]:
    """Success share of the preset's PPO policy on held-out episodes; a fall is no success."""
    run, claim = folder / name, CLAIMS[name]
    if not (run / "done.json").exists():
        resume = (run / "config.yaml").exists()
        words = {"env": name, "algo": "ppo", "reward": claim.reward, "out": str(run)}
        words |= {"start": str(folder / claim.start)} if claim.start else {}
        train(resolve(words), console, resume=resume)
    env = make(name)
    track = rollout(env, load_policy(run), episode_keys(SEED, EPISODES))
    asked = task_of(env)
    assert asked, f"{name} does not say when its task is done"
    values = METRICS[asked.metric].of(Episodes.of(env, track))
    share = rate(asked.of(env, track))
    last = read_rows(run / "evaluation.csv")[-1]
    return {
        **claim._asdict(),
        "metric": asked.metric,
        "at_most": asked.limit,
        "unit": env.mdp.goal.error_unit if env.mdp.goal else "",
        "episodes": EPISODES,
        "succeeded": share._asdict(),
        "median": float(np.median(values)),
        "falls": float(track.fell.mean()),
        "steps": last["steps"],
        "train_min": last["train_s"] / 60,
        "command": f"robo-rl train env={name} algo=ppo reward={claim.reward}"
        + (f" start=RUN of {claim.start}" if claim.start else ""),
    }


def main(folder: Path, names: list[str]) -> None:
    console = Console()
    results = json.loads(TARGET.read_text())["results"] if TARGET.exists() else {}
    for name in names or list(CLAIMS):
        results[name] = found = judge(name, folder, console)
        low, point, high = (found["succeeded"][k] for k in ("low", "point", "high"))
        console.print(
            f"{name}: {found['metric']} <= {found['at_most']} in {100 * point:.1f} %"
            f" [{100 * low:.1f}, {100 * high:.1f}] (wanted {100 * found['share']:.0f} %), median"
            f" {found['median']:.4f}, {found['train_min']:.1f} min"
        )
        write_json(TARGET, {"results": results, "versions": versions()})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
