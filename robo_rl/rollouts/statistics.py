"""Statistics that a release can hang on: a point never travels without its interval."""

import bisect
import math
from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.stats
from numpy.typing import NDArray

CONFIDENCE = 0.95
POWER = 0.8  # probability with which a study should find what is there
MOST_EPISODES = 100_000


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
    return math.ceil(math.log(1.0 - confidence) / math.log(1.0 - limit))


def most_failures(episodes: int, limit: float, confidence: float = CONFIDENCE) -> int:
    """The most failures of so many episodes whose upper bound is still at most the limit; or -1."""
    return (
        bisect.bisect_right(
            range(episodes),
            limit,
            key=lambda failures: rate_bounds(failures, episodes, confidence)[1],
        )
        - 1
    )


def chance_to_pass(
    episodes: int, limit: float, rate: float, confidence: float = CONFIDENCE
) -> float:
    """Probability that episodes failing at `rate` show a rate below `limit`."""
    return float(scipy.stats.binom.cdf(most_failures(episodes, limit, confidence), episodes, rate))


def rate_that_passes(
    episodes: int, limit: float, confidence: float = CONFIDENCE, power: float = POWER
) -> float:
    """The largest true failure rate that passes with this probability; 0 if none does."""
    most = most_failures(episodes, limit, confidence)
    return float(scipy.stats.beta.isf(power, most + 1, episodes - most)) if most >= 0 else 0.0


def episodes_to_decide(
    rate: float,
    limit: float,
    confidence: float = CONFIDENCE,
    fail_confidence: float = CONFIDENCE,
    power: float = POWER,
) -> int | None:
    """Episodes after which a true failure rate is shown to be below or above a limit.

    With probability `power`, to within 2 %. confidence: of the bound that shows it is below,
    fail_confidence: above. None: the rate is so near the limit that 10^5 do not decide.
    """
    count = 1
    while count <= MOST_EPISODES:
        if rate < limit:
            decides = chance_to_pass(count, limit, rate, confidence)
        else:
            most_by_chance = scipy.stats.binom.isf(1.0 - fail_confidence, count, limit)
            decides = float(scipy.stats.binom.sf(most_by_chance, count, rate))
        if decides >= power:
            return count
        count = max(count + 1, round(1.02 * count))
    return None


class PairedChange(NamedTuple):
    """How failures moved between an old and a new policy on the same episodes."""

    pairs: int
    newly_failing: int
    newly_passing: int
    difference: Interval  # new failure rate - old failure rate; each bound one-sided
    p_worse: float  # exact one-sided p-value of "the new policy fails more often"


def paired_change(
    newly_failing: int, newly_passing: int, pairs: int, confidence: float = CONFIDENCE
) -> PairedChange:
    """Exact McNemar test, and one-sided bounds of the difference of two paired failure rates."""
    discordant = newly_failing + newly_passing
    p_worse = 1.0
    if discordant:
        test = scipy.stats.binomtest(newly_failing, discordant, 0.5, "greater")
        p_worse = float(test.pvalue)
    difference = Interval(
        -difference_upper(newly_passing, newly_failing, pairs, confidence),
        (newly_failing - newly_passing) / pairs,
        difference_upper(newly_failing, newly_passing, pairs, confidence),
    )
    return PairedChange(pairs, newly_failing, newly_passing, difference, p_worse)


def difference_upper(worse: int, better: int, pairs: int, confidence: float) -> float:
    """One-sided upper bound of (share that got worse - share that got better), in [-1, 1].

    Inverts the score test of a paired difference (Tango 1998, Statistics in Medicine 17:891) with a
    continuity correction of half a pair on either side: without it the bound covers 92 % at 32
    pairs where it says 95, with it at least what it says (benchmarks/coverage.py).
    """
    more, less = min(worse + 0.5, pairs), max(better - 0.5, 0.0)
    if worse >= pairs:
        return 1.0
    z = float(scipy.stats.norm.isf(1.0 - confidence))

    def excess(difference: float) -> float:
        linear = (2 * pairs - more + less) * difference - more - less
        constant = -less * difference * (1.0 - difference)
        root = math.sqrt(max(linear**2 - 8 * pairs * constant, 0.0))
        better_share = (root - linear) / (4 * pairs)
        variance = pairs * (2 * better_share + difference * (1.0 - difference))
        return (more - less - pairs * difference) + z * math.sqrt(max(variance, 0.0))

    bracket = ((more - less) / pairs, 1.0 - 1e-12)
    return float(scipy.optimize.root_scalar(excess, bracket=bracket).root)


def median_bounds(
    values: NDArray[np.float64], confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """One-sided exact bounds of a median, from order statistics; infinite where n is too small.

    Holds for any distribution, infinite values and ties included. values: [N], no NaN.
    """
    ordered, n = np.sort(np.asarray(values, float)), len(values)
    rank = int(scipy.stats.binom.ppf(1.0 - confidence, n, 0.5))  # P(X < rank) <= 1 - confidence
    if rank == 0:
        return -math.inf, math.inf
    return float(ordered[rank - 1]), float(ordered[n - rank])


def cvar(values: NDArray[np.float64], alpha: float) -> float:
    """Mean of the worst (smallest) alpha share, the last value weighted by fraction.

    N = 9, alpha = 0.1 gives the smallest value.
    """
    ordered = np.sort(np.asarray(values, float))
    share = np.clip(alpha * ordered.size - np.arange(ordered.size), 0.0, 1.0)
    return float((share * ordered).sum() / share.sum())
