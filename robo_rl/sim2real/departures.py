"""What a gap study searches: the rows of a profile that act on a robot, and all of them at once."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robo_rl.injection.episode import Injection
from robo_rl.injection.injectors import INJECTORS, NotApplicableError, inject, neutral_of
from robo_rl.robots.robot import Robot
from robo_rl.rollouts import threshold
from robo_rl.sim2real.profiles import EVIDENCE, Profile, ProfileRow

TOGETHER = "everything at once"
MOST_TOGETHER = 4.0  # times what was measured
FINEST = 1.0 / 50.0  # of the measured magnitude: a policy that breaks there has no margin
FINEST_UNMEASURED = 1.0 / 1000.0  # of the largest magnitude tried


class Departure(NamedTuple):
    """One way to depart from simulation, and which magnitudes of it may be tried."""

    name: str
    row: ProfileRow | None  # None: every measured row at once, its magnitude a multiple
    levels: NDArray[np.float64]  # the first is 0
    make: Callable[[float, int], Injection]  # of a magnitude and an episode
    acts_by_s: float  # when it has acted in full
    known: bool  # the real magnitude was measured, or is from a data sheet

    @property
    def measured(self) -> float | None:
        """The real magnitude; None where nobody measured it."""
        return self.row.measured if self.row else 1.0

    @property
    def largest(self) -> float:
        """The largest magnitude that is tried."""
        return float(self.levels[-1])


def departures(
    robot: Robot, profile: Profile, seed: int
) -> tuple[tuple[Departure, ...], dict[str, str]]:
    """What of a profile applies to a robot, and why the rest does not."""
    found, skipped = [], {}
    for name, row in profile.rows.items():
        injector = INJECTORS[row.injector]

        def make(
            magnitude: float, episode: int, name: str = name, row: ProfileRow = row
        ) -> Injection:
            rng = _rng(seed, episode, name)
            made = neutral_of(robot)
            return inject(made, robot, row.injector, magnitude, rng, name, **row.options)

        try:
            make(row.sweep_to, 0)
        except NotApplicableError as reason:
            skipped[name] = str(reason)
            continue
        reference = row.measured or row.sweep_to
        finest = reference * (FINEST if row.measured else FINEST_UNMEASURED)
        levels = threshold.magnitudes(reference, finest, row.sweep_to, injector.quantum(robot))
        acts_by_s, known = injector.acts_s(row.options)[1], row.basis in EVIDENCE
        found.append(Departure(name, row, levels, make, acts_by_s, known))
    return tuple(found), skipped


def together(robot: Robot, parts: tuple[Departure, ...], seed: int) -> Departure | None:
    """Every measured departure at once, each at the same multiple of what was measured.

    No further than to where one of them ends. None where nothing was measured.
    """
    rows = {part.name: part.row for part in parts if part.row and part.row.measured is not None}
    if not rows:
        return None
    multiples = [row.sweep_to / (row.measured or np.inf) for row in rows.values()]
    most = min(MOST_TOGETHER, *multiples)

    def make(multiple: float, episode: int) -> Injection:
        made = neutral_of(robot)
        for name, row in rows.items():
            rng = _rng(seed, episode, name)
            magnitude = multiple * (row.measured or 0.0)
            made = inject(made, robot, row.injector, magnitude, rng, name, **row.options)
        return made

    at_once = [part for part in parts if part.name in rows]
    acts_by_s, known = max(p.acts_by_s for p in at_once), all(p.known for p in at_once)
    levels = threshold.magnitudes(1.0, FINEST, most)
    return Departure(TOGETHER, None, levels, make, acts_by_s, known)


def _rng(seed: int, episode: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, episode, *name.encode()])
