"""What a few training runs (seeds) say about an algorithm, and about two of them."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.integrate
import scipy.optimize
import scipy.stats
from numpy.typing import NDArray

from robo_rl.rollouts.statistics import CONFIDENCE, POWER, Interval

BOUNDED_BY_EXTREMES = 5  # runs whose extremes alone bound the median in 93.75 % of cases
ARRANGEMENTS = 20_000  # up to so many the rank test counts them all; it draws so many of more


def iqm(values: NDArray[np.float64]) -> float:
    """Interquartile mean: floor(n / 4) values are left out at either end, the rest is averaged.

    As rliable and scipy.stats.trim_mean(values, 0.25) have it: whole values, so that up to three
    it is the mean. Agarwal et al. 2021 (arXiv:2108.13264). [0, 1, 2, 3, 100] gives 2.0.
    """
    return float(scipy.stats.trim_mean(np.asarray(values, float).ravel(), 0.25))


def over_runs(
    scores: NDArray[np.float64],
    floor: float = -np.inf,
    ceiling: float = np.inf,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Median of independent training runs, and the interval of the median of all such runs.

    scores: [runs]; NaN is a run that crashed and ranks below every score. floor, ceiling: where
    no score can lie; the interval ends there, which costs no coverage.

    From 6 runs on, the interval is bounded by scores (order statistics): at least `confidence`
    whatever their distribution. With fewer, lowest and highest are widened by `widening` times
    their range: exact for normal scores; at 5 runs at least 0.9375 for any distribution. Below
    that two outcomes far apart and equally likely cannot be covered by anything that sees only
    these runs: all three fall on the same one in 1 of 4 cases (benchmarks/coverage.py has the
    table). Equal scores of fewer than 5 runs have no interval (NaN), nor has a single run.
    """
    ordered = np.sort(as_ranked(scores))
    runs, point = ordered.size, float(np.median(ordered))
    if runs < 2:
        return Interval(np.nan, point, np.nan)
    left_out, share = _left_out(runs, confidence), widening(runs, confidence)
    low, high = float(ordered[left_out]), float(ordered[-1 - left_out])
    if share > 0:
        known = ordered[np.isfinite(ordered)]
        spread = float(np.ptp(known)) if known.size > 1 else np.inf
        if spread == 0.0 and runs < BOUNDED_BY_EXTREMES:
            return Interval(np.nan, point, np.nan)
        low = low - share * spread
        high = high + share * spread if known.size else np.inf
    return Interval(low if np.isneginf(low) else max(low, floor), point, min(high, ceiling))


def as_ranked(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The scores with NaN as -inf: a run that crashed is worse than any that did not."""
    values = np.asarray(scores, float)
    return np.where(np.isnan(values), -np.inf, values)


def _left_out(runs: int, confidence: float) -> int:
    """Scores outside the interval at either end: the most at which it still covers the median."""
    tail = (1.0 - confidence) / 2
    below = scipy.stats.binom.cdf(np.arange(runs), runs, 0.5)
    return max(0, int((below <= tail).sum()) - 1)


@functools.cache
def widening(runs: int, confidence: float = CONFIDENCE) -> float:
    """Share of their range by which the extremes of normal scores are widened to cover the median.

    The smallest c >= 0 with P(x_1 - c (x_n - x_1) > median) <= (1 - confidence) / 2. Two runs:
    5.853, which is Student's interval; then 0.812, 0.242, 0.039, and 0 from 6 runs on.
    """
    normal, tail = scipy.stats.norm, (1.0 - confidence) / 2
    if 0.5**runs <= tail:
        return 0.0

    def missed(share: float) -> float:
        def lowest_at(x: float) -> float:
            others = normal.cdf(x * (1.0 + share) / share) - normal.cdf(x)
            return float(runs * normal.pdf(x) * others ** (runs - 1))

        return float(scipy.integrate.quad(lowest_at, 0.0, np.inf)[0]) - tail

    return _root(missed, 1e-3, 1e3)


def probability_of_improvement(
    new: NDArray[np.float64], old: NDArray[np.float64], confidence: float = CONFIDENCE
) -> Interval:
    """P(a run of `new` beats a run of `old`), ties count half, with its interval.

    new, old: [runs]; NaN ranks below every score. Score interval of the Mann-Whitney statistic
    (Newcombe 2006, Stat. Med. 25:559, method 5): it is never of zero width, and 5 runs that all
    beat 5 others give [0.64, 1]. Says something only where `p_equal` is small.
    """
    new, old = as_ranked(new), as_ranked(old)
    wins = float(((new[:, None] > old[None]) + 0.5 * (new[:, None] == old[None])).mean())
    z2 = float(scipy.stats.norm.isf((1 - confidence) / 2)) ** 2
    pairs, more = new.size * old.size, (new.size + old.size) / 2 - 1

    def excess(p: float) -> float:
        shared = 1.0 + more * ((1 - p) / (2 - p) + p / (1 + p))
        return (p - wins) ** 2 - z2 * p * (1 - p) * shared / pairs

    tiny = 1e-9
    low = 0.0 if wins < tiny else _root(excess, 0.0, wins - tiny)
    high = 1.0 if wins > 1 - tiny else _root(excess, wins + tiny, 1.0)
    return Interval(low, wins, high)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that changes its sign between low and high is zero."""
    found: Any = scipy.optimize.brentq(function, low, high)
    return float(found)


def p_equal(new: NDArray[np.float64], old: NDArray[np.float64]) -> float:
    """Two-sided p-value of "runs of both come from one distribution": permutation of ranks.

    Every way of dealing the scores out is counted (a sample of them beyond ARRANGEMENTS), ties
    share a rank, NaN ranks below every score; so equal algorithms are called different at 5 % in
    at most 5 % of comparisons, whatever their distribution. 3 against 3 never gives less than 0.1,
    a single run never less than 1.
    """
    new, old = as_ranked(new), as_ranked(old)
    if min(new.size, old.size) < 2:
        return 1.0
    ranks = scipy.stats.rankdata(np.concatenate([new, old]))
    found = scipy.stats.permutation_test(
        (ranks[: new.size], ranks[new.size :]),
        lambda a, b, axis: np.sum(a, axis=axis),
        vectorized=True,
        n_resamples=ARRANGEMENTS,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values made good for their number (Holm 1979), in the order given.

    [0.01, 0.04, 0.03] gives [0.03, 0.06, 0.06].
    """
    order = np.argsort(p_values)
    factors = np.arange(len(order), 0, -1)
    raised = np.minimum(np.maximum.accumulate(np.asarray(p_values)[order] * factors), 1.0)
    adjusted = np.empty(len(order))
    adjusted[order] = raised
    return [float(p) for p in adjusted]


def least_runs(comparisons: int, confidence: float = CONFIDENCE) -> int:
    """Fewest runs an arm with which the rank test can decide one of so many comparisons.

    One comparison: 4; three: 5; fifteen: 6.
    """
    runs = 2
    while comparisons * 2 / math.comb(2 * runs, runs) > 1.0 - confidence:
        runs += 1
    return runs


def runs_needed(
    wins: float, comparisons: int, confidence: float = CONFIDENCE, power: float = POWER
) -> float:
    """Runs an arm that decide a difference as large as seen, with the power; inf if none is seen.

    wins: probability of improvement. Noether 1987 (JASA 82:645): (z + z')^2 / (6 (wins - 1/2)^2).
    """
    if wins == 0.5:
        return math.inf
    normal = scipy.stats.norm
    z = normal.isf((1.0 - confidence) / (2 * comparisons)) + normal.isf(1.0 - power)
    return max(math.ceil(z**2 / (6.0 * (wins - 0.5) ** 2)), least_runs(comparisons, confidence))
