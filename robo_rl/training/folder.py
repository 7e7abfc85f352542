"""The run folder: where everything in it lies, whose it is, and how a run begins there."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robo_rl import files
from robo_rl.content import read_json, read_yaml
from robo_rl.errors import UserError
from robo_rl.training import checkpoint
from robo_rl.training.config import TrainConfig, check


@dataclass(frozen=True)
class RunFolder:
    """Paths within a run folder."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration; a folder is a run from the moment it is there."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """One line per log entry of the training loop."""
        return self.path / "metrics.csv"

    @property
    def evaluation(self) -> Path:
        """One line per deterministic evaluation."""
        return self.path / "evaluation.csv"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def policy(self) -> Path:
        """Folder of the stored policy."""
        return self.path / "policy"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard's event files."""
        return self.path / "tensorboard"

    @property
    def health(self) -> Path:
        """Alerts and events, one JSON object a line."""
        return self.path / "health.jsonl"

    @property
    def done(self) -> Path:
        """Says how far training came, once it reached its last step."""
        return self.path / "done.json"

    @property
    def lock(self) -> Path:
        """Held by the process that trains here."""
        return self.path / ".lock"

    def is_complete(self, config: TrainConfig) -> bool:
        """Whether training reached the last step that the configuration asks for."""
        if not self.done.is_file():
            return False
        return int(read_json(self.done).get("steps", 0)) >= config.steps


def load_config(path: Path) -> TrainConfig:
    """The configuration of a run folder."""
    folder = RunFolder(path)
    if not folder.config.is_file():
        raise UserError(f"{path}: not a run folder (no config.yaml).")
    return check(TrainConfig, read_yaml(folder.config), str(folder.config))


def demand_free(folder: RunFolder) -> None:
    """Raises UserError where a run is there already, or what a run would write over."""
    if folder.path.is_file():
        raise UserError(f"out={folder.path} is a file; a run needs a folder.")
    if folder.config.exists():
        raise UserError(
            f"{folder.path} already holds a run. Go on with it (robo-rl train"
            f" resume={folder.path}), or name another folder (out=DIR)."
        )
    parts = (folder.metrics, folder.evaluation, folder.policy, folder.done)
    left = [part.name for part in parts if part.exists()]
    left += [
        path.name for path in checkpoint.found(folder.checkpoints) if checkpoint.steps_of(path)
    ]
    if left:
        raise UserError(
            f"{folder.path} holds {', '.join(left)} but no config.yaml: not a run to go on with,"
            " and nothing to write over. Name another folder (out=DIR)."
        )


@contextmanager
def occupied(folder: RunFolder) -> Iterator[None]:
    """Holds the run folder for this process; one that was made for it and stayed empty goes again.

    Raises UserError where another process holds it.
    """
    made = [path for path in (folder.path, *folder.path.parents) if not path.exists()]
    files.make_folder(folder.path)
    try:
        with files.held(folder.lock, str(folder.path)):
            for place in (folder.path, folder.policy, folder.checkpoints):
                files.sweep(place)
            yield
    finally:
        for path in made:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def claim(folder: RunFolder, config: TrainConfig, start: Any = None) -> None:
    """Makes a folder that this process occupies a run: its configuration is the last thing to come.

    start: the state at step 0, for the first checkpoint, so that a run that is killed goes on as
    what it was. Raises UserError where a run is there already.
    """
    demand_free(folder)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)  # of a process killed right here
    try:
        if start is not None:
            checkpoint.save(folder.checkpoints, start, checkpoint.Progress(0, 0.0))
        write_config(folder, config)
    except BaseException:
        shutil.rmtree(folder.checkpoints, ignore_errors=True)
        raise


def write_config(folder: RunFolder, config: TrainConfig) -> None:
    """Writes the configuration of a run."""
    files.write_yaml(folder.config, config.model_dump(exclude_none=True))
