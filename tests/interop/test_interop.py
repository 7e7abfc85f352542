"""The same MDP through Gymnasium vectors, Stable-Baselines3 and Brax."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brax.envs.wrappers import training as brax_wrappers
from rich.console import Console

from robo_rl import errors
from robo_rl.envs.step import make
from robo_rl.interop.brax import BraxEnv
from robo_rl.interop.sb3 import RobotVecEnv
from robo_rl.policy.stored import load_policy


def test_a_gymnasium_vector_keeps_the_terminal_observation():
    mode = gymnasium.vector.AutoresetMode.SAME_STEP
    envs = gymnasium.make_vec("robo_rl/hopper-v1", num_envs=3, reward="safety", autoreset_mode=mode)
    seen, _ = envs.reset(seed=0)
    assert seen.shape == (3, 11) and envs.observation_space.contains(seen)
    for _ in range(150):
        seen, reward, terminated, truncated, info = envs.step(np.ones((3, 3), np.float32))
        if terminated.any():
            break
    fallen = int(np.flatnonzero(terminated)[0])
    assert info["_final_obs"][fallen] and not truncated[fallen]
    assert (
        info["final_obs"][fallen][0] < 1.2 < seen[fallen][0]
        or abs(info["final_obs"][fallen][1]) > 0.19
    )
    assert "cost/velocity" in info and "reward/alive" in info


def test_sb3_gets_the_terminal_observation_and_who_was_cut_off():
    robots = RobotVecEnv(make("reacher"), 2)
    robots.reset()
    for _ in range(50):
        seen, reward, done, infos = robots.step(np.zeros((2, 2), np.float32))
    assert done.all() and all(info["TimeLimit.truncated"] for info in infos)
    assert not np.allclose(infos[0]["terminal_observation"], seen[0])
    assert infos[0]["episode"]["l"] == 50


def test_brax_wrappers_step_the_same_trajectory(hopper):
    env = brax_wrappers.VmapWrapper(BraxEnv(hopper))
    keys = jax.random.split(jax.random.key(0), 2)
    state = jax.jit(env.reset)(jax.vmap(jax.random.key_data)(keys))
    ours = jax.jit(hopper.reset_batch)(keys)
    step, our_step = jax.jit(env.step), jax.jit(hopper.step_batch)
    for k in range(5):
        action = jnp.full((2, 3), 0.1 * k)
        state, ours = step(state, action), our_step(ours, action)
        np.testing.assert_array_equal(state.obs, ours.observation)
        np.testing.assert_array_equal(state.reward, ours.reward)
    assert env.observation_size == 11 and env.action_size == 3


def test_brax_training_runs_on_it():
    from brax.training.agents.ppo import train as brax_ppo

    _, _, metrics = brax_ppo.train(
        environment=BraxEnv(make("inverted-pendulum")),
        num_timesteps=256,
        episode_length=50,
        num_envs=8,
        batch_size=8,
        num_minibatches=1,
        unroll_length=8,
        num_updates_per_batch=1,
        num_evals=2,
        num_eval_envs=4,
    )
    assert isinstance(metrics, dict)


@pytest.mark.parametrize("algo", ["ppo", "sac"])
def test_sb3_trains_and_its_policy_is_stored_in_the_same_format(algo, tmp_path):
    from robo_rl.training import config, sb3

    tiny = {
        "ppo": {
            "robots": 4,
            "unroll": 16,
            "minibatches": 2,
            "epochs": 1,
            "hidden": [8],
            "steps": 128,
        },
        "sac": {
            "robots": 2,
            "updates_per_step": 1,
            "batch": 8,
            "warmup": 16,
            "hidden": [8],
            "steps": 64,
        },
    }[algo]
    given = {
        "env": "inverted-pendulum",
        "algo": algo,
        "trainer": "sb3",
        "out": str(tmp_path / "run"),
    }
    resolved = config.resolve({**given, "eval_points": 1, "eval_episodes": 2, algo: tiny})
    kept = {}
    monkey = sb3.network_of

    def remember(model):
        kept["model"] = model
        return monkey(model)

    sb3.network_of = remember
    try:
        folder = sb3.train(resolved, Console(quiet=True))
    finally:
        sb3.network_of = monkey
    policy, model = load_policy(folder), kept["model"]
    seen = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    normal = model.get_vec_normalize_env().normalize_obs(seen)
    theirs, _ = model.predict(normal, deterministic=True)
    np.testing.assert_allclose(policy(seen), theirs, rtol=0, atol=1e-5)
    assert policy.contract["trainer"] == "sb3" and (folder / "evaluation.csv").is_file()
    with pytest.raises(errors.UserError, match="already holds a run"):
        sb3.train(resolved, Console(quiet=True))
