"""What a user can mend: the error that says so, and what is close to a name that is not there."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class UserError(Exception):
    """A mistake the user can mend.

    The command line prints it without a traceback and exits with 64 (wrong usage).
    """


class NotFiniteError(UserError):
    """A policy, a learner or physics produced numbers that are not finite; exit status 3."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """' Did you mean ...? Known: ...' for a name that is not among the known ones."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{hint} Known: {', '.join(names)}."


def lookup(table: Mapping[str, T], name: str, *, kind: str, where: str) -> T:
    """table[name]; a miss says what was asked for, where, what is close and what exists."""
    if name in table:
        return table[name]
    raise UserError(f"{where}: no {kind} named {name!r}.{suggestion(name, table)}")
