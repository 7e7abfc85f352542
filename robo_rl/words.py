"""key=value words of a command line, read with what is wrong in them said."""

import math
import shlex
from pathlib import Path
from typing import Any

from robo_rl.content import LARGEST_SEED
from robo_rl.errors import UserError
from robo_rl.verdicts import Grade


def command(what: str, run: Path | None, words: list[str] | None) -> str:
    """The command as a shell takes it: what has spaces in it is quoted."""
    return shlex.join(["robo-rl", what, *([str(run)] if run else []), *(words or [])])


def keys(words: list[str] | None, known: tuple[str, ...], where: str) -> dict[str, Any]:
    """The words as a mapping; UserError for one that the command does not know."""
    from robo_rl.errors import suggestion
    from robo_rl.training import config

    given = config.parse(words or [])
    for key in given:
        if key not in known:
            raise UserError(f"{where}: no key named {key!r}.{suggestion(key, known)}")
    return given


def grade(given: dict[str, Any], where: str) -> Grade:
    """The grade that fails a command: fail_on=red, unknown (if left out) or amber."""
    from robo_rl.errors import lookup

    table = {grade.lower(): grade for grade in (Grade.RED, Grade.UNKNOWN, Grade.AMBER)}
    word = str(given.get("fail_on", "unknown")).lower()
    return lookup(table, word, kind="value of fail_on", where=where)


def count(given: dict[str, Any], key: str, default: int, least: int = 0) -> int:
    """A whole number, taken out of the words; UserError where it is none, or too small."""
    value = given.pop(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(f"{key}={value!r}: a whole number >= {least} was expected.")
    return value


def seed(given: dict[str, Any], default: int) -> int:
    """The seed, taken out of the words; UserError beyond 0 to LARGEST_SEED."""
    value = count(given, "seed", default)
    if value > LARGEST_SEED:
        raise UserError(f"seed={value}: the largest seed is {LARGEST_SEED}.")
    return value


def positive(given: dict[str, Any], key: str) -> float | None:
    """A finite number above 0, or None where it is left out."""
    value = given.pop(key, None)
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf
    ):
        raise UserError(f"{key}={value!r}: a finite number > 0 was expected.")
    return value
