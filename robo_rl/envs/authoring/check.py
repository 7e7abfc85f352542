"""The contract that every environment keeps on every engine; `robo-rl envs check NAME` runs it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from robo_rl.envs.step import Environment, State, make
from robo_rl.errors import UserError
from robo_rl.rewards.layers import Weighted

ROBOTS, STEPS = 4, 40
MAY_BE_CONSTANT = ("qfrc_constraint", "sin", "cos")  # joints against which nothing pushes


class Finding(NamedTuple):
    """One sentence of the contract and whether it holds."""

    claim: str
    holds: bool
    detail: str


class Rollouts(NamedTuple):
    """Random-action episodes of a few robots: the first observations and every step's outcome."""

    start: np.ndarray  # [ROBOTS, observation]
    steps: State  # leaves [STEPS, ROBOTS, ...]


def roll(env: Environment, steps: int = STEPS) -> dict[int, Rollouts]:
    """The rollouts of seed 0 twice (keys 0 and -1) and of seed 1; compiled once."""

    def run(key: jax.Array) -> tuple[jax.Array, State]:
        def one(state: State, key: jax.Array) -> tuple[State, State]:
            action = jax.random.uniform(key, (ROBOTS, env.action_size), minval=-1.0)
            return env.step_autoreset(state, action)

        start = env.reset_batch(jax.random.split(key, ROBOTS))
        _, outcomes = jax.lax.scan(one, start, jax.random.split(key, steps))
        return start.observation, outcomes

    jitted = jax.jit(run)
    seeds = {0: 0, -1: 0, 1: 1}
    return {name: Rollouts(*jitted(jax.random.key(seed))) for name, seed in seeds.items()}


def check(name: str, engine: str = "mujoco", steps: int = STEPS) -> list[Finding]:
    """Every sentence of the contract for an environment with all its reward layers."""
    env = make(name, "safety", engine=engine)
    runs = roll(env, steps)
    return [*_random(runs), *_observed(env, runs[0]), *_rewarded(env, runs[0])]


def demand(findings: list[Finding]) -> None:
    """Raises UserError with every sentence that does not hold."""
    broken = [f"{f.claim} ({f.detail})" for f in findings if not f.holds]
    if broken:
        raise UserError("the contract is broken: " + "; ".join(broken) + ".")


def _random(runs: dict[int, Rollouts]) -> list[Finding]:
    first, again, other = (np.asarray(runs[k].steps.observation) for k in (0, -1, 1))
    start = np.unique(np.asarray(runs[0].start), axis=0)
    return [
        Finding("a seed fixes the trajectory", np.array_equal(first, again), "to the last bit"),
        Finding("another seed changes it", not np.array_equal(first, other), "seeds 0 and 1"),
        Finding("resets vary", len(start) == ROBOTS, f"{len(start)} of {ROBOTS} starts differ"),
    ]


def _observed(env: Environment, run: Rollouts) -> list[Finding]:
    seen = np.asarray(run.steps.observation)
    spread, at, constant = seen.std(axis=(0, 1)), 0, []
    for entry, size in zip(env.mdp.observe, env.observation_sizes, strict=True):
        if not entry.name.startswith(MAY_BE_CONSTANT) and (spread[at : at + size] == 0).any():
            constant.append(entry.name)
        at += size
    crashed = int(np.asarray(run.steps.error).sum())
    return [
        Finding("observations are finite", bool(np.isfinite(seen).all()), "random actions"),
        Finding("no observation is constant", not constant, ", ".join(constant) or "none"),
        Finding("physics stays finite", crashed == 0, f"{crashed} errors"),
    ]


def _rewarded(env: Environment, run: Rollouts) -> list[Finding]:
    o = run.steps
    total = sum(o.terms.values(), jnp.float32(0.0))
    costs = {name: np.asarray(cost) for name, cost in o.costs.items()}
    odd = [name for name, cost in costs.items() if not np.isin(cost, (0.0, 1.0)).all()]
    paying = [
        w.name
        for w in env.rewards.weighted
        if w.layer != "task" and (np.asarray(o.terms[w.name]) > 0).any()
    ]
    outside = [w.name for w in env.rewards.weighted if not _within(np.asarray(o.terms[w.name]), w)]
    adds = np.allclose(total, o.reward, rtol=1e-4, atol=1e-4)
    sums = np.allclose(sum(costs.values()), o.cost, rtol=1e-6) if costs else True
    return [
        Finding("terms sum to the reward", adds, "reward/..."),
        Finding("every term is in its range", not outside, ", ".join(outside) or "all"),
        Finding("costs sum to the cost", bool(sums), "cost/..."),
        Finding("a cost is 0 or 1 on every step", not odd, ", ".join(odd) or "all"),
        Finding("energy and safety never pay", not paying, ", ".join(paying) or "none"),
    ]


def _within(values: np.ndarray, w: Weighted) -> bool:
    """Whether a weighted term stays within the range it declares, but for rounding."""
    low, high = w.bounds
    slack = 1e-5 * abs(w.weight)
    return bool(((values >= low - slack) & (values <= high + slack)).all())
