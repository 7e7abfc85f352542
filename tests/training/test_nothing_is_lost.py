"""A run is struck at its worst moments and goes on as what it was; nobody else gets into it."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import jax
import numpy as np
import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from robo_rl import cli, errors, trees
from robo_rl.policy.stored import load_policy
from robo_rl.training import checkpoint, config, run

QUIET = Console(quiet=True)
TINY = {"robots": 4, "unroll": 8, "minibatches": 2, "epochs": 1, "hidden": [8], "steps": 384}
ROLLOUT = 4 * 8


def tiny(out, **more):
    words = {"env": "hopper", "algo": "ppo", "out": str(out), "eval_points": 0, "ppo": TINY}
    return config.resolve({**words, **more})


class Killed(BaseException):
    """Ends a process as SIGKILL does: nothing of ours may catch it."""


@pytest.fixture(scope="module")
def built():
    return run.build(tiny("unused"))


@pytest.fixture(autouse=True)
def one_compilation(monkeypatch, built):
    """Every run of this module trains with the same compiled loop."""
    monkeypatch.setattr(run, "build", lambda *_, **__: built)


@pytest.fixture(scope="module")
def whole(built, tmp_path_factory):
    """A run that nobody disturbed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "build", lambda *_, **__: built)
        return run.train(tiny(tmp_path_factory.mktemp("whole") / "run", eval_points=2), QUIET)


def final(folder):
    newest = sorted((folder / "checkpoints").glob("step_*"))[-1]
    with np.load(newest / "state.npz") as stored:
        return {name: stored[name] for name in stored.files}


def assert_same_end(folder, other):
    a, b = final(folder), final(other)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def struck_in(monkeypatch, built, advance, blow):
    """The loop whose `advance`-th call, counted from 0, is struck after it took its state."""
    env, learner = built
    calls = []

    def struck(state, *rollouts):
        onward = learner.advance(state, *rollouts)
        if isinstance(state.key, jax.core.Tracer):
            return onward  # it is only looked at
        calls.append(onward)
        if len(calls) == advance + 1:
            blow()
        return onward

    monkeypatch.setattr(run, "build", lambda *_, **__: (env, learner._replace(advance=struck)))


def kill():
    raise Killed


def ctrl_c():
    signal.raise_signal(signal.SIGINT)


def resume(folder):
    return run.train(run.load_config(folder), QUIET, resume=True)


def rows(folder, name="metrics.csv"):
    return [int(row["steps"]) for row in run.read_rows(folder / name)]


def test_ctrl_c_inside_the_loop_saves_that_step_and_the_run_ends_the_same(
    monkeypatch, built, whole, tmp_path
):
    struck_in(monkeypatch, built, 1, ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        run.train(tiny(tmp_path / "run", eval_points=2), QUIET)
    saved = checkpoint.found(tmp_path / "run" / "checkpoints")
    assert [path.name for path in saved][-1] == f"step_{8 * ROLLOUT:012d}"
    assert load_policy(tmp_path / "run").contract["steps"] == 8 * ROLLOUT
    assert not (tmp_path / "run" / "done.json").exists()
    monkeypatch.setattr(run, "build", lambda *_, **__: built)
    assert_same_end(resume(tmp_path / "run"), whole)
    assert rows(tmp_path / "run") == rows(whole)
    assert rows(tmp_path / "run", "evaluation.csv") == rows(whole, "evaluation.csv")


def test_a_second_ctrl_c_stops_at_once_and_leaves_the_last_checkpoint(
    monkeypatch, built, whole, tmp_path
):
    struck_in(monkeypatch, built, 1, lambda: (ctrl_c(), ctrl_c()))
    with pytest.raises(KeyboardInterrupt):
        run.train(tiny(tmp_path / "run", eval_points=2), QUIET)
    monkeypatch.setattr(run, "build", lambda *_, **__: built)
    assert_same_end(resume(tmp_path / "run"), whole)


def test_ctrl_c_means_what_it_meant_before_once_training_is_over(whole):
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_run_killed_at_once_has_its_first_checkpoint(monkeypatch, built, whole, tmp_path):
    struck_in(monkeypatch, built, 0, kill)
    with pytest.raises(Killed):
        run.train(tiny(tmp_path / "run", eval_points=2), QUIET)
    (begun,) = checkpoint.found(tmp_path / "run" / "checkpoints")
    assert begun.name == f"step_{0:012d}"
    monkeypatch.setattr(run, "build", lambda *_, **__: built)
    assert_same_end(resume(tmp_path / "run"), whole)


def test_a_started_run_killed_before_its_first_save_goes_on_with_the_given_weights(
    monkeypatch, built, whole, tmp_path
):
    """Even where the run it started from is gone by then."""
    env, learner = built
    source = tmp_path / "source"
    source.mkdir()
    for name in ("config.yaml", "checkpoints"):
        (source / name).symlink_to(whole / name)
    given = load_policy(whole).network
    monkeypatch.undo()
    monkeypatch.setattr(run, "ppo", lambda *_: learner)

    def killed(self, state, done, **_):
        raise Killed

    def seen(self, state, done, **_):
        networks.append(self.learner.network(state))
        raise Killed

    networks = []
    monkeypatch.setattr(run.Session, "run", killed)
    with pytest.raises(Killed):
        run.train(tiny(tmp_path / "run", start=str(source)), QUIET)
    for path in source.iterdir():
        path.unlink()
    monkeypatch.setattr(run.Session, "run", seen)
    with pytest.raises(Killed):
        resume(tmp_path / "run")
    np.testing.assert_array_equal(networks[0].weights[0], given.weights[0])
    np.testing.assert_array_equal(networks[0].mean, given.mean)


def test_a_second_process_is_kept_out_of_a_run_and_told_which_one_is_in(
    monkeypatch, built, tmp_path
):
    said = []

    def second():
        with pytest.raises(errors.UserError) as refused:
            resume(tmp_path / "run")
        said.append(str(refused.value))

    struck_in(monkeypatch, built, 1, second)
    run.train(tiny(tmp_path / "run"), QUIET)
    assert f"in use by another process (pid {os.getpid()})" in said[0]
    assert rows(tmp_path / "run") == [128, 256, 384]


HOLDER = """
import sys, time
from pathlib import Path
from robo_rl import files
with files.held(Path(sys.argv[1]), "the run"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_lock_dies_with_its_process(tmp_path):
    from robo_rl import files

    lock = tmp_path / ".lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(errors.UserError, match=rf"the run is in use .*pid {holder.pid}"):
        files.held(lock, "the run").__enter__()
    holder.kill()
    holder.wait()
    with files.held(lock, "the run"):
        assert lock.read_text() == f"{os.getpid()}\n"
    assert not lock.exists()


def test_a_failed_start_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.undo()
    sac = {"robots": 8, "replay": 4, "hidden": [8], "steps": 64}
    given = {"env": "hopper", "algo": "sac", "out": str(tmp_path / "new" / "run"), "sac": sac}
    with pytest.raises(errors.UserError, match="sac.replay=4 must hold at least one step"):
        run.train(config.resolve(given), QUIET)
    assert list(tmp_path.iterdir()) == []


def test_a_start_from_networks_of_another_shape_leaves_nothing(monkeypatch, whole, tmp_path):
    monkeypatch.undo()
    other = tiny(tmp_path / "run", start=str(whole), ppo={**TINY, "hidden": [4]})
    with pytest.raises(errors.UserError, match="shape"):
        run.train(other, QUIET)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_file_in_the_way_of_a_run_is_said(tmp_path, out):
    (tmp_path / "file").touch()
    with pytest.raises(errors.UserError, match="is a file"):
        run.train(tiny(tmp_path / out), QUIET)


def test_half_a_row_neither_blocks_nor_counts(monkeypatch, built, whole, tmp_path):
    struck_in(monkeypatch, built, 2, kill)
    with pytest.raises(Killed):
        run.train(tiny(tmp_path / "run", eval_points=2, checkpoint_s=1e-9), QUIET)
    table = tmp_path / "run" / "metrics.csv"
    whole_rows = table.read_bytes()
    *cells, _ = whole_rows.decode().splitlines()[-1].split(",")
    table.write_bytes(whole_rows + ",".join([*cells, "1.2e-"]).encode())
    monkeypatch.setattr(run, "build", lambda *_, **__: built)
    assert_same_end(resume(tmp_path / "run"), whole)
    assert table.read_bytes().startswith(whole_rows)
    assert rows(tmp_path / "run") == rows(whole)


def test_rows_beyond_the_checkpoint_are_dropped_from_tables_and_tensorboard(
    monkeypatch, built, whole, tmp_path
):
    struck_in(monkeypatch, built, 2, kill)  # rows at 128 and 256, the checkpoint at 0
    with pytest.raises(Killed):
        run.train(tiny(tmp_path / "run", eval_points=2), QUIET)
    table = tmp_path / "run" / "metrics.csv"
    lines = table.read_text().splitlines(keepends=True)
    monkeypatch.setattr(run, "build", lambda *_, **__: built)
    resume(tmp_path / "run")
    assert rows(tmp_path / "run") == [128, 256, 384]
    assert table.read_text().splitlines(keepends=True)[0] == lines[0]
    shown = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.step for event in shown.Scalars("train/episodes")] == [128, 256, 384]
    returns = shown.Scalars("evaluation/return_mean")
    assert [event.step for event in returns] == rows(whole, "evaluation.csv")


def test_a_run_is_trained_to_within_one_rollout_of_what_was_asked(tmp_path):
    folder = run.train(tiny(tmp_path / "run", steps=150), QUIET)
    assert json.loads((folder / "done.json").read_text())["steps"] == 160  # 5 rollouts of 32
    assert rows(folder) == [128, 160]


def test_a_finished_run_goes_on_to_more_steps(tmp_path):
    folder = run.train(tiny(tmp_path / "run", steps=128), QUIET)
    cli.train([f"resume={folder}", "steps=200"])
    assert json.loads((folder / "done.json").read_text())["steps"] == 224
    assert run.load_config(folder).steps == 200
    assert rows(folder) == [128, 224]
    with pytest.raises(errors.UserError, match="can only be raised"):
        run.extended(run.load_config(folder), 100)


def test_the_last_evaluation_is_of_the_policy_that_stays(tmp_path):
    folder = run.train(tiny(tmp_path / "run", eval_points=7), QUIET)  # 384 / 7 is not exact
    assert rows(folder, "evaluation.csv")[-1] == load_policy(folder).contract["steps"] == 384
    shown = EventAccumulator(str(folder / "tensorboard")).Reload()
    returns = [event.step for event in shown.Scalars("evaluation/return_mean")]
    assert returns == rows(folder, "evaluation.csv")


def test_a_loss_beyond_all_bounds_stops_the_run_and_keeps_the_last_good_checkpoint(
    monkeypatch, built, tmp_path
):
    env, learner = built

    def diverging(state, *rollouts):
        state, log = learner.advance(state, *rollouts)
        return state, log | {"learn/policy_loss": jax.numpy.float32(3.8e33)}

    monkeypatch.setattr(run, "build", lambda *_, **__: (env, learner._replace(advance=diverging)))
    with pytest.raises(errors.NotFiniteError, match="step 128: policy_loss is 3.8e.33"):
        run.train(tiny(tmp_path / "run", checkpoint_s=1e-9), QUIET)
    (kept,) = checkpoint.found(tmp_path / "run" / "checkpoints")
    assert kept.name == f"step_{0:012d}"
    assert '"diverged"' in (tmp_path / "run" / "health.jsonl").read_text()


def test_a_policy_that_is_not_finite_is_never_saved(monkeypatch, built, tmp_path):
    env, learner = built

    def broken(state):
        network = learner.network(state)
        return replace(network, biases=tuple(np.full_like(b, np.nan) for b in network.biases))

    monkeypatch.setattr(run, "build", lambda *_, **__: (env, learner._replace(network=broken)))
    with pytest.raises(errors.NotFiniteError, match="b0, b1 are not finite"):
        run.train(tiny(tmp_path / "run"), QUIET)
    assert not (tmp_path / "run" / "policy").exists()


COMMAND = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run under nohup
from robo_rl.cli import main
main()
"""


def test_the_console_command_saves_on_ctrl_c_and_ends_with_130(tmp_path):
    words = "env=inverted-pendulum algo=ppo steps=100000000 ppo.robots=4 ppo.unroll=8 "
    words += "ppo.minibatches=2 ppo.hidden=[8] eval_points=0 out=run"
    command = [sys.executable, "-c", COMMAND, "train", *words.split()]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    while not rows(tmp_path / "run") and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate()
    assert process.returncode == 130
    assert "Go on with: robo-rl train resume=run" in said
    newest = checkpoint.found(tmp_path / "run" / "checkpoints")[-1]
    assert checkpoint.steps_of(newest) == rows(tmp_path / "run")[-1]


def test_the_replay_buffer_of_a_checkpoint_fits_a_longer_run(tmp_path):
    like = {"replay": {"data": np.zeros((5, 2), np.float32)}, "other": np.zeros(3)}
    stored = {"['replay']['data']": np.ones((3, 2), np.float32), "['other']": np.ones(3)}
    made = trees.from_arrays(stored, like, tmp_path, ("['data']",))
    np.testing.assert_array_equal(made["replay"]["data"][:, 0], [1, 1, 1, 0, 0])
    with pytest.raises(errors.UserError, match="shape"):
        trees.from_arrays(stored, like, tmp_path)
