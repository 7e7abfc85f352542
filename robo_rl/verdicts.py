"""The words of every verdict, which of two is worse, and the exit status a shell sees for each."""

import enum
from collections.abc import Iterable


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


def worst(grades: Iterable[str]) -> Grade:
    """The worst of some grades; none is UNKNOWN."""
    found = set(grades)
    return next((grade for grade in SEVERITY if grade in found), Grade.UNKNOWN)


def exit_of_grades(grades: Iterable[str], fail_on: Grade) -> Exit:
    """REJECT where a grade is RED, CONDITIONAL where one is as bad as `fail_on`, else ACCEPT."""
    found = worst(grades)
    if SEVERITY.index(found) > SEVERITY.index(fail_on):
        return Exit.ACCEPT
    return Exit.REJECT if found is Grade.RED else Exit.CONDITIONAL
