"""Wall clock until hopper's deterministic evaluation reaches a return.

Ours against SB3 with RL Zoo's settings.

Both are evaluated on Gymnasium's own Hopper-v5, ten episodes, every 20 000 steps; evaluation time
does not count. Usage: python benchmarks/time_to_return.py [RETURN] [MOST_SECONDS_FOR_SB3] [SEED].
"""

import sys
import time
from pathlib import Path

import gymnasium
import jax
import numpy as np

from robo_rl.envs.step import make
from robo_rl.files import write_json
from robo_rl.policy.contract import versions
from robo_rl.policy.stored import Policy
from robo_rl.training.config import resolve
from robo_rl.training.ppo import ppo

EVERY, EPISODES = 20_000, 10


def episode_returns(act) -> np.ndarray:
    """Returns of a few episodes of Gymnasium's Hopper-v5."""
    env, totals = gymnasium.make("Hopper-v5"), []
    for seed in range(EPISODES):
        seen, _ = env.reset(seed=1000 + seed)
        total, over = 0.0, False
        while not over:
            seen, reward, terminated, truncated, _ = env.step(act(seen))
            total, over = total + float(reward), terminated or truncated
        totals.append(total)
    return np.array(totals)


def ours(goal: float, seed: int) -> list[dict[str, float]]:
    began = time.perf_counter()
    config = resolve({"env": "hopper", "algo": "ppo"})
    learner = ppo(make("hopper"), config.hyper)
    state, steps, spent, rows, after = learner.init(jax.random.key(seed)), 0, 0.0, [], EVERY
    spent = time.perf_counter() - began
    while steps < config.steps:
        began = time.perf_counter()
        state, log = learner.advance(state)
        jax.block_until_ready(log)
        spent, steps = spent + time.perf_counter() - began, steps + learner.steps_per_advance
        if steps >= after:
            after += EVERY
            reached = float(
                episode_returns(Policy(learner.network(state), {"env": "hopper"})).mean()
            )
            rows.append({"steps": steps, "train_s": spent, "return": reached})
            print("ours", rows[-1], flush=True)
            if reached >= goal:
                break
    return rows


def sb3(goal: float, most_s: float, seed: int) -> list[dict[str, float]]:
    """RL Zoo's tuned PPO for Hopper: normalised observations and rewards, one environment."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecNormalize
    from torch import nn

    began = time.perf_counter()
    env = VecNormalize(make_vec_env("Hopper-v5", 1, seed=seed), gamma=0.999)
    model = PPO(
        "MlpPolicy",
        env,
        batch_size=32,
        n_steps=512,
        gamma=0.999,
        learning_rate=9.80828e-05,
        ent_coef=0.00229519,
        clip_range=0.2,
        n_epochs=5,
        gae_lambda=0.99,
        max_grad_norm=0.7,
        vf_coef=0.835671,
        seed=seed,
        device="cpu",
        policy_kwargs={
            "log_std_init": -2,
            "ortho_init": False,
            "activation_fn": nn.ReLU,
            "net_arch": {"pi": [256, 256], "vf": [256, 256]},
        },
    )
    rows, spent = [], time.perf_counter() - began
    while spent < most_s:
        began = time.perf_counter()
        model.learn(EVERY, reset_num_timesteps=not rows)
        spent += time.perf_counter() - began
        reached = float(
            episode_returns(
                lambda o: model.predict(env.normalize_obs(o), deterministic=True)[0]
            ).mean()
        )
        rows.append({"steps": model.num_timesteps, "train_s": spent, "return": reached})
        print("sb3", rows[-1], flush=True)
        if reached >= goal:
            break
    return rows


def main(goal: float, most_s: float, seed: int) -> None:
    found = {"robo_rl": ours(goal, seed), "sb3": sb3(goal, most_s, seed)}
    reached = {name: rows[-1]["return"] >= goal for name, rows in found.items()}
    ratio = found["sb3"][-1]["train_s"] / found["robo_rl"][-1]["train_s"]
    text = f"{ratio:.1f}" if reached["sb3"] else f"more than {ratio:.1f} (SB3 had not reached it)"
    print(f"SB3's wall clock to {goal:g} over ours: {text}")
    result = {
        "goal": goal,
        "seed": seed,
        "rows": found,
        "reached": reached,
        "sb3_over_ours": ratio,
        "versions": versions(),
    }
    write_json(Path(__file__).parent / "results" / "time_to_return.json", result)


if __name__ == "__main__":
    given = [float(word) for word in sys.argv[1:]]
    main(
        *(given + [2300.0, 900.0, 0][len(given) :])[:2],
        int((given + [2300.0, 900.0, 0][len(given) :])[2]),
    )
