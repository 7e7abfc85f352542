"""What there is under a name: terms, injectors, metrics, engines, content files; yours included."""

from collections.abc import Callable, Iterable
from inspect import Parameter, signature
from typing import Any, NamedTuple, get_type_hints

from robo_rl import content, errors
from robo_rl.engines import ENGINES
from robo_rl.injection.injectors import INJECTORS
from robo_rl.rewards.terms import TERMS
from robo_rl.rollouts.metrics import METRICS
from robo_rl.scenarios.requirements import SIGNALS


class Part(NamedTuple):
    """One line of a list: what it is called, what it takes, its unit or range, what it is."""

    name: str
    takes: str
    unit: str
    meaning: str


def listed(kind: str) -> tuple[Part, ...]:
    """All parts of a kind; raises UserError for a kind that does not exist."""
    return tuple(errors.lookup(KINDS, kind, kind="kind of part", where="list")())


def _first_line(documented: Any) -> str:
    return (documented.__doc__ or "").strip().splitlines()[0]


def _terms() -> Iterable[Part]:
    for name, term in TERMS.items():
        low, high = get_type_hints(term, include_extras=True)["return"].__metadata__[0]
        takes = ", ".join(list(signature(term).parameters)[1:])
        yield Part(name, takes, f"{low:g} to {high:g}", _first_line(term))


def _injectors() -> Iterable[Part]:
    for name, injector in INJECTORS.items():
        takes = (k if v is Parameter.empty else f"{k}={v}" for k, v in injector.options.items())
        yield Part(name, ", ".join(takes), injector.unit, injector.meaning)


def _metrics() -> Iterable[Part]:
    for name, metric in METRICS.items():
        yield Part(name, "cost" if metric.takes_cost else "", metric.unit, metric.meaning)


def _engines() -> Iterable[Part]:
    return (Part(name, "", "", _first_line(build)) for name, build in ENGINES.items())


def _signals() -> Iterable[Part]:
    return (Part(name, "", "", "in a scenario's require; so is cost/NAME") for name in SIGNALS)


def _files(folder: str, says: str) -> Callable[[], Iterable[Part]]:
    def parts() -> Iterable[Part]:
        for name, path in sorted(content.files(folder).items()):
            yield Part(name, "", "", str(content.read_yaml(path).get(says, "")))

    return parts


KINDS: dict[str, Callable[[], Iterable[Part]]] = {
    "terms": _terms,
    "injectors": _injectors,
    "metrics": _metrics,
    "engines": _engines,
    "signals": _signals,
    "scenarios": _files("scenarios", "claim"),
    "suites": _files("safety_eval", "describe"),
    "profiles": _files("sim2real", "describe"),
}
