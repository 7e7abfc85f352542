"""Which numbers an injector may be given: its magnitude, times, an actuator."""

import math
from typing import Any

import numpy as np

OPTION_UNITS = {"at_s": "s", "duration_s": "s"}
MAGNITUDE, ACTUATOR = "magnitude", "actuator"
NUMBERS = (MAGNITUDE, ACTUATOR, *OPTION_UNITS)
ROUNDING = 1e-9


def why_not(part: str, low: float, high: float, most: float = math.inf) -> str:
    """Why a magnitude or an option may not be a number from low to high; "" where it may.

    most: the largest magnitude of the injector.
    """
    if not 0 <= low <= high < math.inf:
        wanted = "finite number >= 0"
    elif part == MAGNITUDE and high > most + ROUNDING:
        wanted = f"number of at most {most:g}"
    elif part == "duration_s" and low == 0:
        wanted = "time above 0 s (it would push for no time)"
    elif part == ACTUATOR and not (low == high and float(low).is_integer()):
        wanted = "whole number"
    else:
        return ""
    return f"a {wanted} was expected, found {low:g}{f' to {high:g}' if low != high else ''}."


def refused(part: str, value: Any, most: float) -> str:
    """Why a magnitude or an option may not have a value; "" where it may."""
    if part == "channel":
        return "" if isinstance(value, str) else f"a text was expected, found {value!r}."
    if part not in NUMBERS or (part == ACTUATOR and value is None):
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return f"a number was expected, found {value!r}."
    return why_not(part, float(value), float(value), most)
