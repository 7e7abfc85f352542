"""Ctrl-C while a run trains: heard at once, obeyed where nothing is lost."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

STOPPING = b"\nStopping as soon as everything is saved (Ctrl-C again: at once).\n"


class Interrupt:
    """Whether the run was asked to stop."""

    asked = False


@contextmanager
def deferred() -> Iterator[Interrupt]:
    """Turns the first Ctrl-C within into a flag to look at; a second one raises at once.

    A process that was started with Ctrl-C ignored goes on ignoring it. Outside the main thread,
    where Python hears no signals, the flag stays as it is.
    """
    interrupt = Interrupt()

    def hear(_: int, __: FrameType | None) -> None:
        if interrupt.asked:
            raise KeyboardInterrupt
        interrupt.asked = True
        with suppress(OSError):  # not through sys.stderr, which may be in the middle of a write
            os.write(2, STOPPING)

    before = signal.getsignal(signal.SIGINT)
    try:
        if before is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, hear)
    except ValueError:  # not the main thread
        before = signal.SIG_IGN
    try:
        yield interrupt
    finally:
        if before is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, before)
