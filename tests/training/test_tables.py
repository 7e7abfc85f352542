"""Tables: half a row is no row, and dropping rows never leaves less than the old table."""

from pathlib import Path

import pytest

from robo_rl import errors, files
from robo_rl.training import tables


@pytest.fixture()
def table(tmp_path):
    for steps in (8, 16, 24):
        tables.append_row(tmp_path / "t.csv", {"steps": steps, "x": steps / 16})
    return tmp_path / "t.csv"


@pytest.mark.parametrize("half", ["32,1", "32,1.5e-", "3", "32"])
def test_a_line_without_its_end_is_no_row(table, half):
    with table.open("a") as stream:
        stream.write(half)
    assert [row["steps"] for row in tables.read_rows(table)] == [8, 16, 24]


@pytest.mark.parametrize("line", ["32,1.5e-", "32", "32,1,2", "x,y"])
def test_a_line_that_is_no_row_of_numbers_is_left_out(table, line):
    with table.open("a") as stream:
        stream.write(line + "\n")
    assert [row["steps"] for row in tables.read_rows(table)] == [8, 16, 24]


def test_half_a_heading_is_no_table(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("ste")
    assert tables.read_rows(path) == []
    tables.append_row(path, {"steps": 8, "x": 0.5})
    assert path.read_text() == "steps,x\n8,0.5\n"


def test_rows_beyond_a_step_are_dropped_and_the_others_stay_to_the_last_digit(table):
    tables.append_row(table, {"steps": 32, "x": float("nan")})
    tables.keep_rows(table, 16)
    assert table.read_text() == "steps,x\n8,0.5\n16,1.0\n"


def test_a_process_killed_while_rows_are_dropped_leaves_the_old_table(table, monkeypatch):
    before = table.read_bytes()

    def killed(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        tables.keep_rows(table, 8)
    assert table.read_bytes() == before


def test_a_row_that_does_not_fit_on_the_disk_is_said_and_not_half_written(table, monkeypatch):
    before = table.read_bytes()

    class Full:
        def __init__(self, stream):
            self.stream = stream

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.stream.close()

        def __getattr__(self, name):
            return getattr(self.stream, name)

        def write(self, data):
            return self.stream.write(data[:3])

    real = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *a, **k: Full(real(path, *a, **k)))
    with pytest.raises(errors.UserError, match="No space left on device"):
        files.append_text(table, "32,2.0\n")
    monkeypatch.undo()
    assert table.read_bytes() == before


def test_a_table_keeps_the_columns_it_began_with(table):
    tables.append_row(table, {"x": 2.0, "new": 1.0, "steps": 32})
    assert table.read_text().endswith("32,2.0\n")
