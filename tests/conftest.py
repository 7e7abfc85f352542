"""Compiled environments shared by the tests of one worker: JAX compilation is what costs time."""

import functools
import os
import signal

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

from robo_rl import content
from robo_rl.envs.step import Environment, make
from robo_rl.policy.stored import Policy
from robo_rl.training import run
from tests.mutants import random_network

LONGEST = (
    "test_console.py",
    "test_contract.py",
    "test_study.py",
    "test_your_parts.py",
    "test_train.py",
    "test_devices.py",
    "test_ci_workflow.py",
    "test_curriculum.py",
    "test_interop.py",
    "test_api.py",
    "test_nothing_is_lost.py",
    "test_gap.py",
)
HISTORY_S = 0.05
PLANT_CHANGES = {  # a departure of every plant field, large enough to be seen in a few steps
    "mass_scale": 1.3,
    "mass_offset_kg": 0.7,
    "com_offset_m": 0.05,
    "friction_scale": 0.05,
    "damping_scale": 2.0,
    "armature_scale": 1.5,
    "friction_loss": 2.0,
    "gain_scale": 0.5,
    "force_limit_scale": 0.1,
    "gravity_offset_mps2": 1.0,
    "wind_w_mps": 3.0,
}


def pytest_configure() -> None:
    """Has the tests hear Ctrl-C, which some send: a shell in the background has them ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the files that take longest, so that no worker is left alone with one."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture(scope="session", autouse=True)
def one_loop_of_a_kind():
    """Runs of equal settings train with the same compiled loop."""
    with pytest.MonkeyPatch.context() as patch:
        for algo in ("ppo", "sac"):
            patch.setattr(run, algo, functools.lru_cache(maxsize=8)(getattr(run, algo)))
        yield


@pytest.fixture(scope="session")
def hopper() -> Environment:
    return make("hopper", "safety")


@pytest.fixture(scope="session")
def hopper_step(hopper):
    return jax.jit(hopper.step)


@pytest.fixture(scope="session")
def disturbed() -> Environment:
    """A hopper on which everything can be injected."""
    return make("hopper", "safety", history_s=HISTORY_S)


@pytest.fixture(scope="session")
def disturbed_reset(disturbed):
    return jax.jit(disturbed.reset_batch)


@pytest.fixture(scope="session")
def disturbed_step(disturbed):
    return jax.jit(disturbed.step_batch)


def random_policy(env: Environment, seed: int = 0, scale: float = 0.3, **contract) -> Policy:
    """A small network with random weights, for an environment."""
    network = random_network(env, seed, scale, width=8)
    from robo_rl.policy.contract import describe

    return Policy(network, {**describe(env), "algo": "ppo", "seed": seed, **contract})


@pytest.fixture()
def policy(hopper):
    return random_policy(hopper)


@pytest.fixture()
def run_folder(tmp_path, hopper):
    """A run folder that holds nothing but a policy."""
    from robo_rl.policy.stored import save_policy

    made = random_policy(hopper)
    save_policy(tmp_path / "run" / "policy", made.network, made.contract)
    return tmp_path / "run"


@pytest.fixture(autouse=True)
def no_run_stays_open():
    """Robots of imported runs and folders that `check` adds are known within one test only."""
    own = os.environ.get(content.OWN)
    yield
    os.environ.pop(content.RUNS, None)
    os.environ.pop(content.OWN, None)
    if own is not None:
        os.environ[content.OWN] = own
