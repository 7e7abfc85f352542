"""Statistics that a release can hang on: a point never travels without its interval."""

import math
from typing import NamedTuple

import numpy as np
import scipy.stats
from numpy.typing import NDArray

CONFIDENCE = 0.95
POWER = 0.8  # probability with which a study should find what is there


class Interval(NamedTuple):
    """A point estimate between its bounds."""

    low: float
    point: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{figure(self.point)} (no interval)"
        return f"{figure(self.point)} [{figure(self.low)}, {figure(self.high)}]"


def figure(value: float) -> str:
    """A number with four significant digits and no exponent: 3,346, 0.01235, 1,000."""
    if not math.isfinite(value):
        return {math.inf: "inf", -math.inf: "-inf"}.get(value, "not known")
    if value == 0 or abs(value) < 1e-6:
        return "0"
    decimals = 3 - math.floor(math.log10(abs(value)))
    rounded = round(value, decimals)
    shown = f"{rounded:,.{max(decimals, 0)}f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def rate(flags: NDArray[np.bool_], confidence: float = CONFIDENCE) -> Interval:
    """Share of episodes that are flagged, with its exact two-sided (Clopper-Pearson) interval.

    flags: [N], N >= 1, independent episodes. Exact, not Wald: after 0 of N Wald claims certainty.
    """
    test = scipy.stats.binomtest(int(flags.sum()), int(flags.size))
    low, high = test.proportion_ci(confidence, method="exact")
    return Interval(float(low), float(flags.mean()), float(high))


def rate_bounds(
    failures: int, episodes: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """One-sided exact bounds of a failure rate, each at the given confidence.

    0 of 10 / 30 / 100 / 300 / 1000 bounds the rate by 0.26 / 0.095 / 0.030 / 0.010 / 0.003.
    """
    tail = 1.0 - confidence
    low = 0.0 if failures == 0 else scipy.stats.beta.ppf(tail, failures, episodes - failures + 1)
    high = (
        1.0
        if failures == episodes
        else scipy.stats.beta.isf(tail, failures + 1, episodes - failures)
    )
    return float(low), float(high)


def episodes_needed(limit: float, confidence: float = CONFIDENCE) -> int:
    """Fewest episodes without a failure whose upper bound is below a limit in (0, 1)."""
    return int(np.ceil(np.log(1.0 - confidence) / np.log(1.0 - limit)))


class PairedChange(NamedTuple):
    """How failures moved between an old and a new policy on the same episodes."""

    pairs: int
    newly_failing: int
    newly_passing: int
    difference: Interval  # new failure rate - old failure rate
    p_worse: float  # exact one-sided p-value of "the new policy fails more often"


def paired_change(
    new_failed: NDArray[np.bool_], old_failed: NDArray[np.bool_], confidence: float = CONFIDENCE
) -> PairedChange:
    """Exact McNemar test and a conservative interval of the difference of failure rates, [N] pairs.

    The interval combines exact bounds on the two discordant rates (Bonferroni), so it covers at
    least the stated confidence at any N.
    """
    new_failed, old_failed = np.asarray(new_failed, bool), np.asarray(old_failed, bool)
    worse = int((new_failed & ~old_failed).sum())
    better = int((old_failed & ~new_failed).sum())
    n = int(new_failed.size)
    each = 1.0 - (1.0 - confidence) / 4.0
    worse_low, worse_high = rate_bounds(worse, n, each)
    better_low, better_high = rate_bounds(better, n, each)
    p_worse = 1.0
    if worse + better:
        p_worse = float(scipy.stats.binomtest(worse, worse + better, 0.5, "greater").pvalue)
    difference = Interval(worse_low - better_high, (worse - better) / n, worse_high - better_low)
    return PairedChange(n, worse, better, difference, p_worse)


def cvar(values: NDArray[np.float64], alpha: float) -> float:
    """Mean of the worst (smallest) alpha share, the last value weighted by fraction.

    N = 9, alpha = 0.1 gives the smallest value.
    """
    ordered = np.sort(np.asarray(values, float))
    share = np.clip(alpha * ordered.size - np.arange(ordered.size), 0.0, 1.0)
    return float((share * ordered).sum() / share.sum())
