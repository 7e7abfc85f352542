"""Is a policy worse than the one it replaces? The same episodes under both, by criterion."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robo_rl.envs.step import Environment
from robo_rl.rollouts.metrics import METRICS
from robo_rl.rollouts.statistics import Interval, median_bounds, paired_change
from robo_rl.safety_eval.criteria import Criterion
from robo_rl.safety_eval.evidence import Cell, Cells, Coverage, criterion_values, said
from robo_rl.safety_eval.suite import Outcome, Plan, Suite
from robo_rl.verdicts import Verdict

LEAST_DECIDED = 0.5  # share of pairs that must be decided under at least one of the policies


class Regression(NamedTuple):
    """A criterion in a scenario, under the new policy against the same episodes under the old."""

    scenario: str
    criterion: str
    required: bool
    what: str  # "failures", or the metric that was compared
    verdict: Verdict
    why: str
    difference: Interval  # new - old, so that more is worse; share of episodes or metric's unit
    margin: float  # what may be lost, in the unit of the difference
    pairs: int
    newly_failing: int
    newly_passing: int


class _Pairs(NamedTuple):
    """What the same episodes say of one criterion under both policies."""

    scenario: str
    name: str
    criterion: Criterion
    new: NDArray[np.int8]  # [N] of Outcome
    old: NDArray[np.int8]
    worse: NDArray[np.float64]  # [N] by how much the metric is worse under the new policy
    broken: int  # episodes in which the old policy produced a number that is not finite


class Change(NamedTuple):
    """How one quantity moved, and whether it is proven to have become worse."""

    what: str
    difference: Interval
    margin: float
    proven_worse: bool
    shown: str


def compare(
    env: Environment, suite: Suite, plan: Plan, coverage: Coverage, new: Cells, old: Cells
) -> tuple[Regression, ...]:
    """Regression of failures and of the continuous metrics, per scenario and criterion."""
    pairs = [p for name in new for p in _pairs(env, coverage, new[name], old[name])]
    continuous = [p for p in pairs if p.criterion.bound]  # a bound of 0 has no scale
    risks = plan.confidence, plan.fail_confidence(len(pairs) + len(continuous))
    share = suite.non_inferiority_margin
    return (
        *(_judge(p, change_of_failures(p.new, p.old, share, *risks)) for p in pairs),
        *(_judge(p, _metric(p, share, *risks)) for p in continuous),
    )


def _pairs(env: Environment, coverage: Coverage, new: Cell, old: Cell) -> list[_Pairs]:
    values = criterion_values(env, coverage, new), criterion_values(env, coverage, old)
    outcomes = said(env, coverage, new, values[0]), said(env, coverage, old, values[1])
    broken = int(old.recorded.track.crashed.sum())
    found = []
    for name in outcomes[0]:
        criterion = coverage.criteria[name]
        worse = worsening(criterion, values[0][name], values[1][name])
        found.append(
            _Pairs(
                new.scenario.name,
                name,
                criterion,
                outcomes[0][name],
                outcomes[1][name],
                worse,
                broken,
            )
        )
    return found


def worsening(
    criterion: Criterion, new: NDArray[np.float64], old: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How much worse the metric became in each pair, [N], in its unit.

    Infinite where only the new one cannot be known, 0 where the old one cannot or both are equal.
    """
    new, old = criterion.sign * new, criterion.sign * old
    change = np.subtract(new, old, out=np.zeros_like(new), where=new != old)
    return np.where(np.isnan(old), 0.0, np.where(np.isnan(new), np.inf, change))


def newly_failing(new: NDArray[np.int8], old: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Pairs that count against the new policy: an undecided episode does, unless both are."""
    lost = (old == Outcome.PASSED) & (new != Outcome.PASSED)
    return lost | ((old == Outcome.UNDECIDED) & (new == Outcome.FAILED))


def change_of_failures(
    new: NDArray[np.int8],
    old: NDArray[np.int8],
    margin: float,
    confidence: float,
    fail_confidence: float,
) -> Change:
    """How often the new policy fails where the old one does not, [N] pairs of Outcome."""
    worse, n = int(newly_failing(new, old).sum()), len(new)
    better = int(((new == Outcome.PASSED) & (old == Outcome.FAILED)).sum())
    proven = int(((new == Outcome.FAILED) & (old == Outcome.PASSED)).sum())
    strict = paired_change(proven, better, n, fail_confidence)
    high = paired_change(worse, better, n, confidence).difference.high
    difference = Interval(strict.difference.low, (worse - better) / n, high)
    shown = "difference {1:+.1%} [{0:+.1%}, {2:+.1%}]".format(*difference)
    return Change("failures", difference, margin, strict.p_worse <= 1.0 - fail_confidence, shown)


def _metric(p: _Pairs, share: float, confidence: float, fail_confidence: float) -> Change:
    margin = share * abs(p.criterion.bound)
    low, high = median_bounds(p.worse, fail_confidence)[0], median_bounds(p.worse, confidence)[1]
    difference = Interval(low, float(np.median(p.worse)), high)
    unit = METRICS[p.criterion.metric].unit
    shown = f"the median pair is worse by {difference}{'' if unit == '1' else ' ' + unit}"
    return Change(p.criterion.metric, difference, margin, low > margin, shown)


def verdict_of(change: Change, decided: float, broken: int = 0) -> tuple[Verdict, str]:
    """The verdict on a change, and why.

    decided: share of the pairs that are decided under at least one policy. broken: episodes in
    which the old policy gave a number that is not finite.
    """
    if broken:
        why = f"the baseline gave numbers that are not finite in {broken} episodes"
        return Verdict.ERROR, why
    if change.proven_worse and change.difference.high > change.margin:
        return Verdict.FAIL, f"worse: {change.shown}"
    if decided < LEAST_DECIDED:
        why = f"{decided:.0%} of the pairs are decided, {LEAST_DECIDED:.0%} are needed"
        return Verdict.INCONCLUSIVE, why
    if change.difference.high <= change.margin:
        return Verdict.PASS, f"not worse by more than {change.margin:.3g}: {change.shown}"
    return Verdict.INCONCLUSIVE, f"{change.shown}; the margin is {change.margin:.3g}"


def _judge(p: _Pairs, change: Change) -> Regression:
    decided = float(np.mean((p.new != Outcome.UNDECIDED) | (p.old != Outcome.UNDECIDED)))
    verdict, why = verdict_of(change, decided, p.broken)
    return Regression(
        scenario=p.scenario,
        criterion=p.name,
        required=p.criterion.required,
        what=change.what,
        verdict=verdict,
        why=why,
        difference=change.difference,
        margin=change.margin,
        pairs=len(p.new),
        newly_failing=int(newly_failing(p.new, p.old).sum()),
        newly_passing=int(((p.new == Outcome.PASSED) & (p.old == Outcome.FAILED)).sum()),
    )
