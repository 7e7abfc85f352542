"""Tables of a run as CSV: a row is written at once, and half a row is no row."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robo_rl import files


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Appends a row to a table, whose first row sets the columns."""
    columns = columns_of(path)
    if columns is None:
        path.unlink(missing_ok=True)  # not even its first line is whole
        files.append_text(path, _line(list(row)) + _line(list(row.values())))
    else:
        files.append_text(path, _line([row.get(name, "") for name in columns]))


def columns_of(path: Path) -> list[str] | None:
    """The columns of a table; None where there is no table yet."""
    try:
        with path.open(newline="") as stream:
            first = stream.readline()
    except FileNotFoundError:
        return None
    return next(csv.reader([first])) if first.endswith("\n") else None


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of a table of numbers; a line that is not a whole row is left out."""
    columns = columns_of(path)
    if columns is None:
        return []
    with path.open(newline="") as stream:
        lines = [line for line in stream if line.endswith("\n")][1:]
    rows = [_numbers(columns, cells) for cells in csv.reader(lines)]
    return [row for row in rows if row is not None]


def keep_rows(path: Path, steps: int) -> None:
    """Drops rows beyond an environment step and lines that are not whole, in one replacement."""
    columns = columns_of(path)
    if columns is None:
        path.unlink(missing_ok=True)
        return
    kept = [row for row in read_rows(path) if row["steps"] <= steps]
    lines = [_line([{**row, "steps": int(row["steps"])}[name] for name in columns]) for row in kept]
    files.write_text(path, "".join([_line(columns), *lines]))


def _numbers(columns: list[str], cells: Sequence[str]) -> dict[str, float] | None:
    try:
        values = [float(cell) if cell else float("nan") for cell in cells]
        return dict(zip(columns, values, strict=True))
    except ValueError:
        return None


def _line(cells: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
