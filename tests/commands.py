"""The console command, as a process of its own or within that of the tests."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from robo_rl import __main__, terminal

ROBO_RL = Path(sys.executable).with_name("robo-rl")


def as_a_process(*words, cwd, columns=200, **env) -> subprocess.CompletedProcess[str]:
    """What a shell sees of a command: its exit status and what it says."""
    return subprocess.run(
        [str(ROBO_RL), *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=500,
        env={**os.environ, "COLUMNS": str(columns), **env},
    )


@contextmanager
def restored(number: signal.Signals) -> Iterator[None]:
    """Hears a signal afterwards as before."""
    heard = signal.getsignal(number)
    try:
        yield
    finally:
        signal.signal(number, heard)


def here(*words, cwd=".", columns=200) -> subprocess.CompletedProcess[str]:
    """The same from the same entry point; commands on one environment compile it once."""
    said, complained = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, restored(signal.SIGINT):
        patch.setattr(sys, "argv", [str(ROBO_RL), *map(str, words)])
        patch.setenv("COLUMNS", str(columns))
        patch.setattr(terminal.console, "_width", columns)
        patch.chdir(cwd)
        with redirect_stdout(said), redirect_stderr(complained), pytest.raises(SystemExit) as left:
            __main__.main()
    status = left.value.code or 0
    return subprocess.CompletedProcess(words, status, said.getvalue(), complained.getvalue())
