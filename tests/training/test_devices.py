"""Several devices train as one does: in a process of its own, since JAX counts devices once."""

import subprocess
import sys

import pytest

from robo_rl.errors import UserError
from robo_rl.training import devices

SCRIPT = """
import jax, jax.numpy as jnp, mujoco
from robo_rl.envs.step import make
from robo_rl.training import config, run
from robo_rl.training.ppo import ppo
tiny = {"robots": 4, "unroll": 4, "minibatches": 2, "epochs": 1, "hidden": [4], "steps": 64}
# one stage of physics a step instead of four, and no solver: a third of the program to compile
physics = make("inverted-pendulum").robot.model.opt
physics.integrator = mujoco.mjtIntegrator.mjINT_EULER
physics.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONSTRAINT
made = config.resolve({"env": "inverted-pendulum", "algo": "ppo", "engine": "mjx", "ppo": tiny})
env, both = run.build(made)
assert env.engine.bare[0].opt.integrator == physics.integrator
alone = ppo(env, made.hyper)
start = both.init(jax.random.key(0))
gathered = jax.device_put(jax.tree.map(jnp.copy, start), jax.devices()[0])
for learner, state in ((alone, gathered), (both, start)):
    for _ in range(2):
        state, log = learner.advance(state)
    print(len(state.robots.reward.sharding.device_set))
    print(float(log["learn/total_loss"]), float(log["reward/alive"]))
"""


def test_two_devices_share_the_robots_and_learn_the_same():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={
            "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
            "JAX_PLATFORMS": "cpu",
            "PATH": "",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()[-4:]  # before them MJX may say that warp is missing
    alone, one, both, two = [[float(word) for word in line.split()] for line in lines]
    assert (alone, both) == ([1.0], [2.0])
    assert two == pytest.approx(one, rel=1e-3)


def test_robots_that_cannot_be_divided_are_refused(monkeypatch):
    monkeypatch.setattr(devices.jax, "devices", lambda: [0, 1, 2])
    with pytest.raises(UserError, match="robots=64 cannot be divided evenly among 3 devices"):
        devices.shard_over_devices(None, 64)
