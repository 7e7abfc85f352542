"""What a gap study left in results.json, as far as others read it."""

from pathlib import Path

from robo_rl.content import Stored, read_stored
from robo_rl.rollouts.statistics import Interval
from robo_rl.verdicts import Grade


class Named(Stored):
    """The profile that was swept."""

    name: str


class Margin(Stored):
    """The breaking point over the measured magnitude; low is None beyond the sweep."""

    low: float | None


class Swept(Stored):
    """One departure; successes and episodes of each magnitude that was tried."""

    name: str
    section: str
    unit: str
    measured: float | None
    mitigation: str
    magnitudes: tuple[float, ...]
    successes: tuple[int, ...]
    episodes: tuple[int, ...]
    margin: Margin | None
    verdict: Grade
    why: str


class Undisturbed(Stored):
    """How often the task is done with nothing departed."""

    verdict: Grade
    why: str


class Transferred(Stored):
    """The undisturbed episodes on another engine; no episodes where it could not run them."""

    engine: str
    episodes: int
    success: Interval
    verdict: Grade
    why: str


class GapResults(Stored):
    """The findings of a study, and of which policy they are."""

    profile: Named
    profile_file: str
    profile_sha256: str
    undisturbed: Undisturbed
    sweeps: tuple[Swept, ...]
    transfers: tuple[Transferred, ...]
    episode_s: float
    command: str
    policy_sha256: str


def load(run: Path) -> GapResults | None:
    """The results of the gap study in a run folder; None where none was run."""
    path = run / "gap" / "results.json"
    return read_stored(GapResults, path) if path.is_file() else None
