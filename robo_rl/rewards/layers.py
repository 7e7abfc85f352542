"""Reward layers and costs of a task, read from rewards/<task>.yaml."""

import contextlib
import functools
import inspect
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError

from robo_rl import content, errors
from robo_rl.engines.base import Array
from robo_rl.rewards.terms import TERMS, Term
from robo_rl.robots.signals import Transition

LAYERS = ("task", "energy", "safety")  # each includes those before it
DONE = "done"  # the section that says when the task is done


@dataclass(frozen=True)
class Weighted:
    """One line of a reward file: a term, its parameters, and its weight (a cost has none)."""

    name: str
    term: Term
    parameters: dict[str, float]
    weight: float
    layer: str

    @property
    def bounds(self) -> tuple[float, float]:
        """The range of the term's value times its weight, from the term's return annotation."""
        low, high = get_type_hints(self.term, include_extras=True)["return"].__metadata__[0]
        ends = sorted(self.weight * end + 0.0 if self.weight else 0.0 for end in (low, high))
        return ends[0], ends[1]

    def __call__(self, t: Transition) -> Array:
        """The term's value without its weight."""
        return self.term(t, **self.parameters)


class Done(BaseModel):
    """What an episode must achieve to have done its task: a metric, a bound, and why that bound."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str
    at_most: float | None = None
    at_least: float | None = None
    unit: str
    reason: str


@dataclass(frozen=True)
class RewardFile:
    """Every term of a task by layer, its costs, and when the task is done."""

    name: str
    weighted: tuple[Weighted, ...]
    costs: tuple[Weighted, ...]
    done: Done | None  # None: the MDP's goal says so

    def terms_through(self, layer: str) -> tuple[Weighted, ...]:
        """The terms of a layer and of the layers below it."""
        known = {name: index for index, name in enumerate(LAYERS)}
        top = errors.lookup(known, layer, kind="reward layer", where=f"rewards/{self.name}.yaml")
        return tuple(w for w in self.weighted if known[w.layer] <= top)


def load_rewards(name: str) -> RewardFile:
    """The reward file of a task.

    Raises UserError with everything that is wrong in it: unknown sections, terms or parameters,
    numbers that are not finite, lines without a weight.
    """
    path = content.find("rewards", name)
    problems, sections = content.Problems(path), content.read_yaml(path)
    done = _done(sections.pop(DONE, None), problems)
    lines: dict[str, tuple[Weighted, ...]] = {}
    for section, body in sections.items():
        problems.check((*LAYERS, "costs", DONE), section, kind="section", key=(section,))
        if not isinstance(body, dict):
            problems.add((section,), f"a mapping was expected, found {body!r}.")
            continue
        found = (_line(section, key, value, problems) for key, value in body.items())
        lines[section] = tuple(line for line in found if line)
    problems.demand()
    weighted = tuple(line for layer in LAYERS for line in lines.get(layer, ()))
    return RewardFile(path.stem, weighted, lines.get("costs", ()), done)


def known_costs() -> tuple[str, ...]:
    """Every cost that some reward file declares, sorted; a file that cannot be read has none."""
    return _costs_of(tuple(sorted(content.files("rewards").values())))


@functools.cache
def _costs_of(paths: tuple[Path, ...]) -> tuple[str, ...]:
    found = set()
    for path in paths:
        with contextlib.suppress(errors.UserError):
            costs = content.read_yaml(path).get("costs")
            found |= set(costs) if isinstance(costs, dict) else set()
    return tuple(sorted(found))


def _done(body: Any, problems: content.Problems) -> Done | None:
    if body is None:
        return None
    if not isinstance(body, dict):
        problems.add((DONE,), f"a mapping was expected, found {body!r}.")
        return None
    try:
        done = Done(**body)
    except ValidationError as error:
        problems.validation(error, Done, (DONE,))
        return None
    bounds = [b for b in (done.at_most, done.at_least) if b is not None]
    if len(bounds) != 1 or not math.isfinite(bounds[0]):
        problems.add((DONE,), "exactly one of at_most and at_least, a finite number, is needed.")
    return done


def _line(section: str, name: str, body: Any, problems: content.Problems) -> Weighted | None:
    """One line of a section, or None where something is wrong in it."""
    key = (section, name)
    if not isinstance(body, dict):
        problems.add(key, f"a mapping was expected, found {body!r}.")
        return None
    value, before = dict(body), len(problems.found)
    weight, term = value.pop("weight", None), str(value.pop("term", name))
    if (weight is None) != (section == "costs"):
        expected = "has no weight" if section == "costs" else "needs a weight"
        problems.add(key, f"a line of {section!r} {expected}.")
    for part, number in {"weight": weight or 0.0, **value}.items():
        if isinstance(number, bool) or not isinstance(number, int | float):
            problems.add((*key, part), f"a number was expected, found {number!r}.")
        elif not math.isfinite(number):
            problems.add((*key, part), f"{number} is no finite number.")
    if problems.check(TERMS, term, kind="term", key=(*key, "term")):
        wanted = set(list(inspect.signature(TERMS[term]).parameters)[1:])
        if set(value) != wanted:
            problems.add(key, f"parameters {sorted(value)} given, {sorted(wanted)} needed.")
    if len(problems.found) > before:
        return None
    return Weighted(name, TERMS[term], value, weight or 0.0, section)
