"""What must hold in a scenario.

Signed margins over recorded signals, in the manner of signal temporal logic.

A margin is positive where the requirement holds; each predicate is divided by its scale, so margins
of different quantities compare. A NaN in the signal makes the margin NaN, never positive.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robo_rl import content

LOST = -1.0  # the margin of a moment the episode never reached because it was terminated

Series = NDArray[np.float64]  # [T]


class Trace(NamedTuple):
    """One episode's signals, up to its last step."""

    signals: Mapping[str, Series]
    control_s: float
    terminated: bool


Requirement = Callable[[Trace], float]  # the margin; -inf .. inf, NaN = error, +inf = empty window


def parse_requirement(body: Mapping[str, Any], where: str) -> Requirement:
    """A requirement from its mapping of one operator (always, eventually, recovers) to its body."""
    if len(body) != 1:
        raise content.UserError(f"{where}: one operator expected, found {sorted(body)}.")
    operator, inner = next(iter(body.items()))
    makers = {"always": _always, "eventually": _eventually, "recovers": _recovers}
    return content.lookup(makers, operator, kind="operator", where=where)(dict(inner), where)


def _always(body: dict[str, Any], where: str) -> Requirement:
    """The smallest margin over the episode; a terminated episode loses."""
    margin = _predicate(body, where)

    def check(trace: Trace) -> float:
        worst = float(np.min(margin(trace)))
        return min(worst, LOST) if trace.terminated else worst

    return check


def _eventually(body: dict[str, Any], where: str) -> Requirement:
    """The largest margin over the episode."""
    margin = _predicate(body, where)
    return lambda trace: float(np.max(margin(trace)))


def _recovers(body: dict[str, Any], where: str) -> Requirement:
    """Within within_s after after_s the predicate holds for holds_s without a break."""
    names = ("after_s", "within_s", "holds_s")
    missing = [name for name in names if name not in body]
    if missing:
        raise content.UserError(f"{where}: {', '.join(missing)} missing.")
    after_s, within_s, holds_s = (float(body.pop(name)) for name in names)
    margin = _predicate(body, where)

    def check(trace: Trace) -> float:
        start, span, hold = (round(t / trace.control_s) for t in (after_s, within_s, holds_s))
        values = margin(trace)
        if trace.terminated:
            values = np.concatenate([values, np.full(start + span + hold, LOST)])
        window = values[start : start + span + hold]
        if window.size < hold + 1:
            return np.inf
        if np.isnan(window).any():
            return np.nan
        held = np.lib.stride_tricks.sliding_window_view(window, hold).min(axis=1)
        return float(held.max())

    return check


def _predicate(body: dict[str, Any], where: str) -> Callable[[Trace], Series]:
    if len(body) != 1:
        raise content.UserError(f"{where}: one signal expected, found {sorted(body)}.")
    signal, bounds = next(iter(body.items()))
    known = {"below", "above", "scale"}
    if not isinstance(bounds, dict) or set(bounds) - known or not set(bounds) & {"below", "above"}:
        raise content.UserError(
            f"{where}: {signal}: below and/or above (and scale) expected, found {bounds!r}."
        )
    below, above = float(bounds.get("below", np.inf)), float(bounds.get("above", -np.inf))
    scale = float(
        bounds.get("scale", next(abs(b) for b in (below, above) if np.isfinite(b)) or 1.0)
    )

    def margin(trace: Trace) -> Series:
        values = content.lookup(trace.signals, signal, kind="signal", where=where)
        return np.minimum(below - values, values - above) / scale

    return margin
