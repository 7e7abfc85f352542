"""What a run writes down as it goes: the tables and TensorBoard's copy of them."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np

from robo_rl.training.checkpoint import Progress
from robo_rl.training.folder import RunFolder
from robo_rl.training.tables import append_row


class Log:
    """Rows into the tables of a run folder, and the same numbers into TensorBoard."""

    def __init__(self, folder: RunFolder, resumed_at: int | None = None):
        """resumed_at: TensorBoard hides points beyond this step, which will be trained again."""
        from tensorboardX import SummaryWriter

        self.folder = folder
        self.board: Any = SummaryWriter(
            str(folder.tensorboard),
            purge_step=None if resumed_at is None else resumed_at + 1,
            flush_secs=20,
            filename_suffix=f".{resumed_at or 0:012d}",  # no two sittings share a file
        )

    def __enter__(self) -> "Log":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.board.close()

    def training(self, done: Progress, entry: Mapping[str, float]) -> None:
        """One log entry of the training loop."""
        append_row(self.folder.metrics, {**done._asdict(), **entry})
        self._show(done, {n if "/" in n else f"train/{n}": v for n, v in entry.items()})

    def evaluation(self, done: Progress, row: Mapping[str, float]) -> None:
        """One deterministic evaluation."""
        append_row(self.folder.evaluation, {**done._asdict(), **row})
        self._show(done, {f"evaluation/{name}": value for name, value in row.items()})

    def flush(self) -> None:
        """Brings TensorBoard's file to where the tables are."""
        self.board.flush()

    def _show(self, done: Progress, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if np.isfinite(value):
                self.board.add_scalar(name, value, done.steps)
