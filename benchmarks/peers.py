"""One measurement of one contestant in a process of its own; prints {"rate": ...} as JSON.

Contestants that are not among the project's dependencies (EnvPool, SBX) run in a venv of their own,
which `make bench` creates; each is timed after a warm-up, in steps or updates per second.
"""

import json
import sys
import time

SECONDS = 5.0


def rate(advance, per_call: int, seconds: float = SECONDS) -> float:
    """Units per second of a function that does `per_call` of them, after one warm-up call."""
    advance()
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        advance()
        done += per_call
    return done / (time.perf_counter() - began)


def env_raw_batch() -> float:
    """mujoco.batch alone: 256 hoppers, random controls.

    Fallen ones put back by writing the start.
    """
    import mujoco
    import numpy as np
    from mujoco import batch

    model = mujoco.MjModel.from_xml_path(_hopper())
    sims = batch.Batch(model, nsim=256, nthread=2)
    qpos, qvel, ctrl = sims.bind("qpos"), sims.bind("qvel"), sims.bind("ctrl")
    rng = np.random.default_rng(0)

    def advance():
        for _ in range(25):
            ctrl[:] = rng.uniform(-1, 1, ctrl.shape)
            sims.step(nstep=4)
            fell = (qpos[:, 1] < 0.7) | (abs(qpos[:, 2]) > 0.2)
            qpos[fell], qvel[fell] = model.qpos0, 0

    return rate(advance, 25 * 256)


def env_robo_rl() -> float:
    """The full environment step of ours.

    Observation, three reward layers, costs, ends, fresh resets.
    """
    return _ours("safety")


def env_robo_rl_task() -> float:
    """The same with Gymnasium's reward and no more: the MDP that the peers below step."""
    return _ours("task")


def _ours(reward: str) -> float:
    import jax

    from robo_rl.envs.step import make

    env, robots, steps = make("hopper", reward), 256, 25

    @jax.jit
    def unroll(state, key):
        def one(state, key):
            action = jax.random.uniform(key, (robots, 3), minval=-1, maxval=1)
            state, outcome = env.step_autoreset(state, action)
            return state, (outcome.reward, outcome.observation, outcome.cost)

        return jax.lax.scan(one, state, jax.random.split(key, steps))

    held = [jax.jit(env.reset_batch)(jax.random.split(jax.random.key(0), robots)), 0]

    def advance():
        held[0], out = unroll(held[0], jax.random.key(held[1]))
        jax.block_until_ready(out)
        held[1] += 1

    return rate(advance, steps * robots)


def env_envpool() -> float:
    """EnvPool 1.2: 64 hoppers on 2 threads, its own recommended synchronous interface."""
    import envpool
    import numpy as np

    env = envpool.make("Hopper-v4", env_type="gymnasium", num_envs=64, num_threads=2)
    env.reset()
    rng = np.random.default_rng(0)

    def advance():
        for _ in range(50):
            env.step(rng.uniform(-1, 1, (64, 3)))

    return rate(advance, 50 * 64)


def _gymnasium(kind: str) -> float:
    import gymnasium

    env = gymnasium.make_vec("Hopper-v5", num_envs=8, vectorization_mode=kind)
    env.reset(seed=0)

    def advance():
        for _ in range(100):
            env.step(env.action_space.sample())

    return rate(advance, 100 * 8)


def env_gymnasium_sync() -> float:
    """Gymnasium's SyncVectorEnv with 8 hoppers."""
    return _gymnasium("sync")


def env_gymnasium_async() -> float:
    """Gymnasium's AsyncVectorEnv with 8 hoppers."""
    return _gymnasium("async")


def _learner(algo: str):
    import jax

    from robo_rl.envs.step import make
    from robo_rl.training.config import resolve
    from robo_rl.training.ppo import ppo
    from robo_rl.training.sac import sac

    config = resolve({"env": "hopper", "algo": algo})
    learner = {"ppo": ppo, "sac": sac}[algo](make("hopper"), config.hyper)
    held = [learner.init(jax.random.key(0))]

    def advance():
        held[0], log = learner.advance(held[0])
        jax.block_until_ready(log)

    return learner, config.hyper, advance


def ppo_robo_rl() -> float:
    """PPO training of ours at the hopper preset, environment steps per second."""
    learner, _, advance = _learner("ppo")
    for _ in range(10):
        advance()
    return rate(advance, learner.steps_per_advance, 10.0)


def ppo_sb3() -> float:
    """SB3's PPO on Gymnasium with 8 environments and SB3's own defaults otherwise."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    model = PPO("MlpPolicy", make_vec_env("Hopper-v5", 8), n_steps=256, device="cpu", seed=0)
    return rate(lambda: model.learn(2048, reset_num_timesteps=False), 2048, 10.0)


def sac_robo_rl() -> float:
    """SAC training of ours at the hopper preset, gradient updates per second.

    Environment included.
    """
    learner, hyper, advance = _learner("sac")
    for _ in range(-(-hyper.warmup // learner.steps_per_advance) + 1):
        advance()
    updates = learner.steps_per_advance // hyper.robots * hyper.updates_per_step
    return rate(advance, updates, 10.0)


def sac_products_alone() -> float:
    """The matrix products of hidden layers in one such update and nothing else, per update.

    Forward: policy on both observations, critics on two actions, targets on one. Backward: by the
    weights and by the input for the policy and both critics, by the input for the critics again.
    """
    import jax
    import jax.numpy as jnp

    batch, hidden, updates = 256, 256, 20
    products = (2 + 4 + 2) + 2 * (1 + 2) + 2
    square = jnp.eye(hidden)

    @jax.jit
    def multiply(x):
        return jax.lax.scan(lambda x, _: (x @ square, None), x, None, length=products * updates)[0]

    start = jnp.ones((batch, hidden))
    return rate(lambda: jax.block_until_ready(multiply(start)), updates)


def sac_sb3() -> float:
    """SB3's SAC with its defaults (one update per step), gradient updates per second."""
    from stable_baselines3 import SAC

    model = SAC("MlpPolicy", "Hopper-v5", learning_starts=100, device="cpu", seed=0)
    model.learn(200)
    return rate(lambda: model.learn(200, reset_num_timesteps=False), 200, 10.0)


def sac_sbx() -> float:
    """SBX's SAC (SB3's API in JAX) with its defaults, gradient updates per second."""
    from sbx import SAC

    model = SAC("MlpPolicy", "Hopper-v5", learning_starts=100, seed=0)
    model.learn(200)
    return rate(lambda: model.learn(200, reset_num_timesteps=False), 200, 10.0)


def _hopper() -> str:
    import pathlib

    import gymnasium

    return str(pathlib.Path(gymnasium.__file__).parent / "envs/mujoco/assets/hopper.xml")


if __name__ == "__main__":
    print(json.dumps({"rate": globals()[sys.argv[1]]()}))
