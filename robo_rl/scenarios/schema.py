"""The scenario file: checked when it is read, sampled when it is run."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from robo_rl import content, errors
from robo_rl.injection.episode import Injection, neutral
from robo_rl.injection.injectors import INJECTORS, check_use, inject
from robo_rl.injection.magnitudes import MAGNITUDE, OPTION_UNITS, why_not
from robo_rl.robots.robot import Robot
from robo_rl.scenarios.requirements import Requirement, parse_requirement


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Variable(_Strict):
    """A quantity that varies between episodes, uniformly over its range."""

    range: tuple[float, float]
    unit: str

    @property
    def finite(self) -> bool:
        """Whether the range has two ends, in order."""
        return -math.inf < self.range[0] <= self.range[1] < math.inf


class Injected(_Strict):
    """One injector with its magnitude and options; "$name" stands for a sampled variable."""

    injector: str
    magnitude: float | str
    options: dict[str, float | str] = {}

    def filled(self, values: Mapping[str, float], where: str) -> tuple[float, dict[str, Any]]:
        """Magnitude and options with every variable replaced by its sampled value."""
        options = {key: _filled(value, values, where) for key, value in self.options.items()}
        return _filled(self.magnitude, values, where), options


class Drawn(NamedTuple):
    """Some episodes of a scenario for a robot, [N]."""

    injection: Injection  # leading axis of episodes
    values: tuple[dict[str, float], ...]  # what was sampled for each
    begins_s: NDArray[np.float64]  # [N] when everything injected has begun to act; inf: never
    acts_by_s: NDArray[np.float64]  # [N] when everything injected has acted in full


class Scenario(_Strict):
    """scenarios/<name>.yaml."""

    name: str
    claim: str
    source: str
    sample: dict[str, Variable] = {}
    inject: tuple[Injected, ...] = ()
    require: dict[str, dict[str, Any]] = {}

    def requirements(self, values: dict[str, float]) -> dict[str, Requirement]:
        """What must hold in an episode with these sampled values."""
        where = f"scenario {self.name}"
        return {
            name: parse_requirement(_filled(body, values, where), f"{where}: {name}")
            for name, body in self.require.items()
        }

    def draw(self, rng: np.random.Generator) -> dict[str, float]:
        """One value per variable."""
        return {name: float(rng.uniform(*v.range)) for name, v in self.sample.items()}

    def injection(
        self, robot: Robot, values: dict[str, float], rng: np.random.Generator
    ) -> tuple[Injection, float, float]:
        """The injection of an episode with these sampled values; when it has begun and acted, s.

        inf where an injector changes nothing: such an episode tests no claim. Raises
        NotApplicableError where the robot has nothing an injector could act on.
        """
        where = f"scenario {self.name}"
        made, begins_s, by_s = neutral(robot.model, len(robot.channels)), 0.0, 0.0
        for item in self.inject:
            magnitude, options = item.filled(values, where)
            before = made
            made = inject(made, robot, item.injector, magnitude, rng, where, **options)
            begins, by = INJECTORS[item.injector].acts_s(options)
            if _same(before, made):
                begins = by = math.inf
            begins_s, by_s = max(begins_s, begins), max(by_s, by)
        return made, begins_s, by_s

    def signals(self) -> set[str]:
        """The signals that its requirements read."""
        bodies = (inner for body in self.require.values() for inner in body.values())
        return {name for body in bodies for name, value in body.items() if isinstance(value, dict)}


def load_scenario(name: str) -> Scenario:
    """A scenario by name or path.

    Everything in it is checked at once, whether or not it is used; raises UserError with all of it.
    """
    path = content.find("scenarios", name)
    problems = content.Problems(path)
    scenario = content.parse(Scenario, path, problems, name=path.stem)
    used = _variables([scenario.require, *(item.model_dump() for item in scenario.inject)])
    for key, variable in scenario.sample.items():
        if not variable.finite:
            low, high = variable.range
            problems.add(("sample", key, "range"), f"[{low}, {high}] is no finite range.")
        if key not in used:
            problems.add(("sample", key), f"nothing varies with it: no ${key} elsewhere.")
    for index, item in enumerate(scenario.inject):
        _check_injected(scenario, item, problems, ("inject", index))
    for key in scenario.require:
        problems.absorb(("require", key), lambda key=key: _check_required(scenario, key))
    problems.demand()
    return scenario


def _check_injected(
    scenario: Scenario, item: Injected, problems: content.Problems, key: content.Key
) -> None:
    found = check_use(problems, key, item.injector, item.options)
    units = {MAGNITUDE: found.unit_with(item.options)} if found else {}
    units |= {option: unit for option, unit in OPTION_UNITS.items() if option in item.options}
    most = found.most if found else math.inf
    for part, value in {MAGNITUDE: item.magnitude, **item.options}.items():
        at = (*key, part) if part == MAGNITUDE else (*key, "options", part)
        if part == "channel":
            continue
        if not isinstance(value, str):
            reasons = [why_not(part, value, value, most)]
        elif not value.startswith("$"):
            reasons = [f"a number or $variable was expected, found {value!r}."]
        elif problems.check(scenario.sample, value[1:], kind="variable", key=at):
            given, wanted = scenario.sample[value[1:]], units.get(part)
            wrong_unit = f"{value} is in {given.unit!r}, {item.injector} takes {wanted!r}."
            reasons = [wrong_unit if wanted not in (None, given.unit) else ""]
            reasons += [why_not(part, *given.range, most)] if given.finite else []
        else:
            reasons = []
        for reason in filter(None, reasons):
            problems.add(at, reason)


def _check_required(scenario: Scenario, name: str) -> None:
    """Raises UserError where something required is none with every variable at an end."""
    where = f"scenario {scenario.name}: {name}"
    for end in (0, 1):
        values = {key: v.range[end] for key, v in scenario.sample.items()}
        parse_requirement(_filled(scenario.require[name], values, where), where)


def _variables(value: Any) -> set[str]:
    """The names of all variables "$name" somewhere in a value."""
    if isinstance(value, str):
        return {value[1:]} if value.startswith("$") else set()
    if isinstance(value, Mapping):
        value = list(value.values())
    return set().union(*map(_variables, value)) if isinstance(value, list) else set()


def sample_batch(scenario: Scenario, robot: Robot, seed: int, episodes: range) -> Drawn:
    """Some episodes of a scenario under a seed.

    Episode i is the same whatever the policy and whichever episodes are drawn beside it.
    """
    injections, values, moments = [], [], []
    for episode in episodes:
        rng = np.random.default_rng([seed, episode, *scenario.name.encode()])
        values.append(scenario.draw(rng))
        injection, *moment = scenario.injection(robot, values[-1], rng)
        injections.append(injection)
        moments.append(moment)
    begins_s, by_s = np.asarray(moments, float).reshape(-1, 2).T
    return Drawn(stack(injections), tuple(values), begins_s, by_s)


def stack(injections: list[Injection]) -> Injection:
    """Injections of single episodes as one with a leading axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *injections)


def concatenate(batches: list[Injection]) -> Injection:
    """Batches of injections one after another."""
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *batches)


def _same(one: Injection, other: Injection) -> bool:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def _filled(value: Any, values: Mapping[str, float], where: str) -> Any:
    if isinstance(value, str) and value.startswith("$"):
        return errors.lookup(values, value[1:], kind="variable", where=where)
    if isinstance(value, dict):
        return {key: _filled(inner, values, where) for key, inner in value.items()}
    return value
