"""The words of every verdict: which is worse, how each looks, what a shell sees. Nobody else knows.

Verdicts are of a claim, gates of a release, grades of a risk.
"""

import enum
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Exit(enum.IntEnum):
    """Exit status of the console command; no two outcomes share one."""

    ACCEPT = 0
    REJECT = 1
    CONDITIONAL = 2
    ERROR = 3  # a policy or physics produced a number that is not finite
    USAGE = 64  # EX_USAGE of sysexits.h: a mistake in the command or in a file it names
    INTERNAL = 70  # EX_SOFTWARE of sysexits.h: a fault of the suite
    INTERRUPTED = 130  # 128 + SIGINT


class Verdict(enum.StrEnum):
    """PASS and FAIL are claims with evidence; the other two say why there is no claim."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    ERROR = "ERROR"


class Gate(enum.StrEnum):
    """The decision a release hangs on."""

    ACCEPT = "ACCEPT"
    REJECT = "REJECT"
    CONDITIONAL = "CONDITIONAL"
    ERROR = "ERROR"

    @property
    def exit_code(self) -> Exit:
        """The exit status of this decision."""
        return Exit[self.name]


class Grade(enum.StrEnum):
    """How far a departure is from breaking a policy; UNKNOWN is never a pass."""

    RED = "RED"
    UNKNOWN = "UNKNOWN"
    AMBER = "AMBER"
    GREEN = "GREEN"


SEVERITY = tuple(Grade)  # worst first
_GRADES = {
    Verdict.PASS: Grade.GREEN,
    Verdict.INCONCLUSIVE: Grade.AMBER,
    Verdict.FAIL: Grade.RED,
    Verdict.ERROR: Grade.RED,
}


class Tone(enum.Enum):
    """A colour with one meaning, safe for the colour-blind; never the only sign of it."""

    GOOD = "#00695c"
    BAD = "#b3261e"
    UNSURE = "#8a5a00"
    BROKEN = "#4a4a6a"


class Look(NamedTuple):
    """How a word is shown in reports, plots and on a terminal."""

    tone: Tone
    symbol: str

    @property
    def style(self) -> str:
        """The class of the word in an HTML report."""
        return self.tone.name.lower()

    @property
    def colour(self) -> str:
        """Its colour on paper."""
        return self.tone.value

    @property
    def marker(self) -> str:
        """Its point in a plot, as matplotlib names it."""
        return {"GOOD": "o", "BAD": "X", "UNSURE": "s", "BROKEN": "D"}[self.tone.name]

    @property
    def terminal(self) -> str:
        """Its colour on a terminal, as rich names it."""
        colours = {"GOOD": "green", "BAD": "red", "UNSURE": "yellow", "BROKEN": "magenta"}
        return colours[self.tone.name]


LOOKS: dict[str, Look] = {
    Verdict.PASS: Look(Tone.GOOD, "✔"),
    Gate.ACCEPT: Look(Tone.GOOD, "✔"),
    Grade.GREEN: Look(Tone.GOOD, "✔"),
    Verdict.FAIL: Look(Tone.BAD, "✘"),
    Gate.REJECT: Look(Tone.BAD, "✘"),
    Grade.RED: Look(Tone.BAD, "✘"),
    Verdict.INCONCLUSIVE: Look(Tone.UNSURE, "?"),
    Gate.CONDITIONAL: Look(Tone.UNSURE, "?"),
    Grade.AMBER: Look(Tone.UNSURE, "!"),
    Verdict.ERROR: Look(Tone.BROKEN, "⚠"),
    Grade.UNKNOWN: Look(Tone.BROKEN, "∅"),
}


def grade_of(verdict: Verdict) -> Grade:
    """The risk that a verdict leaves."""
    return _GRADES[verdict]


def worst(grades: Iterable[str]) -> Grade:
    """The worst of some grades; none is UNKNOWN."""
    found = set(grades)
    return next((grade for grade in SEVERITY if grade in found), Grade.UNKNOWN)


def tally(grades: Iterable[str]) -> dict[str, int]:
    """How often each grade was given, worst first; those that were not are 0."""
    found = list(grades)
    return {str(grade): found.count(grade) for grade in SEVERITY}


def tally_words(counts: Mapping[str, int]) -> str:
    """A tally in words; what was not given is not mentioned."""
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count)


def exit_of_grades(grades: Iterable[str], fail_on: Grade) -> Exit:
    """REJECT where a grade is RED, CONDITIONAL where one is as bad as `fail_on`, else ACCEPT."""
    found = worst(grades)
    if SEVERITY.index(found) > SEVERITY.index(fail_on):
        return Exit.ACCEPT
    return Exit.REJECT if found is Grade.RED else Exit.CONDITIONAL
