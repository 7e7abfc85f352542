"""Profiles: how large each departure from simulation really is, with unit and source."""

import hashlib
import math
from typing import Literal

from pydantic import BaseModel, ConfigDict

from robo_rl import content
from robo_rl.injection.injectors import Injector, check_use
from robo_rl.injection.magnitudes import MAGNITUDE, refused, why_not

Basis = Literal["measured", "datasheet", "literature", "estimate"]
EVIDENCE: tuple[Basis, ...] = ("measured", "datasheet")  # what a GREEN margin may rest on
SECTIONS = ("timing", "sensors", "actuators", "dynamics", "environment")


class ProfileRow(BaseModel):
    """One departure: which injector, how large it was measured, how large training made it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    section: str
    injector: str
    options: dict[str, str | float] = {}
    unit: str
    measured: float | None = None  # the real magnitude; None: unknown, and so is the margin
    basis: Basis = "estimate"  # how it is known
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
    channel, a wrong unit, a number that the injector does not take, a sweep that ends below the
    measured magnitude.
    """
    path = content.find("sim2real", name)
    problems = content.Problems(path)
    profile = content.parse(Profile, path, problems, name=path.stem)
    for key, row in profile.rows.items():
        _check(row, problems, ("rows", key))
    problems.demand()
    return profile


def digest_of(profile: Profile) -> str:
    """SHA-256 of what a profile says."""
    return hashlib.sha256(profile.model_dump_json().encode()).hexdigest()


def _check(row: ProfileRow, problems: content.Problems, key: content.Key) -> None:
    problems.check(SECTIONS, row.section, kind="section", key=(*key, "section"))
    injector = check_use(problems, key, row.injector, row.options)
    if injector and row.unit != (expected := injector.unit_with(row.options)):
        problems.add((*key, "unit"), f"{row.unit!r} given, {row.injector} takes {expected!r}.")
    _check_numbers(row, injector, problems, key)
    if row.trained is not None and row.trained[0] > row.trained[1]:
        problems.add((*key, "trained"), f"{list(row.trained)} begins beyond its end.")
    if row.measured is not None and not 0 < row.measured < row.sweep_to:
        problems.add(
            (*key, "measured"),
            f"{row.measured:g} must be above 0 and below sweep_to {row.sweep_to:g}.",
        )


def _check_numbers(
    row: ProfileRow, injector: Injector | None, problems: content.Problems, key: content.Key
) -> None:
    """Every magnitude and option is one that the injector takes."""
    most = injector.most if injector else math.inf
    numbers = {"measured": (row.measured,), "sweep_to": (row.sweep_to,), "trained": row.trained}
    for field, values in numbers.items():
        given = [value for value in values or () if value is not None]
        reasons = [reason for value in given if (reason := why_not(MAGNITUDE, value, value, most))]
        if reasons:
            problems.add((*key, field), reasons[0])
    for option, value in row.options.items():
        if option != "channel" and (reason := refused(option, value, most)):
            problems.add((*key, "options", option), reason)
