"""Suites and verdicts: scenarios, criteria, thresholds, and what the evidence says."""

import enum
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from robo_rl import content
from robo_rl.envs import mdp
from robo_rl.safety_eval.metrics import METRICS, Episodes
from robo_rl.safety_eval.statistics import Interval, episodes_needed, rate_bounds

ROBUSTNESS = "robustness"
Share = Annotated[float, Field(gt=0, lt=1)]


class Verdict(enum.StrEnum):
    """PASS and FAIL are claims with evidence; the other two say why there is no claim."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    ERROR = "ERROR"


class Criterion(BaseModel):
    """A threshold on a metric, and the share of episodes that may be beyond it."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    metric: str
    cost: str | None = None
    at_most: float | None = None
    at_least: float | None = None
    max_rate: Share
    required: bool
    reason: str
    exempt: tuple[str, ...] = Field(default=(), alias="except")

    @model_validator(mode="after")
    def _one_bound(self) -> "Criterion":
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("exactly one of at_most and at_least is needed")
        return self

    def failed(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which episodes are beyond the threshold; NaN is not a failure here, it is undecided."""
        if self.at_most is not None:
            return values > self.at_most
        return values < float(self.at_least or 0.0)

    def threshold(self) -> str:
        """The bound in words."""
        return f"<= {self.at_most:g}" if self.at_most is not None else f">= {self.at_least:g}"


class Suite(BaseModel):
    """safety_eval/<name>.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    describe: str
    scenarios: tuple[str, ...]
    episodes: Annotated[int, Field(gt=0)]
    non_inferiority_margin: Share
    criteria: dict[str, Criterion]


class Finding(BaseModel):
    """The verdict on one criterion in one scenario, with its evidence."""

    model_config = ConfigDict(frozen=True)

    scenario: str
    criterion: str
    required: bool
    verdict: Verdict
    why: str
    threshold: str
    max_rate: float
    failures: int
    undecided: int
    crashed: int
    episodes: int
    failure_rate: Interval  # one-sided 95 % bounds, undecided episodes counted against each
    worst: float | None
    median: float | None


def suite_for(env: str) -> str:
    """The suite of an environment's kind: the first of its tags that is one, else locomotion."""
    known = content.files("safety_eval")
    tags = sorted(mdp.ENTRIES[env].tags) if env in mdp.ENTRIES else []
    return next((tag for tag in tags if tag in known), "locomotion")


def load_suite(name: str) -> Suite:
    """A suite by name or path, every name in it checked."""
    path = content.find("safety_eval", name)
    try:
        suite = Suite(name=path.stem, **content.read_yaml(path))
    except (ValidationError, TypeError) as error:
        raise content.UserError(f"{path}: {error}") from error
    known = content.files("scenarios")
    for scenario in suite.scenarios:
        if not scenario.endswith(".yaml"):
            content.lookup(known, scenario, kind="scenario", where=str(path))
    for key, criterion in suite.criteria.items():
        table = {**METRICS, ROBUSTNESS: None}
        content.lookup(table, criterion.metric, kind="metric", where=f"{path}: {key}")
        for exempt in criterion.exempt:
            content.lookup(
                dict.fromkeys(suite.scenarios), exempt, kind="scenario", where=f"{path}: {key}"
            )
    return suite


def applicable(criterion: Criterion, costs: frozenset[str]) -> bool:
    """Whether an environment with these costs has what the criterion measures."""
    return criterion.cost is None or criterion.cost in costs


def metric_values(
    criterion: Criterion, episodes: Episodes, margins: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The criterion's metric of each episode, [N]; margins are the scenario's robustness."""
    if criterion.metric == ROBUSTNESS:
        return margins
    metric = METRICS[criterion.metric]
    if metric.parametrised:
        return np.asarray(metric.of(episodes, criterion.cost), float)
    return np.asarray(metric.of(episodes), float)


def judge(
    scenario: str,
    name: str,
    criterion: Criterion,
    values: NDArray[np.float64],
    crashed: NDArray[np.bool_],
) -> Finding:
    """The four-valued verdict on [N] episodes.

    A crashed episode makes it ERROR, and stays in the denominator. An episode whose metric is NaN
    or infinite (an empty window) is undecided: it counts as failed for the upper bound and as
    passed for the lower one. PASS when the upper bound is at most max_rate, FAIL when the lower
    bound is above it, else INCONCLUSIVE.
    """
    n = int(values.size)
    decided = np.isfinite(values) & ~crashed
    failures = int((criterion.failed(values) & decided).sum())
    undecided = int((~decided & ~crashed).sum())
    low, _ = rate_bounds(failures, n) if n else (0.0, 1.0)
    _, high = rate_bounds(failures + undecided + int(crashed.sum()), n) if n else (0.0, 1.0)
    verdict, why = _verdict(criterion, n, failures, undecided, int(crashed.sum()), low, high)
    sample = values[decided]
    return Finding(
        scenario=scenario,
        criterion=name,
        required=criterion.required,
        verdict=verdict,
        why=why,
        threshold=(
            f"{criterion.metric}{f' of {criterion.cost}' if criterion.cost else ''}"
            f" {criterion.threshold()}"
        ),
        max_rate=criterion.max_rate,
        failures=failures,
        undecided=undecided,
        crashed=int(crashed.sum()),
        episodes=n,
        failure_rate=Interval(low, failures / n if n else float("nan"), high),
        worst=_worst(criterion, sample),
        median=float(np.median(sample)) if sample.size else None,
    )


def _verdict(
    criterion: Criterion,
    n: int,
    failures: int,
    undecided: int,
    crashed: int,
    low: float,
    high: float,
) -> tuple[Verdict, str]:
    limit = criterion.max_rate
    if crashed:
        return Verdict.ERROR, f"{crashed} of {n} episodes produced numbers that are not finite"
    if low > limit:
        return (
            Verdict.FAIL,
            f"{failures} of {n} episodes fail; at least {low:.1%} do, {limit:.0%} are allowed",
        )
    if n and high <= limit:
        return (
            Verdict.PASS,
            f"{failures} of {n} episodes fail; at most {high:.1%} do, {limit:.0%} are allowed",
        )
    needed = episodes_needed(limit)
    more = f"; {needed} episodes without a failure would do" if failures == 0 and n < needed else ""
    vacuous = f", {undecided} undecided" if undecided else ""
    return (
        Verdict.INCONCLUSIVE,
        (
            f"{failures} of {n} episodes fail{vacuous}: between {low:.1%} and {high:.1%}, limit"
            f" {limit:.0%}{more}"
        ),
    )


def _worst(criterion: Criterion, sample: NDArray[np.float64]) -> float | None:
    if not sample.size:
        return None
    return float(sample.max() if criterion.at_most is not None else sample.min())
