"""Engine mjx against raw MJX and Brax's own PPO, by batch size, in one run.

Usage: python benchmarks/gpu.py [--toy] [ENVIRONMENT ...]
On a GPU: hopper, ant, humanoid and quadruped-velocity at 1024 to 32768 robots. --toy runs one
environment at 8 robots, to see on a CPU that everything works; its figures say nothing of speed.
Writes benchmarks/results/gpu.json (gpu-toy.json with --toy) and prints the table.
"""

import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from mujoco import mjx

from robo_rl.envs.step import make
from robo_rl.files import write_json
from robo_rl.interop.brax import BraxEnv
from robo_rl.policy.contract import versions
from robo_rl.training.config import resolve
from robo_rl.training.ppo import ppo

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = ("hopper", "ant", "humanoid", "quadruped-velocity")
SIZES, STEPS, UNROLL = (1024, 4096, 16384, 32768), 50, 10
TOY_SIZES, TOY_STEPS = (8,), 5


def rate(advance, per_call: int) -> float:
    """Units per second of the second call; the first one compiles."""
    jax.block_until_ready(advance())
    began = time.perf_counter()
    jax.block_until_ready(advance())
    return per_call / (time.perf_counter() - began)


def raw_mjx(name: str, robots: int, steps: int) -> float:
    """Control steps per second of mjx.step alone, zero control, no reset."""
    env = make(name, engine="mjx")
    engine: Any = env.engine
    model, blank = engine.bare
    data = jax.vmap(lambda _: mjx.forward(model, blank))(jnp.arange(robots))

    @jax.jit
    def unroll(data):
        def one(data, _):
            return jax.vmap(lambda d: mjx.step(model, d))(data), None

        return jax.lax.scan(one, data, None, length=steps * engine.substeps)[0].qpos

    return rate(lambda: unroll(data), steps * robots)


def environment(name: str, robots: int, steps: int) -> float:
    """Control steps per second of the full environment step, safety layer, with resets."""
    env = make(name, "safety", engine="mjx")

    @jax.jit
    def unroll(state, key):
        def one(state, key):
            action = jax.random.uniform(key, (robots, env.action_size), minval=-1, maxval=1)
            state, outcome = env.step_autoreset(state, action)
            return state, outcome.reward

        return jax.lax.scan(one, state, jax.random.split(key, steps))[1]

    start = jax.jit(env.reset_batch)(jax.random.split(jax.random.key(0), robots))
    return rate(lambda: unroll(start, jax.random.key(1)), steps * robots)


def _hyper(robots: int) -> dict[str, Any]:
    return {"robots": robots, "unroll": UNROLL, "minibatches": 8, "epochs": 4, "steps": 10**9}


def our_ppo(name: str, robots: int) -> float:
    """Environment steps per second of our PPO, one advance after compilation."""
    config = resolve({"env": name, "algo": "ppo", "ppo": _hyper(robots)})
    learner = ppo(make(name, engine="mjx"), config.hyper)
    held = [learner.init(jax.random.key(0))]

    def advance():
        held[0], log = learner.advance(held[0])
        return log

    return rate(advance, learner.steps_per_advance)


def brax_ppo(name: str, robots: int) -> float:
    """Environment steps per second of brax.training's PPO on the same environment and sizes.

    The fastest of four stretches: its first two compile.
    """
    from brax.training.agents.ppo import train

    rates: list[float] = []
    steps = robots * UNROLL * 16
    train.train(
        environment=BraxEnv(make(name, engine="mjx")),
        num_timesteps=4 * steps,
        episode_length=make(name).mdp.episode_steps,
        num_envs=robots,
        batch_size=robots // 8,
        num_minibatches=8,
        unroll_length=UNROLL,
        num_updates_per_batch=4,
        num_evals=5,
        num_eval_envs=8,
        normalize_observations=True,
        progress_fn=lambda _, metrics: rates.append(float(metrics.get("training/sps", 0.0))),
    )
    return max(rates)


def main(toy: bool, names: list[str]) -> None:
    target = HERE / "results" / ("gpu-toy.json" if toy else "gpu.json")
    results: dict[str, Any] = {}
    sizes, steps = (TOY_SIZES, TOY_STEPS) if toy else (SIZES, STEPS)
    for name in names or (["inverted-pendulum"] if toy else list(ENVIRONMENTS)):
        for robots in sizes:
            row = {
                "raw_mjx": raw_mjx(name, robots, steps),
                "environment": environment(name, robots, steps),
                "ppo_robo_rl": our_ppo(name, robots),
                "ppo_brax": brax_ppo(name, robots),
            }
            results.setdefault(name, {})[str(robots)] = row
            shown = "  ".join(f"{key} {value:12,.0f}" for key, value in row.items())
            print(f"{name:20s} {robots:6d} robots  {shown}", flush=True)
            write_json(
                target,
                {
                    "results": results,
                    "devices": [str(d.device_kind) for d in jax.devices()],
                    "versions": versions(),
                },
            )


if __name__ == "__main__":
    words = sys.argv[1:]
    main("--toy" in words, [w for w in words if w != "--toy"])
