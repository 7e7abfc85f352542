"""Statistics that a release can hang on: a point never travels without its interval."""

from typing import NamedTuple

import numpy as np
import scipy.stats
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 2000


class Interval(NamedTuple):
    """A point estimate between its bounds."""

    low: float
    point: float
    high: float

    def __str__(self) -> str:
        return f"{self.point:.3g} [{self.low:.3g}, {self.high:.3g}]"


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


def iqm(values: NDArray[np.float64]) -> float:
    """Interquartile mean: the mean of the middle half, outer values weighted by fraction.

    Agarwal et al. 2021 (arXiv:2108.13264). [1..8] gives 4.5; [0, 1, 2, 3, 100] gives 2.0.
    """
    ordered = np.sort(np.asarray(values, float).ravel())
    n = ordered.size
    edges = np.arange(n + 1) / n
    share = np.clip(np.minimum(edges[1:], 0.75) - np.maximum(edges[:-1], 0.25), 0.0, None)
    return float((share * ordered).sum() / share.sum())


def bootstrap(
    values: NDArray[np.float64], seed: int = 0, confidence: float = CONFIDENCE
) -> Interval:
    """IQM over runs with its percentile bootstrap interval. values: [runs].

    One run has no interval (NaN).
    """
    runs = np.asarray(values, float)
    point = iqm(runs)
    if runs.size < 2:
        return Interval(np.nan, point, np.nan)
    draws = np.random.default_rng(seed).choice(runs, (RESAMPLES, runs.size))
    spread = [iqm(draw) for draw in draws]
    low, high = np.quantile(spread, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), point, float(high))


def mean_interval(values: NDArray[np.float64], confidence: float = CONFIDENCE) -> Interval:
    """Mean with its Student-t interval; values that are not finite make it NaN, never pass."""
    sample = np.asarray(values, float)
    if sample.size < 2 or not np.isfinite(sample).all():
        return Interval(np.nan, float(np.mean(sample)) if sample.size else np.nan, np.nan)
    half = scipy.stats.t.isf((1 - confidence) / 2, sample.size - 1) * scipy.stats.sem(sample)
    return Interval(float(sample.mean() - half), float(sample.mean()), float(sample.mean() + half))


def probability_of_improvement(
    new: NDArray[np.float64],
    old: NDArray[np.float64],
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Interval:
    """P(a run of `new` beats a run of `old`), ties count half.

    With a bootstrap interval over runs.
    """
    new, old = np.asarray(new, float), np.asarray(old, float)
    wins = (new[:, None] > old[None]) + 0.5 * (new[:, None] == old[None])
    if min(new.size, old.size) < 2:
        return Interval(np.nan, float(wins.mean()), np.nan)
    rng = np.random.default_rng(seed)
    rows = rng.integers(new.size, size=(RESAMPLES, new.size))
    columns = rng.integers(old.size, size=(RESAMPLES, old.size))
    spread = wins[rows[:, :, None], columns[:, None, :]].mean(axis=(1, 2))
    low, high = np.quantile(spread, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(wins.mean()), float(high))


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
