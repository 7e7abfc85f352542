"""Checkpoints: a training loop's whole state as plain arrays, whole on disk or not there."""

import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from robo_rl import files, trees
from robo_rl.content import UserError, read_json

KEPT = 2
PREFIX = "step_"


class Progress(NamedTuple):
    """Where a run is: environment steps done and seconds spent training."""

    steps: int
    train_s: float


def save(folder: Path, state: Any, progress: Progress) -> Path:
    """Writes a checkpoint folder and then drops all but the newest ones."""
    target = folder / f"{PREFIX}{progress.steps:012d}"
    if target.exists():
        return target
    with files.replacing_folder(target) as temporary:
        files.write_arrays(temporary / "state.npz", trees.to_arrays(state))
        meta = {**progress._asdict(), "sha256": files.file_digest(temporary / "state.npz")}
        files.write_json(temporary / "meta.json", meta)
    for old in found(folder)[:-KEPT]:
        shutil.rmtree(old)
    return target


def load(folder: Path, like: Any) -> tuple[Any, Progress]:
    """The newest checkpoint that is whole, in the structure of `like`.

    Raises UserError where there is none, or where it belongs to another run's structure.
    """
    arrays, progress, source = _newest(folder)
    return trees.from_arrays(arrays, like, source), progress


def borrow(folder: Path, like: Any, fields: tuple[str, ...]) -> Any:
    """`like` with these of its fields from the newest checkpoint of another run.

    Raises UserError where there is none, or where a field is of another structure there.
    """
    arrays, _, source = _newest(folder)
    taken = {}
    for field in fields:
        beginning = re.compile(rf"(\.learner)?\.{field}(?=[.\[])")  # inside a curriculum or not
        part = {beginning.sub("", k, count=1): v for k, v in arrays.items() if beginning.match(k)}
        taken[field] = trees.from_arrays(part, getattr(like, field), source)
    return like._replace(**taken)


def _newest(folder: Path) -> tuple[dict[str, np.ndarray], Progress, Path]:
    damaged = []
    for candidate in reversed(found(folder)):
        try:
            meta = read_json(candidate / "meta.json")
            if files.file_digest(candidate / "state.npz") != meta["sha256"]:
                raise UserError(f"{candidate}: digest does not match")
            arrays = files.read_arrays(candidate / "state.npz")
        except (UserError, OSError, KeyError) as error:
            damaged.append(f"{candidate.name} ({error})")
            continue
        return arrays, Progress(int(meta["steps"]), float(meta["train_s"])), candidate
    detail = f" Damaged: {'; '.join(damaged)}." if damaged else ""
    raise UserError(f"{folder}: no checkpoint to go on from.{detail}")


def sweep(folder: Path) -> None:
    """Removes what a killed process left of a save it could not finish."""
    for part in folder.glob(f".{PREFIX}*.part"):
        shutil.rmtree(part)


def found(folder: Path) -> list[Path]:
    """Checkpoint folders, oldest first; whole ones, unless a file in them was damaged since."""
    return sorted(folder.glob(f"{PREFIX}*"))
