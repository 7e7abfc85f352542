"""Training loops at toy size: they learn from the right data, and a run goes on bit for bit."""

import csv
import pickletools
import re
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from robo_rl import errors, trees
from robo_rl.policy.stored import load_policy
from robo_rl.training import checkpoint, config, run
from robo_rl.training.health import alerts

QUIET = Console(quiet=True)
TINY = {
    "ppo": {"robots": 4, "unroll": 8, "minibatches": 2, "epochs": 1, "hidden": [8], "steps": 384},
    "sac": {
        "robots": 2,
        "updates_per_step": 1,
        "batch": 8,
        "warmup": 16,
        "replay": 1000,
        "hidden": [8],
        "steps": 192,
    },
}


def tiny(algo, out, **more):
    given = {
        "env": "hopper",
        "algo": algo,
        "out": str(out),
        "eval_points": 0,
        algo: TINY[algo],
        **more,
    }
    return config.resolve(given)


@pytest.fixture(scope="module", params=["ppo", "sac"])
def algo(request):
    return request.param


@pytest.fixture(scope="module")
def learner(algo):
    return run.build(tiny(algo, "unused"))[1]


@pytest.fixture(scope="module")
def reference(learner):
    """The states of an uninterrupted run, copied before they are donated."""
    state, states = learner.init(jax.random.key(0)), []
    for _ in range(4):
        states.append(trees.to_arrays(state))
        state, log = learner.advance(state)
    return [*states, trees.to_arrays(state)], log


def equal(a, b):
    assert a.keys() == b.keys()
    return [
        name
        for name in a
        if not np.array_equal(a[name], b[name], equal_nan=a[name].dtype.kind == "f")
    ]


def test_a_run_resumed_from_a_checkpoint_ends_bit_for_bit_the_same(learner, reference, tmp_path):
    states, _ = reference
    like = learner.init(jax.random.key(1))  # another seed: everything must come from the checkpoint
    checkpoint.save(
        tmp_path, trees.from_arrays(states[2], like, tmp_path), checkpoint.Progress(64, 1.5)
    )
    state, done = checkpoint.load(tmp_path, like)
    assert done == checkpoint.Progress(64, 1.5)
    for _ in range(2):
        state, _ = learner.advance(state)
    assert equal(trees.to_arrays(state), states[4]) == []


def test_a_run_that_starts_from_another_has_its_weights_and_nothing_else(algo, learner, finished):
    fresh = trees.to_arrays(learner.init(jax.random.key(7)))
    begun = trees.to_arrays(run.warm_started(learner, algo, finished).init(jax.random.key(7)))
    theirs, _ = checkpoint.load(finished / "checkpoints", learner.init(jax.random.key(7)))
    theirs = trees.to_arrays(theirs)
    learned = re.compile("|".join(rf"\.{re.escape(part)}(?=[.\[]|$)" for part in learner.learned))
    taken = {n for n in begun if learned.match(n)}
    assert equal({n: begun[n] for n in taken}, {n: theirs[n] for n in taken}) == []
    rest = set(begun) - taken
    assert equal({n: begun[n] for n in rest}, {n: fresh[n] for n in rest}) == []
    assert equal({n: begun[n] for n in taken}, {n: fresh[n] for n in taken})


def test_a_run_of_the_other_algorithm_is_no_start(algo, learner, finished):
    other = {"ppo": "sac", "sac": "ppo"}[algo]
    with pytest.raises(errors.UserError, match=f"that run is {algo}.*{other} by"):
        run.warm_started(learner, other, finished)


def test_robots_that_do_not_fit_the_minibatches_are_refused(tmp_path):
    with pytest.raises(errors.UserError, match="ppo.robots=3 must be a multiple"):
        run.build(tiny("ppo", tmp_path, ppo={**TINY["ppo"], "robots": 3}))


def test_the_seed_matters(learner, reference):
    other, _ = learner.advance(learner.init(jax.random.key(7)))
    assert equal(trees.to_arrays(other), reference[0][1])


def test_every_part_of_the_state_that_should_move_moves(learner, reference, algo):
    moved = set(equal(reference[0][0], reference[0][4]))
    wanted = {
        "ppo": ("policy", "value", "optimiser", "statistics", "physics_state", "key"),
        "sac": (
            "policy",
            "critic",
            "target",
            "log_alpha",
            "optimiser",
            "statistics",
            "replay",
            "physics_state",
            "key",
        ),
    }
    for part in wanted[algo]:
        assert any(part in name for name in moved), part


def test_losses_and_returns_are_logged(reference):
    log = reference[1]
    assert np.isfinite(float(log["episode_return"])) and float(log["errors"]) == 0
    assert any(name.startswith("learn/") for name in log)
    assert {"reward/alive", "cost/velocity"} <= set(log)


@pytest.fixture(scope="module")
def finished(algo, tmp_path_factory):
    out = tmp_path_factory.mktemp(algo) / "run"
    return run.train(tiny(algo, out, eval_points=1, eval_episodes=2), QUIET)


def test_a_run_folder_is_complete(finished):
    for name in ("config.yaml", "metrics.csv", "evaluation.csv", "done.json", "policy/policy.json"):
        assert (finished / name).is_file(), name
    assert list((finished / "checkpoints").iterdir()) and list((finished / "tensorboard").iterdir())
    with (finished / "metrics.csv").open() as stream:
        steps = [int(row["steps"]) for row in csv.DictReader(stream)]
    assert steps == sorted(set(steps))


def test_nothing_in_a_run_folder_is_pickle(finished):
    for path in finished.rglob("*"):
        if not path.is_file() or "tensorboard" in path.parts:
            continue
        data = path.read_bytes()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                pieces = [archive.read(name) for name in archive.namelist()]
            assert all(
                piece.startswith(b"\x93NUMPY") and b"'O'" not in piece[:200] for piece in pieces
            ), path
        else:
            data.decode()  # text: YAML, JSON, CSV
            with pytest.raises(Exception):  # noqa: B017, PT011
                list(pickletools.genops(data))


def test_a_finished_run_is_left_alone(finished, algo):
    with pytest.raises(errors.UserError, match="already holds a run"):
        run.train(tiny(algo, finished), QUIET)
    before = (finished / "metrics.csv").read_bytes()
    run.train(run.load_config(finished), QUIET, resume=True)
    assert (finished / "metrics.csv").read_bytes() == before


def test_the_stored_policy_acts_in_jax_as_in_numpy(finished):
    policy = load_policy(finished)
    net = policy.network
    drawn = np.random.default_rng(0).normal(size=(64, 11))
    seen = (net.mean + net.std * drawn).astype(np.float32)  # as it saw in training
    ours, _ = policy.program.act(jnp, jax.tree.map(jnp.asarray, policy.parameters), {}, seen)
    np.testing.assert_allclose(ours, policy(seen), rtol=0, atol=2e-6)
    np.testing.assert_allclose(policy(seen[3]), policy(seen)[3], rtol=0, atol=2e-6)
    assert np.abs(policy(seen)).max() <= 1.0


def test_a_stored_policy_is_the_networks_own_mean_action(algo, learner):
    """The export against brax's own deterministic inference."""
    from brax.training.acme import running_statistics
    from brax.training.agents.ppo import networks as ppo_nets
    from brax.training.agents.sac import networks as sac_nets

    state, _ = learner.advance(learner.init(jax.random.key(2)))
    seen = np.random.default_rng(1).normal(size=(16, 11)).astype(np.float32)
    net = learner.network(state)
    from robo_rl.policy.stored import Policy

    ours = Policy(net, {"env": "hopper"})(seen)
    if algo == "ppo":
        import flax.linen as nn

        made = ppo_nets.make_ppo_networks(
            11,
            3,
            running_statistics.normalize,
            (8,),
            (8,),
            nn.tanh,
            distribution_type="normal",
            noise_std_type="log",
        )
        act = ppo_nets.make_inference_fn(made)(
            (state.statistics, state.parameters.policy), deterministic=True
        )
    else:
        made = sac_nets.make_sac_networks(11, 3, running_statistics.normalize, (8,))
        act = sac_nets.make_inference_fn(made)(
            (state.statistics, state.weights.policy), deterministic=True
        )
    theirs = np.clip(np.asarray(act(seen, jax.random.key(0))[0]), -1, 1)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)


def test_a_time_limit_is_bootstrapped_and_a_fall_is_not():
    """PPO: a truncated step earns the discounted value of where it stopped.

    SAC keeps its discount at 1.
    """
    from types import SimpleNamespace

    import jax.numpy as jnp

    from robo_rl.training import ppo as ppo_module
    from robo_rl.training import sac as sac_module

    outcome = SimpleNamespace(
        reward=jnp.ones(2),
        terminated=jnp.array([True, False]),
        truncated=jnp.array([False, True]),
        done=jnp.array([True, True]),
        observation=jnp.zeros((2, 11)),
    )
    stored = sac_module.transition(jnp.zeros((2, 11)), jnp.zeros((2, 3)), outcome)
    np.testing.assert_array_equal(stored.discount, [0.0, 1.0])
    cut = ppo_module.transition(jnp.zeros((2, 11)), jnp.zeros((2, 3)), outcome, {})
    np.testing.assert_array_equal(cut.discount, [0.0, 0.0])
    paid = ppo_module.bootstrapped(cut.reward, jnp.array([5.0, 5.0]), outcome.truncated, 0.9, 0.1)
    np.testing.assert_allclose(paid, [1.0, 1.0 + 0.9 * 5.0 / 0.1])


@pytest.mark.parametrize("loss", ["policy_loss", "critic_loss", "actor_loss", "alpha_loss"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3.8e33, -1e15])
def test_a_loss_that_diverged_stops_the_run(loss, value):
    (found,) = alerts({f"learn/{loss}": value, "updates": 8.0})
    assert found.fatal and loss in found.message


def test_alerts_tell_a_broken_loss_from_a_quiet_one():
    assert alerts({"learn/total_loss": 1.0, "errors": 0.0}) == []
    assert alerts({"learn/critic_loss": float("nan"), "updates": 0.0}) == []  # warming up
    assert [a.fatal for a in alerts({"learn/total_loss": float("nan")})] == [True]
    assert [a.kind for a in alerts({"errors": 3.0})] == ["error"]


@pytest.fixture(scope="module")
def sac_source(tmp_path_factory):
    out = tmp_path_factory.mktemp("source") / "run"
    return run.train(tiny("sac", out), QUIET)


@pytest.fixture(scope="module")
def started_sac(sac_source):
    given = tiny("sac", "unused", start=str(sac_source), sac={**TINY["sac"], "warmup": 40})
    return run.build(given)[1]


def test_sac_from_another_run_acts_as_it_did_until_it_learns(sac_source, started_sac):
    """The given policy warms up, which changes neither it nor what it knows of observations."""
    learner = started_sac
    begun = learner.init(jax.random.key(5))
    assert float(begun.weights.log_alpha) != 0.0  # the temperature goes on
    assert int(begun.weights.policy_optimiser[0].count) == 0  # the optimiser begins anew
    source = load_policy(sac_source).network
    state, log = learner.advance(begun, 8)
    assert float(log["updates"]) == 0 and int(state.steps) == 16
    assert equal(learner.network(state).arrays(), source.arrays()) == []
    state, log = learner.advance(state, 8)
    state, log = learner.advance(state, 8)
    assert float(log["updates"]) == 5  # steps 40 to 48 of 2 robots, 1 update each
    assert not np.array_equal(learner.network(state).mean, source.mean)


def test_sac_from_another_run_fills_its_buffer_with_what_that_policy_does(started_sac):
    """A policy that is almost sure of itself repeats its action; random warm-up would not."""
    learner = started_sac
    state = learner.init(jax.random.key(5))
    layers = state.weights.policy["params"]
    last = layers[f"hidden_{len(layers) - 1}"]
    last["kernel"] = 0.0 * last["kernel"]
    last["bias"] = jax.numpy.array([0.5, -0.5, 1.0, -30.0, -30.0, -30.0])  # mean, then deviation
    state, _ = learner.advance(state, 8)
    actions = np.asarray(state.replay.data)[:16, 11:14]
    np.testing.assert_allclose(actions, np.tile(np.tanh([0.5, -0.5, 1.0]), (16, 1)), atol=0.02)


def test_sac_trains_in_32_bits_where_jax_was_told_to_use_64(tmp_path):
    from robo_rl.training import trainers

    with jax.enable_x64(True):
        folder = trainers.train(tiny("sac", tmp_path / "run"), QUIET)
    with np.load(sorted(folder.glob("checkpoints/step_*"))[-1] / "state.npz") as stored:
        assert np.float64 not in {stored[name].dtype.type for name in stored.files}
