"""Criteria: thresholds on metrics, and the values that are held against them."""

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from robo_rl.rollouts.metrics import METRICS, Episodes
from robo_rl.rollouts.success import Success

ROBUSTNESS = "robustness"  # the scenario's own claim, as a signed margin
TASK = "task"  # stands for the metric and the bound that say whether the task is done
MOST_SLACK = 3.0
Share = Annotated[float, Field(gt=0, lt=1)]


class Criterion(BaseModel):
    """A threshold on a metric, and the share of episodes that may be beyond it."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    metric: str
    cost: str | None = None
    at_most: float | None = None
    at_least: float | None = None
    slack: float = 1.0  # of metric `task`: how often its bound is granted
    max_rate: Share
    required: bool
    reason: str
    exempt: tuple[str, ...] = Field(default=(), alias="except")

    @field_validator("slack")
    @classmethod
    def _little_slack(cls, slack: float) -> float:
        if not 1.0 <= slack <= MOST_SLACK:
            raise ValueError(
                f"a number from 1 to {MOST_SLACK:g} was expected: wider than that, the criterion"
                " says nothing about the task"
            )
        return slack

    @model_validator(mode="after")
    def _one_bound(self) -> "Criterion":
        bounds = [b for b in (self.at_most, self.at_least) if b is not None]
        if self.metric == TASK and bounds:
            raise ValueError("metric task brings its own bound: at_most and at_least are not given")
        if self.metric != TASK and len(bounds) != 1:
            raise ValueError("exactly one of at_most and at_least is needed")
        if self.metric != TASK and self.slack != 1.0:
            raise ValueError("slack is for metric task")
        if not all(math.isfinite(bound) for bound in bounds):
            raise ValueError("a threshold must be a finite number")
        return self

    def of_task(self, task: Success) -> "Criterion":
        """The criterion with a task's metric, and its bound widened by the slack."""
        if self.metric != TASK:
            return self
        side = "at_most" if task.at_most else "at_least"
        outwards = task.at_most == (task.limit >= 0)
        limit = task.limit * self.slack if outwards else task.limit / self.slack
        return self.model_copy(update={"metric": task.metric, side: limit})

    @property
    def bound(self) -> float:
        """The threshold."""
        return float(self.at_most if self.at_most is not None else self.at_least or 0.0)

    @property
    def sign(self) -> float:
        """+1 where more of the metric is worse, -1 where less is."""
        return 1.0 if self.at_most is not None else -1.0

    def failed(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which episodes are beyond the threshold, infinity included; NaN is not."""
        return self.sign * (values - self.bound) > 0

    def allows(self, least: float, most: float) -> bool:
        """Whether no value from least to most is beyond the threshold."""
        return self.bound >= most if self.sign > 0 else self.bound <= least

    def threshold(self) -> str:
        """Metric, bound and unit in words."""
        of = f" of {self.cost}" if self.cost else ""
        unit = METRICS[self.metric].unit if self.metric in METRICS else "1"
        side = "<=" if self.at_most is not None else ">="
        shown = "" if unit == "1" else f" ({unit})" if unit.startswith("as ") else f" {unit}"
        return f"{self.metric}{of} {side} {self.bound:g}{shown}"


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
    if metric.takes_cost:
        return np.asarray(metric.of(episodes, criterion.cost), float)
    return np.asarray(metric.of(episodes), float)
