"""Checkpoints: a training loop's whole state as plain arrays, whole on disk or not there."""

import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from robo_rl import files, trees
from robo_rl.content import read_json
from robo_rl.errors import UserError

KEPT = 2
PREFIX = "step_"
NAME = re.compile(rf"{PREFIX}\d+")


class Progress(NamedTuple):
    """Where a run is: environment steps done and seconds spent training."""

    steps: int
    train_s: float


def save(folder: Path, state: Any, progress: Progress) -> Path:
    """Writes a checkpoint folder, then drops all but the newest ones that are whole."""
    target = folder / f"{PREFIX}{progress.steps:012d}"
    if not is_whole(target):
        with files.replacing_folder(target) as temporary:
            files.write_arrays(temporary / "state.npz", trees.to_arrays(state))
            meta = {**progress._asdict(), "sha256": files.file_digest(temporary / "state.npz")}
            files.write_json(temporary / "meta.json", meta)
    _prune(folder, target)
    return target


def _prune(folder: Path, written: Path) -> None:
    kept = 1
    for old in reversed([path for path in found(folder) if path != written]):
        if kept < KEPT and is_whole(old):
            kept += 1
        else:
            shutil.rmtree(old)


def load(folder: Path, like: Any, growing: tuple[str, ...] = ()) -> tuple[Any, Progress]:
    """The newest checkpoint that is whole, in the structure of `like`.

    growing: leaves that may have fewer rows than in `like` (see trees.from_arrays).
    Raises UserError where there is none, or where it belongs to another run's structure.
    """
    arrays, progress, source = _newest(folder)
    return trees.from_arrays(arrays, like, source, growing), progress


def borrow(folder: Path, like: Any, parts: tuple[str, ...]) -> Any:
    """`like` with these parts ('statistics', 'weights.policy') of another run's newest checkpoint.

    Raises UserError where there is none, or where a part is of another structure there.
    """
    arrays, _, source = _newest(folder)
    beginning = re.compile(rf"\.({'|'.join(map(re.escape, parts))})(?=[.\[]|$)")
    inside = {name.removeprefix(".learner"): value for name, value in arrays.items()}
    theirs = {name: value for name, value in inside.items() if beginning.match(name)}
    leaves, structure = trees.named(like)
    wanted = {name: leaf for name, leaf in leaves.items() if beginning.match(name)}
    taken = trees.restored(theirs, wanted, source)
    return structure.unflatten([taken.get(name, leaf) for name, leaf in leaves.items()])


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint is there and undamaged."""
    try:
        _meta(checkpoint)
    except (UserError, OSError, KeyError):
        return False
    return True


def _meta(checkpoint: Path) -> dict[str, Any]:
    meta = read_json(checkpoint / "meta.json")
    if files.file_digest(checkpoint / "state.npz") != meta["sha256"]:
        raise UserError(f"{checkpoint}: digest does not match")
    return meta


def _newest(folder: Path) -> tuple[dict[str, np.ndarray], Progress, Path]:
    damaged = []
    for candidate in reversed(found(folder)):
        try:
            meta = _meta(candidate)
            arrays = files.read_arrays(candidate / "state.npz")
        except (UserError, OSError, KeyError) as error:
            damaged.append(f"{candidate.name} ({error})")
            continue
        return arrays, Progress(int(meta["steps"]), float(meta["train_s"])), candidate
    detail = f" Damaged: {'; '.join(damaged)}." if damaged else ""
    raise UserError(f"{folder}: no checkpoint to go on from.{detail}")


def found(folder: Path) -> list[Path]:
    """Checkpoint folders, oldest first; whole ones, unless a file in them was damaged since."""
    return sorted(path for path in folder.glob(f"{PREFIX}*") if NAME.fullmatch(path.name))


def steps_of(checkpoint: Path) -> int:
    """The environment steps that a checkpoint folder's name gives."""
    return int(checkpoint.name.removeprefix(PREFIX))
