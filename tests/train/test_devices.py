"""Several devices train as one does: in a process of its own, since JAX counts devices once."""

import subprocess
import sys

import pytest

from robo_rl.content import UserError
from robo_rl.train import devices

SCRIPT = """
import jax, numpy as np
from robo_rl.train import config, run
tiny = {"robots": 4, "unroll": 4, "minibatches": 2, "epochs": 1, "hidden": [4], "steps": 64}
made = config.resolve({"env": "inverted-pendulum", "algo": "ppo", "engine": "mjx", "ppo": tiny})
_, learner = run.build(made)
state, log = learner.advance(learner.init(jax.random.key(0)))
state, log = learner.advance(state)
print(len(jax.devices()), len(state.robots.reward.sharding.device_set))
print(float(log["learn/total_loss"]), float(log["reward/alive"]))
"""


def trained(count):
    flags = f"--xla_force_host_platform_device_count={count}"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [[float(word) for word in line.split()] for line in done.stdout.splitlines()]


def test_two_devices_share_the_robots_and_learn_the_same():
    one, two = trained(1), trained(2)
    assert one[0] == [1, 1] and two[0] == [2, 2]
    assert two[1] == pytest.approx(one[1], rel=1e-3)


def test_robots_that_cannot_be_divided_are_refused(monkeypatch):
    monkeypatch.setattr(devices.jax, "devices", lambda: [0, 1, 2])
    with pytest.raises(UserError, match="robots=64 cannot be divided evenly among 3 devices"):
        devices.spread(None, 64)
