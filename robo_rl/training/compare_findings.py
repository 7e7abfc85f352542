"""What a comparison shows: the arms in order, what is decided between them, in words and JSON."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robo_rl.policy import contract
from robo_rl.rollouts import seeds as statistics
from robo_rl.rollouts.statistics import CONFIDENCE, Interval, figure
from robo_rl.training.compare import Comparison, Trained, Variant, return_bounds

MOST_SEEDS = 50  # more than that are not asked of anybody


class Pair(NamedTuple):
    """Two arms against each other."""

    first: Variant
    second: Variant
    wins: Interval  # probability that a run of the first beats one of the second
    p: float  # of the exact rank test, made good for the number of pairs (Holm)
    seeds_needed: float  # to decide a difference as large as seen

    @property
    def decided(self) -> bool:
        """The first earns more: the arms differ, and it wins more often than not."""
        return self.p <= 1.0 - CONFIDENCE and self.wins.point > 0.5


def headline(result: Comparison) -> str:
    """What the comparison shows, in a few sentences."""
    ranked = ranking(result)
    sentences = [_verdict(result, ranked)]
    for arm in ranked:
        crashed = [t for t in result.of(arm) if t.failure]
        if crashed:
            sentences.append(
                f"{len(crashed)} of {len(result.of(arm))} runs of {arm} crashed and rank last."
            )
    if unequal_budgets(result):
        spent = ", ".join(f"{arm} {steps_of(result, arm)}" for arm in result.variants)
        sentences.append(
            f"Budgets differ (environment steps a run: {spent}): this ranks what the budgets gave,"
            " not the arms at equal cost; see At equal budgets."
        )
    if len({t.contract["versions"]["machine"] for t in result.trained if t.contract}) > 1:
        sentences.append("Runs are from different machines: their wall clocks do not compare.")
    return " ".join(sentences)


def _verdict(result: Comparison, ranked: list[Variant]) -> str:
    best, count = ranked[0], len(result.of(ranked[0]))
    of_seeds = f"median of {count} seeds, 95 % interval" if count > 1 else "one seed each"
    if all(t.failure for t in result.trained):
        return "Every run crashed: there is nothing to compare."
    if len(ranked) == 1:
        return f"{best} earns a task return of {shown(final(result, best))} ({of_seeds})."
    others = [pair for pair in pairs(result) if best == pair.first]
    against = " and ".join(f"{p.second} {shown(final(result, p.second))}" for p in others)
    scores = f"{best} {shown(final(result, best))} against {against} ({of_seeds})"
    open_pairs = [pair for pair in others if not pair.decided]
    if not open_pairs:
        chances = " and ".join(f"{p.second} with probability {shown(p.wins)}" for p in others)
        worst = max(p.p for p in others)
        return (
            f"{best} earns the most: task return {scores}. One of its runs beats one of {chances}"
            f" (exact rank test, p = {worst:.2g})."
        )
    beaten = [str(p.second) for p in others if p.decided]
    more = f" Decided: {best} earns more than {', '.join(beaten)}." if beaten else ""
    least = statistics.least_runs(len(pairs(result)))
    test = f"; the exact rank test gives p = {max(p.p for p in open_pairs):.2g}"
    return (
        f"Not decided which earns the most: task return {scores}{test if count > 1 else ''}.{more}"
        f" {_what_decides(open_pairs, count, least)}"
    )


def _what_decides(undecided: Sequence[Pair], count: int, least: int) -> str:
    """How many seeds would settle what is open; least: the fewest that can decide anything."""
    if count < least:
        return f"At least {least} seeds each are needed to decide (seeds={least} adds to these)."
    needed = max(pair.seeds_needed for pair in undecided)
    if needed > MOST_SEEDS:
        return f"More than {MOST_SEEDS} seeds each would be needed for so small a difference."
    return (
        f"About {needed:.0f} seeds each decide a difference as large as the one seen in 80 % of"
        f" comparisons (seeds={max(needed, count + 1):.0f} adds to these)."
    )


def ranking(result: Comparison) -> list[Variant]:
    """The arms, best median first; a crashed run ranks below every score."""

    def key(arm: Variant) -> tuple[float, float]:
        ranked = statistics.as_ranked(result.scores(arm))
        return float(np.median(ranked)), float(np.sum(ranked))

    return sorted(result.variants, key=key, reverse=True)


def pairs(result: Comparison) -> list[Pair]:
    """Every two arms, the better ranked first, with p-values made good for their number."""
    met = list(itertools.combinations(ranking(result), 2))
    scores = [(result.scores(a), result.scores(b)) for a, b in met]
    adjusted = statistics.holm([statistics.p_equal(a, b) for a, b in scores])
    wins = [statistics.probability_of_improvement(a, b) for a, b in scores]
    return [
        Pair(*arms, chance, p, statistics.runs_needed(chance.point, len(met)))
        for arms, chance, p in zip(met, wins, adjusted, strict=True)
    ]


def final(result: Comparison, arm: Variant) -> Interval:
    """Median task return of an arm's final policies, within what an episode can earn."""
    return statistics.over_runs(result.scores(arm), *return_bounds(result.env))


def unequal_budgets(result: Comparison) -> bool:
    """Whether two runs that finished differ by more than one rollout."""
    done = [t for t in result.trained if t.steps and not t.failure]
    steps = [t.steps for t in done]
    return bool(steps) and max(steps) - min(steps) > max(t.rollout_steps for t in done)


def score_at(run: Trained, axis: str, x: float) -> float:
    """Task return of a run's evaluations at a point of an axis, interpolated linearly.

    NaN, a crash, after the end of a run that crashed and where an evaluation was not finite.
    """
    at = [row[axis] for row in run.curve]
    if run.failure and x > at[-1]:
        return float("nan")
    return float(np.interp(x, at, [row["task_return_mean"] for row in run.curve]))


def end_of(trained: Sequence[Trained], axis: str) -> float:
    """Where the first of the runs ends that did not crash; the last of them if all did."""
    whole = [t.curve[-1][axis] for t in trained if t.curve and not t.failure]
    return min(whole) if whole else max(t.curve[-1][axis] for t in trained if t.curve)


def shown(interval: Interval) -> str:
    """An interval in words; -inf is a run that crashed."""
    if math.isnan(interval.low):
        return f"{score_shown(interval.point)} (no interval)"
    if math.isinf(interval.low) and math.isinf(interval.high):
        return f"{score_shown(interval.point)} [not bounded]"
    return (
        f"{score_shown(interval.point)} [{score_shown(interval.low)}, {score_shown(interval.high)}]"
    )


def score_shown(value: float) -> str:
    """A score in words; -inf is a run that crashed."""
    return "crashed" if value == -math.inf else figure(value)


def steps_of(result: Comparison, arm: Variant) -> str:
    """Environment steps that an arm's runs made, or from how many to how many."""
    steps = sorted({t.steps for t in result.of(arm)})
    return f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"


def data(result: Comparison, command: str) -> dict[str, Any]:
    """The comparison as JSON: every run, the arms' scores, the pairs."""
    runs = [
        {
            "variant": str(t.variant),
            **t.variant._asdict(),
            "seed": t.seed,
            "run": str(t.folder),
            "engine": t.config.engine,
            "task_return": t.task_return,
            "episode_returns": t.returns,
            "failure": t.failure,
            "behaviour": {name: m.value for name, m in t.behaviour.items()},
            "left_out": {name: m.left_out for name, m in t.behaviour.items()},
            "steps": t.steps,
            "steps_asked": t.config.steps,
            "train_s": t.train_s,
            "weights_sha256": t.contract.get("weights_sha256"),
            "versions": t.contract.get("versions"),
        }
        for t in result.trained
    ]
    return {
        "env": result.env.name,
        "engine": result.engine,
        "runs": runs,
        "final": {
            str(arm): {**final(result, arm)._asdict(), "iqm": _iqm(result.scores(arm))}
            for arm in result.variants
        },
        "pairs": [
            {
                "first": str(pair.first),
                "second": str(pair.second),
                "decided": pair.decided,
                "p": pair.p,
                "wins": pair.wins._asdict(),
                "seeds_needed": pair.seeds_needed,
            }
            for pair in pairs(result)
        ],
        "equal_budgets": not unequal_budgets(result),
        "command": command,
        "versions": contract.versions(),
    }


def _iqm(scores: NDArray[np.float64]) -> float | None:
    return statistics.iqm(scores) if np.isfinite(scores).all() else None
