"""Policies trained on C MuJoCo, run on the other engines: returns, falls, drift of the states.

Usage: python benchmarks/transfer.py [ENGINE ...] RUN ...; all other engines if none is named.
Each run folder's policy runs the same held-out episodes on every engine, and one open-loop
trajectory of 100 control steps with the same actions from the same state.
Writes benchmarks/results/transfer.json and prints the table.
"""

import itertools
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from robo_rl.envs.step import Environment, make
from robo_rl.files import write_json
from robo_rl.policy.contract import versions
from robo_rl.policy.stored import Policy, load_policy
from robo_rl.rollouts.play import episode_keys, rollout
from robo_rl.rollouts.statistics import CONFIDENCE, Interval

EPISODES, SEED, STEPS = {"mjx": 16, "bullet": 32}, 9_000_017, 100
RESAMPLES = 2000
SHOWN = (1, 10, 50, 100)
TARGET = Path(__file__).resolve().parent / "results" / "transfer.json"


def trajectory(env: Environment, actions: np.ndarray) -> np.ndarray:
    """Joint positions [steps, nq] under fixed actions from a start of the task, at rest."""
    model, key = env.robot.model, jax.random.key(0)
    qpos, _ = env.mdp.reset.draw(env.robot, key, jnp.float32(1.0))
    physics_state, readout = env.engine.place(np.asarray(qpos, float), np.zeros(model.nv))
    start = env.begin(key, None, jnp.asarray(physics_state), readout)

    @jax.jit
    def unroll(state):
        def one(state, action):
            state = env.step(state, action)
            return state, state.signals.qpos

        return jax.lax.scan(one, state, actions)[1]

    return np.asarray(unroll(start))


def ratio(here: np.ndarray, there: np.ndarray) -> Interval:
    """Mean return there / here over the same episodes, with its paired bootstrap interval."""
    rows = np.random.default_rng(SEED).integers(here.size, size=(RESAMPLES, here.size))
    spread = there[rows].mean(axis=1) / here[rows].mean(axis=1)
    low, high = np.quantile(spread, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(low), float(there.mean() / here.mean()), float(high))


def study(run: Path, engine: str) -> dict[str, object]:
    """One policy at home and on another engine."""
    policy: Policy = load_policy(run)
    name = str(policy.contract["env"])
    home, away = make(name), make(name, engine=engine)
    keys = episode_keys(SEED, EPISODES[engine])
    here, there = (rollout(env, policy, keys) for env in (home, away))
    rng = np.random.default_rng(SEED)
    actions = rng.uniform(-1, 1, (STEPS, home.action_size)).astype(np.float32)
    apart = np.abs(trajectory(home, actions) - trajectory(away, actions)).max(axis=1)
    mean_here, mean_there = (float(np.mean(t.episode_return)) for t in (here, there))
    return {
        "env": name,
        "engine": engine,
        "episodes": EPISODES[engine],
        "return": mean_here,
        "return_there": mean_there,
        "ratio": ratio(here.episode_return, there.episode_return)._asdict(),
        "falls": float(here.fell.mean()),
        "falls_there": float(there.fell.mean()),
        "drift": {str(k): float(apart[k - 1]) for k in SHOWN},
    }


def main(words: list[str]) -> None:
    engines = [word for word in words if word in EPISODES] or list(EPISODES)
    runs = [Path(word) for word in words if word not in EPISODES]
    for run, engine in itertools.product(runs, engines):
        found = study(run, engine)
        results = json.loads(TARGET.read_text())["results"] if TARGET.exists() else {}
        results[f"{found['env']} on {engine}"] = found
        write_json(TARGET, {"results": results, "versions": versions()})
        here, there = found["return"], found["return_there"]
        kept = Interval(**found["ratio"])
        print(f"{found['env']}: {here:.1f} on mujoco, {there:.1f} on {engine}, ratio {kept}")
        print(f"  drift of qpos by step: {found['drift']}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
