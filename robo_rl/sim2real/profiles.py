"""Profiles: how large each departure from simulation really is, with unit and source."""

from pydantic import BaseModel, ConfigDict, ValidationError

from robo_rl import content
from robo_rl.sim2real.injectors import INJECTORS

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

    Raises UserError for an unknown injector, section or option, a wrong unit, or a sweep that
    ends below the measured magnitude.
    """
    path = content.find("sim2real", name)
    try:
        profile = Profile(name=path.stem, **content.read_yaml(path))
    except (ValidationError, TypeError) as error:
        raise content.UserError(f"{path}: {error}") from error
    for key, row in profile.rows.items():
        _check(row, f"{path}: {key}")
    return profile


def _check(row: ProfileRow, where: str) -> None:
    content.lookup(dict.fromkeys(SECTIONS), row.section, kind="section", where=where)
    injector = content.lookup(INJECTORS, row.injector, kind="injector", where=where)
    for option in row.options:
        content.lookup(
            dict.fromkeys(injector.options), option, kind=f"option of {row.injector}", where=where
        )
    expected = injector.unit
    if "channel" in injector.options:
        if "channel" not in row.options:
            raise content.UserError(
                f"{where}: {row.injector} needs the option channel, for example 'joint_position"
                " rad'."
            )
        expected = str(row.options["channel"]).rpartition(" ")[2]
    if row.unit != expected:
        raise content.UserError(
            f"{where}: unit {row.unit!r} given, {row.injector} takes {expected!r}."
        )
    if row.measured is not None and not 0 < row.measured < row.sweep_to:
        raise content.UserError(
            f"{where}: measured {row.measured:g} must be above 0 and below sweep_to"
            f" {row.sweep_to:g}."
        )
