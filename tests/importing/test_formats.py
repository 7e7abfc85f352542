"""One hopper's policy through every format: what is imported earns what the original earns."""

import sys
from pathlib import Path

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import robo_rl
from robo_rl.policy import external
from robo_rl.rollouts.play import episode_keys, rollout
from tests.commands import as_a_process, here
from tests.policy.originals import CODE_NAMES, FILES, REMEMBERING, by_torch, onnx_unknown

EPISODES, STEPS = 4, 62  # half a second of a hopper


@pytest.fixture()
def importable(tmp_path, monkeypatch):
    """A folder whose modules are found, and forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(external, "_trusted", set())
    yield
    sys.modules.pop("controller", None)
    external._loaded.cache_clear()


def imported(name: str, folder: Path):
    """(run folder, original) of a format, imported by the command."""
    source, original = FILES[name](folder)
    trust = ["trust=true"] if name in CODE_NAMES else []
    done = here("import", source, "env=hopper", "out=run", *trust, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "run", original


@pytest.fixture(scope="module")
def returns(hopper):
    """The return of each episode under begin() -> act(observations)."""
    reset, step = jax.jit(hopper.reset_batch), jax.jit(hopper.step_batch)

    def measure(begin):
        state, act, total = reset(episode_keys(5, EPISODES)), begin(), np.zeros(EPISODES)
        running = np.ones(EPISODES, bool)
        for _ in range(STEPS):
            state = step(state, jnp.asarray(act(np.asarray(state.observation)), jnp.float32))
            total += np.where(running, np.asarray(state.reward), 0.0)
            running &= ~np.asarray(state.terminated)
        return total

    return measure


def ours(policy):
    """begin() of a stored policy, in NumPy."""

    def begin():
        memory = policy.begin(EPISODES)

        def act(seen):
            nonlocal memory
            action, memory = policy.act(seen, memory)
            return action

        return act

    return begin


@pytest.mark.parametrize("name", FILES)
def test_an_imported_policy_earns_what_the_original_earns(name, returns, tmp_path, importable):
    run, original = imported(name, tmp_path)
    policy = robo_rl.load_policy(run)
    assert policy.remembers is (name in REMEMBERING)
    earned = returns(original)
    assert np.ptp(earned) > 1e-3
    np.testing.assert_allclose(returns(ours(policy)), earned, rtol=1e-5)


@pytest.mark.parametrize("name", FILES)
def test_numpy_and_jax_give_the_same_and_a_batch_what_each_robot_alone_gives(
    name, tmp_path, importable
):
    run, original = imported(name, tmp_path)
    policy = robo_rl.load_policy(run)
    program = policy.program
    step = jax.jit(lambda p, m, x: program.act(jnp, p, m, x))
    act, memory, alone = original(), policy.begin(3), [policy.begin() for _ in range(3)]
    traced = jax.tree.map(jnp.asarray, memory)
    for seen in np.random.default_rng(0).normal(size=(5, 3, 11)).astype(np.float32):
        action, memory = policy.act(seen, memory)
        made, traced = step(policy.parameters, traced, seen)
        one_by_one = []
        for k, row in enumerate(seen):
            given, alone[k] = policy.act(row, alone[k])
            one_by_one.append(given)
        np.testing.assert_allclose(action, act(seen), atol=1e-5)
        np.testing.assert_allclose(made, action, atol=1e-5)
        np.testing.assert_allclose(one_by_one, action, atol=1e-5)


@pytest.mark.parametrize("name", ["rsl_rl LSTM", "TorchScript unknown with memory"])
def test_a_rollout_begins_every_episode_with_an_empty_memory(
    name, hopper, returns, tmp_path, importable
):
    run, _ = imported(name, tmp_path)
    policy = robo_rl.load_policy(run)
    keys = episode_keys(5, EPISODES)
    first, again = rollout(hopper, policy, keys), rollout(hopper, policy, keys)
    np.testing.assert_array_equal(first.reward, again.reward)
    earned = np.where(first.alive, first.reward, 0.0)[:STEPS].sum(axis=0)
    np.testing.assert_allclose(earned, returns(ours(policy)), rtol=1e-5)


def test_a_policy_with_a_memory_in_gymnasium(tmp_path, importable):
    run, original = imported("rsl_rl GRU, normaliser", tmp_path)
    policy, env = robo_rl.load_policy(run), gymnasium.make("robo_rl/hopper-v1")
    for seed in (0, 1):
        seen, _ = env.reset(seed=seed)
        memory, act = policy.begin(), original()
        for _ in range(5):
            action, memory = policy.act(seen, memory)
            np.testing.assert_allclose(action, act(seen[None])[0], atol=1e-5)
            seen, *_ = env.step(action)
    with pytest.raises(robo_rl.UserError, match=r"policy\.act\(observation, memory\)"):
        policy(seen)


def test_the_console_command_imports(tmp_path):
    source, _ = FILES["ONNX Elu"](tmp_path)
    done = as_a_process("import", source, "env=hopper", "out=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert robo_rl.load_policy(tmp_path / "run").contract["env"] == "hopper"
    again = as_a_process("import", source, "env=hopper", "out=run", cwd=tmp_path)
    assert again.returncode == 64 and "already holds a run" in again.stderr


def test_a_function_runs_only_where_it_is_trusted_and_as_it_was_imported(
    tmp_path, importable, monkeypatch
):
    source, _ = FILES["function of one"](tmp_path)
    words = ("import", source, "env=hopper", "out=run")
    refused = here(*words, cwd=tmp_path)
    assert refused.returncode == 64 and "trust=true" in refused.stderr
    assert "controller" not in sys.modules and not (tmp_path / "run").exists()
    assert here(*words, "trust=true", cwd=tmp_path).returncode == 0
    external._trusted.clear()
    refused = here("safety", "run", cwd=tmp_path)
    assert refused.returncode == 64 and external.TRUST in refused.stderr
    monkeypatch.setenv(external.TRUST, "1")
    assert robo_rl.load_policy(tmp_path / "run")(np.zeros(11)).shape == (3,)
    (tmp_path / "controller.py").write_text((tmp_path / "controller.py").read_text() + "#\n")
    with pytest.raises(robo_rl.UserError, match="changed since it was imported"):
        robo_rl.load_policy(tmp_path / "run")


BY_SHAPE = """
def act(observation):
    return observation[:3] if observation.ndim == 1 else observation[:, 3:6]
"""


def test_a_function_that_gives_a_batch_something_else_is_asked_one_by_one(tmp_path, importable):
    (tmp_path / "controller.py").write_text(BY_SHAPE)
    done = here("import", "controller:act", "env=hopper", "out=run", "trust=true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    seen = np.arange(22.0).reshape(2, 11)
    np.testing.assert_array_equal(robo_rl.load_policy(tmp_path / "run")(seen), seen[:, :3])


def test_a_program_that_only_torch_knows_is_run_where_it_is_trusted(
    returns, tmp_path, importable, monkeypatch
):
    module = torch.nn.Sequential(torch.nn.Linear(11, 3), torch.nn.Softmax(-1))
    torch.export.save(torch.export.export(module, (torch.zeros(1, 11),)), tmp_path / "p.pt2")
    words = ("import", "p.pt2", "env=hopper", "out=run")
    refused = here(*words, cwd=tmp_path)
    assert refused.returncode == 64
    assert "p.pt2" in refused.stderr and "softmax" in refused.stderr, refused.stderr
    assert here(*words, "trust=true", cwd=tmp_path).returncode == 0
    policy = robo_rl.load_policy(tmp_path / "run")
    np.testing.assert_allclose(returns(ours(policy)), returns(by_torch(module)), rtol=1e-5)
    external._trusted.clear()
    with pytest.raises(robo_rl.UserError, match="trust=true"):
        robo_rl.load_policy(tmp_path / "run")


def test_weights_beside_an_onnx_file_that_onnxruntime_runs_go_into_the_run(tmp_path, importable):
    (tmp_path / "there").mkdir()
    source, original = onnx_unknown(tmp_path / "there", beside=True)
    done = here("import", source, "env=hopper", "out=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for path in (tmp_path / "there").iterdir():
        path.unlink()
    seen = np.ones((2, 11), np.float32)
    policy = robo_rl.load_policy(tmp_path / "run")
    np.testing.assert_allclose(policy(seen), original()(seen), atol=1e-5)


MAPPING = """
format: robo_rl.mapping/1
environment: hopper
network:
  normalise: {mean: [0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5], clip: 1.5,
    deviation: [2,2,2,2,2,2,2,2,2,2,2]}
"""


def test_a_normaliser_of_the_mapping_stands_before_the_network(tmp_path, importable):
    source, original = FILES["sb3 SAC"](tmp_path)
    (tmp_path / "mapping.yaml").write_text(MAPPING)
    done = here("import", source, "mapping=mapping.yaml", "out=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    seen = np.random.default_rng(0).normal(size=(5, 11), scale=5).astype(np.float32)
    wanted = original()(np.clip((seen - 0.5) / 2, -1.5, 1.5))
    np.testing.assert_allclose(robo_rl.load_policy(tmp_path / "run")(seen), wanted, atol=1e-5)
