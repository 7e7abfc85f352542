"""What must hold in a scenario.

Signed margins over recorded signals, in the manner of signal temporal logic.

A margin is positive where the requirement holds; each predicate is divided by its scale, so margins
of different quantities compare. A NaN in the signal makes the margin NaN, never positive.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robo_rl import errors
from robo_rl.rewards.layers import known_costs

LOST = -1.0  # the margin of a moment the episode never reached because it was terminated

Series = NDArray[np.float64]  # [T]


class Trace(NamedTuple):
    """One episode's signals, up to its last step."""

    signals: Mapping[str, Series]
    control_s: float
    terminated: bool


Requirement = Callable[[Trace], float]  # the margin, -inf .. inf; NaN: the episode does not decide

TIMES = ("after_s", "within_s", "holds_s")
SIGNALS = ("alive", "tilt_rad", "height_m", "speed_mps", "power_w")  # and cost/<name> of each cost


def parse_requirement(body: Mapping[str, Any], where: str) -> Requirement:
    """A requirement from its mapping of one operator (always, eventually, recovers) to its body.

    Raises UserError for what is no requirement, whatever its shape.
    """
    if len(body) != 1:
        raise errors.UserError(f"{where}: one operator expected, found {_listed(body)}.")
    operator, inner = next(iter(body.items()))
    makers = {"always": _always, "eventually": _eventually, "recovers": _recovers}
    make = errors.lookup(makers, operator, kind="operator", where=where)
    if not isinstance(inner, Mapping):
        raise errors.UserError(f"{where}: {operator}: a mapping was expected, found {inner!r}.")
    return make(dict(inner), where)


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
    """Within within_s after after_s the predicate holds for holds_s without a break.

    A termination before the end of that window loses, whatever held before it: who falls after the
    disturbance has not recovered. Where the time limit cuts the window short and nothing has held
    for long enough yet, the episode does not decide (NaN).
    """
    after_s, within_s, holds_s = _times_s(body, where)
    margin = _predicate({key: b for key, b in body.items() if key not in TIMES}, where)

    def check(trace: Trace) -> float:
        start, span, hold = (round(t / trace.control_s) for t in (after_s, within_s, holds_s))
        hold = max(1, hold)
        values = margin(trace)
        window = values[start : start + span + hold]
        if np.isnan(window).any():
            return np.nan
        if trace.terminated and values.size < start + span + hold:
            return min(LOST, float(np.min(window, initial=LOST)))
        if window.size < hold:
            return np.nan
        held = np.lib.stride_tricks.sliding_window_view(window, hold).min(axis=1)
        best = float(held.max())
        return best if best >= 0 or window.size == span + hold else np.nan

    return check


def _times_s(body: Mapping[str, Any], where: str) -> tuple[float, float, float]:
    """after_s (from 0 on), within_s and holds_s (above 0) of a recovery."""
    if missing := [name for name in TIMES if name not in body]:
        raise errors.UserError(f"{where}: {', '.join(missing)} missing.")
    wrong = [name for name in TIMES if not _number(body[name])]
    wrong += [name for name in TIMES if name not in wrong and body[name] < 0]
    wrong += [name for name in TIMES[1:] if name not in wrong and body[name] == 0]
    if wrong:
        found = ", ".join(f"{name}: {body[name]!r}" for name in TIMES if name in wrong)
        raise errors.UserError(
            f"{where}: finite times were expected, after_s from 0 on, within_s and holds_s above 0;"
            f" found {found}."
        )
    after_s, within_s, holds_s = (float(body[name]) for name in TIMES)
    return after_s, within_s, holds_s


def _number(value: Any) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))
    )


def _listed(body: Mapping[Any, Any]) -> list[str]:
    return sorted(map(str, body))


def _predicate(body: Mapping[str, Any], where: str) -> Callable[[Trace], Series]:
    if len(body) != 1:
        raise errors.UserError(f"{where}: one signal expected, found {_listed(body)}.")
    signal, bounds = next(iter(body.items()))
    known = (*SIGNALS, *(f"cost/{name}" for name in known_costs()))
    errors.lookup(dict.fromkeys(known), str(signal), kind="signal", where=where)
    below, above, scale = _bounds(bounds, f"{where}: {signal}")

    def margin(trace: Trace) -> Series:
        values = errors.lookup(trace.signals, signal, kind="signal", where=where)
        return np.minimum(below - values, values - above) / scale

    return margin


def _bounds(bounds: Any, where: str) -> tuple[float, float, float]:
    """Below which and above which a signal must be, and the scale of the margin."""
    keys = {"below", "above", "scale"}
    if not isinstance(bounds, dict) or set(bounds) - keys or not set(bounds) & {"below", "above"}:
        raise errors.UserError(
            f"{where}: below and/or above (and scale) expected, found {bounds!r}."
        )
    if not all(map(_number, bounds.values())):
        raise errors.UserError(f"{where}: finite numbers expected, found {bounds!r}.")
    if bounds.get("scale", 1.0) <= 0:
        raise errors.UserError(f"{where}: scale must be above 0, found {bounds!r}.")
    below, above = float(bounds.get("below", np.inf)), float(bounds.get("above", -np.inf))
    if above >= below:
        raise errors.UserError(f"{where}: nothing is above {above:g} and below {below:g}.")
    scale = float(
        bounds.get("scale", next(abs(b) for b in (below, above) if np.isfinite(b)) or 1.0)
    )
    return below, above, scale
