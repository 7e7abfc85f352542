"""Reward layers and costs of a task, read from rewards/<task>.yaml."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_type_hints

from robo_rl import content
from robo_rl.engines.base import Array
from robo_rl.envs.signals import Transition
from robo_rl.rewards import terms

LAYERS = ("task", "energy", "safety")  # each includes those before it
Term = Callable[..., Array]

TERMS: dict[str, Term] = {
    name: function
    for name, function in inspect.getmembers(terms, inspect.isfunction)
    if function.__module__ == terms.__name__ and not name.startswith("_")
}


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


@dataclass(frozen=True)
class RewardFile:
    """Every term of a task by layer, and its costs."""

    name: str
    weighted: tuple[Weighted, ...]
    costs: tuple[Weighted, ...]

    def upto(self, layer: str) -> tuple[Weighted, ...]:
        """The terms of a layer and of the layers below it."""
        known = {name: index for index, name in enumerate(LAYERS)}
        top = content.lookup(known, layer, kind="reward layer", where=f"rewards/{self.name}.yaml")
        return tuple(w for w in self.weighted if known[w.layer] <= top)


def load_rewards(name: str) -> RewardFile:
    """The reward file of a task.

    An unknown term or parameter says what is close and what exists.
    """
    path = content.find("rewards", name)
    sections = content.read_yaml(path)
    for section in sections:
        content.lookup(dict.fromkeys((*LAYERS, "costs")), section, kind="section", where=str(path))
    lines = {
        section: tuple(_line(str(path), section, key, dict(value)) for key, value in body.items())
        for section, body in sections.items()
    }
    weighted = tuple(line for layer in LAYERS for line in lines.get(layer, ()))
    return RewardFile(path.stem, weighted, lines.get("costs", ()))


def _line(where: str, section: str, name: str, value: dict[str, Any]) -> Weighted:
    weight = value.pop("weight", None)
    term = content.lookup(TERMS, value.pop("term", name), kind="term", where=f"{where}: {section}")
    if (weight is None) != (section == "costs"):
        expected = "has no weight" if section == "costs" else "needs a weight"
        raise content.UserError(f"{where}: {section}.{name}: a line of {section!r} {expected}.")
    wanted = set(list(inspect.signature(term).parameters)[1:])
    if set(value) != wanted:
        raise content.UserError(
            f"{where}: {section}.{name}: parameters {sorted(value)} given, {sorted(wanted)} needed."
        )
    numbers = {key: _number(where, f"{section}.{name}.{key}", v) for key, v in value.items()}
    return Weighted(
        name, term, numbers, _number(where, f"{section}.{name}.weight", weight or 0.0), section
    )


def _number(where: str, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise content.UserError(f"{where}: {key}: a number was expected, found {value!r}.")
    return value
