"""How often the statistics of a comparison are right, on simulated scores of training runs.

Usage: python benchmarks/coverage.py
Three tables: how often each kind of interval over seeds holds what it is about; how often equal
algorithms are called different; how often the interval of the probability of improvement holds it.
Writes benchmarks/results/coverage.json and prints the tables.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.stats

from robo_rl.files import write_json
from robo_rl.policy.contract import versions
from robo_rl.rollouts import seeds

DRAWS, RESAMPLES, POPULATION = 10_000, 500, 4_000_000
COUNTS = (2, 3, 4, 5, 7, 10)
TARGET = Path(__file__).resolve().parent / "results" / "coverage.json"
RNG = np.random.default_rng(0)


class Scores(NamedTuple):
    """How the scores of training runs are distributed: draws of a shape, and the true median."""

    draw: Callable[[tuple[int, ...]], np.ndarray]
    median: float


def two_modes(share: float, apart: float) -> Scores:
    """Runs that end around 0, or in a share of cases `apart` standard deviations higher.

    Of equal modes every value between them is a median; the middle is taken.
    """

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        return np.where(RNG.random(shape) < share, apart, 0.0) + RNG.standard_normal(shape)

    def excess(x: float) -> float:
        cdf = scipy.stats.norm.cdf
        return (1.0 - share) * cdf(x) + share * cdf(x - apart) - 0.5

    return Scores(draw, apart / 2 if share == 0.5 else scipy.optimize.brentq(excess, -9.0, apart))


def capped(mean: float) -> Scores:
    """Returns with a standard deviation of 200 that cannot be above 1000."""
    return Scores(
        lambda shape: np.minimum(mean + 200.0 * RNG.standard_normal(shape), 1000.0),
        min(mean, 1000.0),
    )


DISTRIBUTIONS = {
    "normal": Scores(RNG.standard_normal, 0.0),
    "heavy tails (t, 3 degrees)": Scores(lambda shape: RNG.standard_t(3, shape), 0.0),
    "heavier tails (t, 2 degrees)": Scores(lambda shape: RNG.standard_t(2, shape), 0.0),
    "skewed (lognormal, sigma 1)": Scores(lambda shape: np.exp(RNG.standard_normal(shape)), 1.0),
    "60 % of runs at the cap": capped(1050.0),
    "30 % of runs at the cap": capped(895.0),
    **{
        f"two modes {round(100 * (1 - share))}/{round(100 * share)}, {apart} sd apart": two_modes(
            share, apart
        )
        for share in (0.2, 0.3, 0.4, 0.5)
        for apart in (3, 6, 30)
    },
}


def bootstrap(runs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap of the IQM, as most papers have it. runs: [draws, n]."""
    draws, n = runs.shape
    chosen = RNG.integers(n, size=(draws, RESAMPLES, n))
    again = np.sort(runs[np.arange(draws)[:, None, None], chosen], axis=-1)
    cut = n // 4
    means = again[..., cut : n - cut].mean(axis=-1)
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    return low, high


def student(runs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Student's interval of the mean. runs: [draws, n]."""
    n = runs.shape[1]
    half = scipy.stats.t.isf(0.025, n - 1) * runs.std(axis=1, ddof=1) / np.sqrt(n)
    return runs.mean(axis=1) - half, runs.mean(axis=1) + half


def ours(runs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The interval of the median that compare reports. runs: [draws, n]."""
    made = [seeds.over_runs(sample) for sample in runs]
    # equal scores of fewer than five runs have no interval, and claim nothing
    low = np.array([-np.inf if np.isnan(i.low) else i.low for i in made])
    return low, np.array([np.inf if np.isnan(i.high) else i.high for i in made])


def intervals() -> dict[str, dict[str, list[float]]]:
    """Share of draws in which each interval holds its estimand, by distribution and count."""
    table: dict[str, dict[str, list[float]]] = {}
    for name, scores in DISTRIBUTIONS.items():
        population = scores.draw((POPULATION,))
        truths = {
            "median, ours": scores.median,
            "mean, Student": float(population.mean()),
            "IQM, bootstrap": float(scipy.stats.trim_mean(population, 0.25)),
        }
        rows = {kind: list[float]() for kind in truths}
        for count in COUNTS:
            runs = scores.draw((DRAWS, count))
            for (kind, truth), method in zip(
                truths.items(), (ours, student, bootstrap), strict=True
            ):
                few = runs[: DRAWS // 5] if method is bootstrap else runs  # it takes longest
                low, high = method(few)
                rows[kind].append(float(np.mean((low <= truth) & (truth <= high))))
        table[name] = rows
        print(name, {kind: [f"{v:.3f}" for v in row] for kind, row in rows.items()}, flush=True)
    return table


def equal_called_different() -> dict[str, list[float]]:
    """Share of draws in which two arms of one distribution are called different at 5 %."""
    known: dict[bytes, float] = {}

    def p_equal(new: np.ndarray, old: np.ndarray) -> float:
        ranks = scipy.stats.rankdata(np.concatenate([new, old]))
        groups = np.concatenate([np.sort(ranks[: new.size]), np.sort(ranks[new.size :])])
        if (key := groups.tobytes()) not in known:  # only the ranks matter
            known[key] = seeds.p_equal(new, old)
        return known[key]

    table = {}
    names = list(DISTRIBUTIONS)[:6] + [
        "two modes 70/30, 30 sd apart",
        "two modes 50/50, 6 sd apart",
    ]
    for name in names:
        draw = DISTRIBUTIONS[name].draw
        table[name] = [
            float(np.mean([p_equal(*pair) <= 0.05 for pair in draw((draws, 2, count))]))
            for count, draws in zip(COUNTS, (DRAWS,) * 4 + (2000, 500), strict=True)
        ]
        print(name, [f"{v:.4f}" for v in table[name]], flush=True)
    return table


def improvement() -> dict[str, list[float]]:
    """Share of draws in which the interval of the probability of improvement holds it."""
    table = {}
    for chance in (0.5, 0.7, 0.9, 0.97):
        shift = np.sqrt(2.0) * scipy.stats.norm.ppf(chance)
        row = []
        for count in COUNTS:
            runs = RNG.standard_normal((DRAWS // 4, 2, count)) + np.array([shift, 0.0])[:, None]
            made = [seeds.probability_of_improvement(*pair) for pair in runs]
            row.append(float(np.mean([i.low <= chance <= i.high for i in made])))
        table[f"{chance:.2f}"] = row
        print(chance, [f"{v:.3f}" for v in row], flush=True)
    return table


def main() -> None:
    results = {
        "counts": COUNTS,
        "draws": DRAWS,
        "intervals": intervals(),
        "equal_called_different": equal_called_different(),
        "improvement": improvement(),
        "versions": versions(),
    }
    write_json(TARGET, results)


if __name__ == "__main__":
    main()
