"""Profiles: how large each departure from simulation really is, with unit and source."""

import math

from pydantic import BaseModel, ConfigDict

from robo_rl import content
from robo_rl.injection.injectors import check_use

SECTIONS = ("timing", "sensors", "actuators", "dynamics", "environment")


class ProfileRow(BaseModel):
    """One departure: which injector, how large it was measured, how large training made it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    section: str
    injector: str
    options: dict[str, str | float] = {}
    unit: str
    measured: float | None = None  # None: nobody has measured it, the margin stays unknown
    trained: tuple[float, float] | None = None
    sweep_to: float
    source: str
    mitigation: str


class Profile(BaseModel):
    """sim2real/<name>.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    describe: str
    rows: dict[str, ProfileRow]


def load_profile(name: str) -> Profile:
    """A profile by name or path.

    Raises UserError with everything that is wrong in it: an unknown injector, section, option or
    channel, a wrong unit, a number that is not finite, a sweep that ends below the measured
    magnitude.
    """
    path = content.find("sim2real", name)
    problems = content.Problems(path)
    profile = content.parse(Profile, path, problems, name=path.stem)
    for key, row in profile.rows.items():
        _check(row, problems, ("rows", key))
    problems.demand()
    return profile


def _check(row: ProfileRow, problems: content.Problems, key: content.Key) -> None:
    problems.check(SECTIONS, row.section, kind="section", key=(*key, "section"))
    injector = check_use(problems, key, row.injector, row.options)
    if injector and row.unit != (expected := injector.unit_with(row.options)):
        problems.add((*key, "unit"), f"{row.unit!r} given, {row.injector} takes {expected!r}.")
    numbers = {"measured": (row.measured,), "sweep_to": (row.sweep_to,), "trained": row.trained}
    for field, values in numbers.items():
        if not all(value is None or math.isfinite(value) for value in values or ()):
            problems.add((*key, field), "a finite number was expected.")
    if row.measured is not None and not 0 < row.measured < row.sweep_to:
        problems.add(
            (*key, "measured"),
            f"{row.measured:g} must be above 0 and below sweep_to {row.sweep_to:g}.",
        )
