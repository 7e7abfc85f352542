"""A save that is interrupted, a disk that is full, a file that is damaged.

The last good one still loads.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from robo_rl import errors, files, trees
from robo_rl.training import checkpoint
from robo_rl.training.checkpoint import Progress

LIKE = {"a": jnp.zeros(3), "b": jnp.zeros((2, 2), jnp.int32)}


class Simple(NamedTuple):
    weights: Any
    robots: Any


class Wrapped(NamedTuple):
    learner: Any
    scores: Any


def value(k):
    return {"a": jnp.full(3, float(k)), "b": jnp.full((2, 2), k, jnp.int32)}


def test_the_newest_is_loaded_and_only_two_are_kept(tmp_path):
    for k in range(5):
        checkpoint.save(tmp_path, value(k), Progress(k, float(k)))
    state, done = checkpoint.load(tmp_path, LIKE)
    assert done.steps == 4 and float(state["a"][0]) == 4.0
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("what", ["state.npz", "meta.json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path, what, damage):
    for k in (1, 2):
        checkpoint.save(tmp_path, value(k), Progress(k, 0.0))
    target = sorted(tmp_path.iterdir())[-1] / what
    data = bytearray(target.read_bytes())
    if damage == "cut":
        target.write_bytes(data[: len(data) // 2])
    elif damage == "gone":
        target.unlink()
    else:
        data[len(data) // 2] ^= 0xFF
        target.write_bytes(data)
    if damage == "flip" and what == "meta.json":
        pytest.skip("a flipped byte in JSON may still be JSON")
    _, done = checkpoint.load(tmp_path, LIKE)
    assert done.steps == 1


def test_a_full_disk_is_said_and_leaves_the_previous_checkpoint(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, value(1), Progress(1, 0.0))

    def full(stream, **arrays):
        stream.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(errors.UserError, match="No space left on device"):
        checkpoint.save(tmp_path, value(2), Progress(2, 0.0))
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["step_000000000001"]
    assert checkpoint.load(tmp_path, LIKE)[1].steps == 1


def test_a_process_killed_in_the_middle_of_a_save_leaves_no_checkpoint_behind(tmp_path):
    checkpoint.save(tmp_path, value(1), Progress(1, 0.0))
    unfinished = tmp_path / ".step_000000000002.x.part"
    unfinished.mkdir()
    (unfinished / "state.npz").write_bytes(b"half")
    assert checkpoint.load(tmp_path, LIKE)[1].steps == 1
    files.sweep(tmp_path)
    assert not unfinished.exists() and len(checkpoint.found(tmp_path)) == 1


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    checkpoint.save(tmp_path, value(1), Progress(1, 0.0))
    with pytest.raises(errors.UserError, match="another kind of run"):
        checkpoint.load(tmp_path, {"a": jnp.zeros(3), "c": jnp.zeros(1)})
    with pytest.raises(errors.UserError, match="shape"):
        checkpoint.load(tmp_path, {"a": jnp.zeros(4), "b": jnp.zeros((2, 2), jnp.int32)})


@pytest.mark.parametrize("inside", [lambda state: state, lambda state: Wrapped(state, jnp.ones(1))])
def test_fields_can_be_borrowed_from_another_run_in_a_curriculum_or_not(tmp_path, inside):
    theirs = Simple({"w": jnp.arange(3.0)}, jnp.ones(5))
    checkpoint.save(tmp_path, inside(theirs), Progress(1, 0.0))
    mine = Simple({"w": jnp.zeros(3)}, jnp.zeros(9))
    found = checkpoint.borrow(tmp_path, mine, ("weights",))
    np.testing.assert_array_equal(found.weights["w"], [0.0, 1.0, 2.0])
    assert found.robots is mine.robots
    with pytest.raises(errors.UserError, match="shape"):
        checkpoint.borrow(tmp_path, Simple({"w": jnp.zeros(4)}, mine.robots), ("weights",))


def test_no_checkpoint_at_all_is_said(tmp_path):
    with pytest.raises(errors.UserError, match="no checkpoint to go on from"):
        checkpoint.load(tmp_path, LIKE)


def test_an_object_array_is_never_written(tmp_path):
    with pytest.raises(TypeError, match="pickle"):
        files.write_arrays(tmp_path / "x.npz", {"x": np.array([{}], object)})
    assert not list(tmp_path.iterdir())


def damage(folder):
    path = folder / "state.npz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def test_a_damaged_checkpoint_is_written_again_by_the_same_step(tmp_path):
    damage(checkpoint.save(tmp_path, value(1), Progress(1, 0.0)))
    checkpoint.save(tmp_path, value(1), Progress(1, 0.0))
    state, done = checkpoint.load(tmp_path, LIKE)
    assert done.steps == 1 and float(state["a"][0]) == 1.0


def test_a_damaged_checkpoint_is_not_one_of_the_two_that_are_kept(tmp_path):
    for k in (1, 2):
        checkpoint.save(tmp_path, value(k), Progress(k, 0.0))
    damage(checkpoint.found(tmp_path)[-1])
    checkpoint.save(tmp_path, value(3), Progress(3, 0.0))
    assert [checkpoint.steps_of(path) for path in checkpoint.found(tmp_path)] == [1, 3]


def test_a_part_of_a_part_can_be_borrowed_and_its_namesakes_stay(tmp_path):
    theirs = Simple({"policy": jnp.ones(3), "policy_optimiser": jnp.ones(3)}, jnp.ones(5))
    mine = Simple({"policy": jnp.zeros(3), "policy_optimiser": jnp.zeros(3)}, jnp.zeros(9))
    names = {f".weights['{n}']": v for n, v in theirs.weights.items()}
    assert set(names) <= set(trees.to_arrays(theirs))
    checkpoint.save(tmp_path, theirs, Progress(1, 0.0))
    found = checkpoint.borrow(tmp_path, mine, ("weights['policy']",))
    np.testing.assert_array_equal(found.weights["policy"], 1.0)
    np.testing.assert_array_equal(found.weights["policy_optimiser"], 0.0)
