"""Policies trained on C MuJoCo, run on the other engines: returns, falls, drift of the states.

Usage: python benchmarks/transfer.py RUN ...
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

from robo_rl.contract import versions
from robo_rl.envs.step import Environment, make
from robo_rl.files import write_json
from robo_rl.policy import Policy, load_policy
from robo_rl.safety_eval.rollout import episode_keys, rollout

EPISODES, SEED, STEPS = {"mjx": 8, "bullet": 16}, 9_000_017, 100
SHOWN = (1, 10, 50, 100)
TARGET = Path(__file__).resolve().parent / "results" / "transfer.json"


def trajectory(env: Environment, actions: np.ndarray) -> np.ndarray:
    """Joint positions [steps, nq] under fixed actions from the robot's home, at rest."""
    model = env.robot.model
    bits, readout = env.engine.place(env.robot.qpos0, np.zeros(model.nv))
    start = env.begin(jax.random.key(0), None, jnp.asarray(bits), readout)

    @jax.jit
    def unroll(state):
        def one(state, action):
            state = env.step(state, action)
            return state, state.signals.qpos

        return jax.lax.scan(one, state, actions)[1]

    return np.asarray(unroll(start))


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
        "ratio": mean_there / mean_here,
        "falls": float(here.fell.mean()),
        "falls_there": float(there.fell.mean()),
        "drift": {str(k): float(apart[k - 1]) for k in SHOWN},
    }


def main(runs: list[Path]) -> None:
    results = json.loads(TARGET.read_text())["results"] if TARGET.exists() else {}
    for run, engine in itertools.product(runs, EPISODES):
        found = study(run, engine)
        results[f"{found['env']} on {engine}"] = found
        write_json(TARGET, {"results": results, "versions": versions()})
        here, there, ratio = (found[key] for key in ("return", "return_there", "ratio"))
        print(f"{found['env']}: {here:.1f} on mujoco, {there:.1f} on {engine}, ratio {ratio:.3f}")
        print(f"  drift of qpos by step: {found['drift']}", flush=True)


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]])
