"""What a safety study left in results.json, as far as others read it."""

from pathlib import Path

from robo_rl.content import Stored, read_stored
from robo_rl.safety_eval.suite import Finding
from robo_rl.verdicts import Verdict


class JudgedBy(Stored):
    """The suite that judged."""

    name: str


class Judged(Stored):
    """A criterion of the suite."""

    required: bool
    max_rate: float
    reason: str


class Against(Stored):
    """The baseline; error says why the two policies could not be compared, "" where they could."""

    run: str
    policy_sha256: str
    error: str


class Compared(Stored):
    """A criterion in a scenario under both policies."""

    scenario: str
    criterion: str
    required: bool
    verdict: Verdict


class SafetyResults(Stored):
    """The findings of a study, and of which policy they are."""

    suite: JudgedBy
    criteria: dict[str, Judged]
    findings: tuple[Finding, ...]
    baseline: Against | None
    regressions: tuple[Compared, ...]
    not_judged: dict[str, str]
    command: str
    policy_sha256: str


def load(run: Path) -> tuple[SafetyResults, ...]:
    """The results of every safety study in a run folder, sorted by its folder's name."""
    found = sorted((run / "safety").glob("*/results.json"))
    return tuple(read_stored(SafetyResults, path) for path in found)
