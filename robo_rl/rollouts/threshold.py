"""Where success falls below a floor as a magnitude grows: found by trying, with a valid interval.

A working model (success falls with the logarithm of the magnitude) proposes what is tried next and
how likely it is to succeed; what is claimed rests on test martingales alone, so that the interval
holds whatever curve is true, whichever levels were tried and whenever the search stopped (Ville's
inequality; Waudby-Smith and Ramdas, 2024, doi:10.1093/jrsssb/qkad009). Episodes of one search must
be independent of each other.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robo_rl.rollouts.statistics import Interval

FLOOR = 0.8  # share of the undisturbed success that must be kept
RISK = 0.05  # that the true breaking point lies outside, both sides together
PER_OCTAVE = 24  # magnitudes that may be tried between one and its double
CLOSE = 1.25  # bounds no further apart than this are close enough
WIDE = 2.0  # while it may lie anywhere in a range so wide, tries are spread over it
APART = 1.08  # how far from the expected breaking point its two sides are shown
EPISODES = 240  # the most that one search takes unless asked otherwise
# working model: success = top / (1 + (top / floor - 1) (magnitude / threshold)^slope), its top so
# far between floor and 1
SLOPES = (2.0, 4.0, 8.0, 16.0, 48.0)
TOPS = (0.25, 0.5, 0.75, 0.95)
CHEAP = 1.5  # times the least cost is still cheap
# or it fails whatever the magnitude: rates as shares of the floor, and how likely that is
BROKEN, BROKEN_SHARE = (0.02, 0.25, 0.5, 0.75, 0.95), 0.1
LEAST, MOST = 0.02, 0.99  # predictions are kept off certainty


def magnitudes(
    reference: float, least: float, most: float, step: float = 0.0
) -> NDArray[np.float64]:
    """What may be tried: 0, then from least to most in equal ratios, reference among them.

    step: where only multiples of something can be realised, rounded up.
    """
    octaves = np.log2([least / reference, most / reference]) * PER_OCTAVE
    found = reference * 2.0 ** (
        np.arange(math.ceil(octaves[0]), math.ceil(octaves[1])) / PER_OCTAVE
    )
    found = np.append(found, most)
    if step:
        found = np.ceil(found / step - 1e-4) * step
    return np.concatenate([[0.0], np.unique(found)])


def fewest_episodes(risk: float = RISK) -> int:
    """Successes in a row, none failing, after which success may be shown to be above the floor."""
    return math.ceil(math.log(2.0 / risk) / math.log(MOST / FLOOR))


class Tried(NamedTuple):
    """One magnitude and what its episodes did."""

    level: int
    successes: int
    episodes: int


class Search:
    """The search for one breaking point: ask() what to try, tell() what came of it.

    levels: magnitudes that may be tried, rising, the first is 0 (nothing departs). most: episodes.
    matters: magnitudes of which it is to be decided whether the breaking point is beyond them.
    floor: below which rate of success a policy has broken.
    """

    def __init__(
        self,
        levels: NDArray[np.float64],
        most: int = EPISODES,
        matters: tuple[float, ...] = (),
        floor: float = FLOOR,
        risk: float = RISK,
    ):
        self.levels, self.most, self.floor = levels, most, floor
        self._matters = tuple(self._nearest(m) for m in matters if m <= levels[-1])
        self.enough = math.log(2.0 / risk)
        self.successes = np.zeros(len(levels), int)
        self.episodes = np.zeros(len(levels), int)
        self._below = np.zeros(len(levels))  # evidence that success is below the floor here
        self._above = np.zeros(len(levels))
        self._curves, self._thresholds, self._log_weight = _curves(levels, floor)

    @property
    def spent(self) -> int:
        """Episodes so far of what departs."""
        return int(self.episodes[1:].sum())

    @property
    def tried(self) -> list[Tried]:
        """Every magnitude that was tried."""
        return [
            Tried(int(k), int(self.successes[k]), int(self.episodes[k]))
            for k in np.flatnonzero(self.episodes)
        ]

    def tell(self, level: int, success: NDArray[np.bool_]) -> None:
        """Counts new episodes of one magnitude, in the order in which they were drawn, [N]."""
        rates = self._curves[:, level]
        for good in success:
            predicted = float(np.clip(self._weights() @ rates, LEAST, MOST))
            self._below[level] += self._gain(min(predicted, self.floor), bool(good))
            self._above[level] += self._gain(max(predicted, self.floor), bool(good))
            self._log_weight += np.log(rates if good else 1.0 - rates)
        self.successes[level] += int(success.sum())
        self.episodes[level] += len(success)

    def expect(self, success: NDArray[np.bool_]) -> None:
        """Undisturbed episodes, [N]: they teach the working model and are no evidence."""
        for good in success:
            rates = self._curves[:, 0]
            self._log_weight += np.log(rates if good else 1.0 - rates)

    def bounds(self) -> tuple[int, int]:
        """Levels between which the breaking point lies: -1 below the first, len() beyond the last.

        Down to 0 if even what departs in nothing has not been shown to succeed.
        """
        low, high = -1, len(self.levels)
        below, above = self._evidence()
        for level in np.flatnonzero(self.episodes)[::-1]:
            if below[level] < self.enough:
                break
            high = int(level)
        for level in np.flatnonzero(self.episodes):
            if above[level] < self.enough:
                break
            low = int(level)
        return low, high

    def interval(self) -> Interval:
        """The breaking point: bounds valid together at 95 %, inf beyond the last magnitude.

        low = point = high = 0 where success is below the floor with nothing departed. The point
        is the working model's median, within the bounds and within what may be tried.
        """
        low, high = self.bounds()
        if high == 0:
            return Interval(0.0, 0.0, 0.0)
        lower = 0.0 if low < 0 else float(self.levels[low])
        upper = math.inf if high == len(self.levels) else float(self.levels[high])
        if low == len(self.levels) - 1:
            return Interval(math.inf, math.inf, math.inf)
        most = min(upper, float(self.levels[-1]))
        return Interval(lower, float(np.clip(self._quantile(0.5), lower, most)), upper)

    @property
    def done(self) -> bool:
        """Whether the bounds are close, nothing is left to find, or the episodes are spent."""
        low, high = self.bounds()
        if high <= 1 or low == len(self.levels) - 1 or self.spent >= self.most:
            return True
        return self._near() and self._open() is None

    def ask(self, episodes: int) -> NDArray[np.int64]:
        """The level of each of the next episodes, [episodes]; fewer where no more may be spent.

        First spread over all that is possible, then where it matters, then on both sides of the
        breaking point.
        """
        count = min(episodes, self.most - self.spent)
        spread = self._quantile(0.95) / max(self._quantile(0.05), self.levels[1])
        if spread > WIDE and not self._near():
            shares = (np.arange((count + 1) // 2) + 0.5) / ((count + 1) // 2)
            return self._shared([self._nearest(self._quantile(share)) for share in shares], count)
        if (level := self._open()) is not None:
            return self._shared([level], count)
        sides = [level for level in self._sides() if level is not None]
        return self._shared(sides or [self._nearest(self._quantile(0.5))], count)

    @staticmethod
    def _shared(levels: list[int], count: int) -> NDArray[np.int64]:
        """So many episodes at these levels, as equally as may be."""
        return np.sort(np.resize(levels, count))

    def to_decide(self, magnitude: float) -> float:
        """Episodes that would decide on which side of a magnitude the breaking point lies.

        The working model's median; very many where success is near the floor.
        """
        level, (below, above) = self._nearest(magnitude), self._evidence()
        rates = np.clip(self._curves[:, level], LEAST, MOST)
        missing = self.enough - np.where(rates > self.floor, above[level], below[level])
        costs = np.maximum(missing, 0.0) / self._growth(rates)
        order = np.argsort(costs)
        middle = int(np.searchsorted(np.cumsum(self._weights()[order]), 0.5))
        return float(costs[order[min(middle, len(order) - 1)]])

    def _near(self) -> bool:
        """Whether the bounds are as close as is asked, or nothing lies between them."""
        low, high = self.bounds()
        if high == low + 1:
            return True
        found = low > 0 and high < len(self.levels)
        return found and bool(self.levels[high] <= CLOSE * self.levels[low])

    def _open(self) -> int | None:
        """The magnitude that matters, lies between the bounds and can be decided; None if none is.

        The largest that the breaking point is likely to be beyond, else the smallest.
        """
        low, high = self.bounds()
        left, middle = self.most - self.spent, self._quantile(0.5)
        between = sorted(k for k in self._matters if low < k < high)
        beyond = [k for k in between if self.levels[k] <= middle]
        for level in [*beyond[::-1], *between[:1]]:
            if self.to_decide(float(self.levels[level])) <= left:
                return level
        return None

    def _evidence(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Evidence that the breaking point lies below each level, and beyond it; logarithms."""
        return np.cumsum(self._below), np.cumsum(self._above[::-1])[::-1]

    def _sides(self) -> tuple[int | None, int | None]:
        """Which levels to show next to be below the breaking point, and beyond it."""
        low, high = self.bounds()
        left = self.most - self.spent
        middle, rates = self._quantile(0.5), self._weights() @ self._curves
        below, above = self._evidence()
        open_ = np.arange(max(low + 1, 1), min(high, len(rates)))
        under = list(open_[self.levels[open_] <= middle / APART])
        over = list(open_[self.levels[open_] >= middle * APART])
        if middle >= self.levels[-1]:
            under = [len(rates) - 1]
        cost_under = [self._cost(float(rates[k]), float(above[k]), 1.0) for k in under]
        cost_over = [self._cost(float(rates[k]), float(below[k]), -1.0) for k in over]
        share = left / 2 if under and over else left
        return _affordable(under[::-1], cost_under[::-1], share), _affordable(
            over, cost_over, share
        )

    def _cost(self, rate: float, evidence: float, side: float) -> float:
        """Episodes until the evidence is enough, if the rate is what the working model says."""
        rate = float(np.clip(rate, LEAST, MOST))
        if side * (rate - self.floor) <= 0:
            return math.inf
        return max(self.enough - evidence, 0.0) / float(self._growth(np.array(rate)))

    def _gain(self, bet: float, good: bool) -> float:
        """What an episode adds to the evidence for a rate unlike the floor, if this is bet on."""
        return math.log(bet / self.floor) if good else math.log((1.0 - bet) / (1.0 - self.floor))

    def _growth(self, rate: NDArray[np.float64]) -> NDArray[np.float64]:
        """What an episode adds on average where the rate is known: Kullback-Leibler, nats."""
        lost = (1 - rate) * np.log((1 - rate) / (1 - self.floor))
        return np.maximum(rate * np.log(rate / self.floor) + lost, 1e-9)

    def _weights(self) -> NDArray[np.float64]:
        weights = np.exp(self._log_weight - self._log_weight.max())
        return np.asarray(weights / weights.sum())

    def _quantile(self, share: float) -> float:
        """The working model's quantile of the breaking point."""
        cumulated = np.cumsum(self._weights())
        return float(self._thresholds[min(np.searchsorted(cumulated, share), len(cumulated) - 1)])

    def _nearest(self, magnitude: float) -> int:
        """The level nearest to a magnitude, never 0."""
        near = np.abs(np.log(self.levels[1:] / max(magnitude, self.levels[1])))
        return 1 + int(np.argmin(near))


def _affordable(levels: list[int], costs: list[float], share: float) -> int | None:
    """The first level that can be paid for, else the first cheap one; None where there is none."""
    if not levels:
        return None
    enough = max(share, CHEAP * min(costs))
    return next(level for level, cost in zip(levels, costs, strict=True) if cost <= enough)


def _curves(
    levels: NDArray[np.float64], floor: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Success at every level under every working curve, [curves, levels]; thresholds; log weights.

    Sorted by threshold, which lies midway between two levels, below the first or beyond the last.
    Before them, at threshold 0, what fails whatever the magnitude.
    """
    inner = np.sqrt(levels[1:-1] * levels[2:])
    thresholds = np.concatenate([[levels[1] / CLOSE], inner, [levels[-1] * CLOSE]])
    at, slope, top = (a.reshape(-1) for a in np.meshgrid(thresholds, SLOPES, TOPS, indexing="ij"))
    top = floor + (1.0 - floor) * top
    odds = (top / floor - 1.0)[:, None] * (levels[None] / at[:, None]) ** slope[:, None]
    falling = np.clip(top[:, None] / (1.0 + odds), 1e-4, 1 - 1e-4)
    broken = np.repeat(floor * np.array(BROKEN)[:, None], len(levels), axis=1)
    weight = np.concatenate(
        [
            np.full(len(BROKEN), BROKEN_SHARE / len(BROKEN)),
            np.full(len(at), (1.0 - BROKEN_SHARE) / len(at)),
        ]
    )
    return (
        np.concatenate([broken, falling]),
        np.concatenate([np.zeros(len(BROKEN)), at]),
        np.log(weight),
    )
