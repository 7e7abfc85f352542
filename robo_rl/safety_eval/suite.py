"""Suites and verdicts: scenarios, criteria, episodes, and what the evidence says."""

import enum
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from robo_rl import content
from robo_rl.content import Problems
from robo_rl.envs import mdp
from robo_rl.errors import UserError
from robo_rl.registry import load_own
from robo_rl.rewards.layers import known_costs
from robo_rl.rollouts.metrics import METRICS
from robo_rl.rollouts.statistics import (
    Interval,
    difference_upper,
    episodes_needed,
    episodes_to_decide,
    rate_bounds,
)
from robo_rl.safety_eval.criteria import ROBUSTNESS, TASK, Criterion, Share
from robo_rl.verdicts import Verdict

RISK = 0.05  # of a wrong PASS of a criterion, and of any wrong FAIL in a study
Positive = Annotated[int, Field(gt=0)]


class Suite(BaseModel):
    """safety_eval/<name>.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    folder: Path = Field(exclude=True)  # the file's own; paths of scenarios are relative to it
    describe: str
    scenarios: tuple[str, ...]  # names, and paths of files
    episodes: Positive  # of each scenario to begin with
    most_episodes: Positive  # up to which an undecided scenario is doubled
    non_inferiority_margin: Share  # of episodes, and of a continuous metric's threshold
    criteria: dict[str, Criterion]
    not_for: dict[str, dict[str, str]] = {}  # environment -> criterion or scenario -> why not

    @property
    def sources(self) -> dict[str, str]:
        """Every scenario by its own name: the name again, or where its file is.

        A relative path is one beside the suite's file, else one in the working directory.
        """
        return {scenario_name(written): self._source(written) for written in self.scenarios}

    @property
    def called(self) -> set[str]:
        """Whatever a scenario may be called in the rest of the suite: as it is listed, its name."""
        return {*self.scenarios, *self.sources}

    def _source(self, written: str) -> str:
        beside = self.folder / written
        return str(beside) if is_path(written) and beside.is_file() else written

    @property
    def plan(self) -> "Plan":
        """How many episodes are run, and when it is looked at them."""
        looks = [self.episodes]
        while 2 * looks[-1] <= self.most_episodes:
            looks.append(2 * looks[-1])
        return Plan(tuple(looks))


class Plan(NamedTuple):
    """Episodes of a scenario after which the evidence is judged; the risk is shared by the looks.

    Each look may err with RISK / looks, so all of them together err with at most RISK
    (Bonferroni), however it is decided to stop.
    """

    looks: tuple[int, ...]

    @property
    def confidence(self) -> float:
        """Of one bound at one look."""
        return 1.0 - RISK / len(self.looks)

    def fail_confidence(self, verdicts: int) -> float:
        """Of a bound that says FAIL: the risk is shared by all verdicts of a study as well."""
        return 1.0 - RISK / len(self.looks) / max(verdicts, 1)


class Outcome(enum.IntEnum):
    """What one episode says about one criterion."""

    PASSED = 0
    FAILED = 1
    UNDECIDED = 2


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
    untested: int  # of the undecided: the episode was over before its disturbance
    crashed: int
    episodes: int
    failure_rate: Interval  # one-sided bounds; undecided episodes count against each
    needed: int | None  # episodes that would decide an INCONCLUSIVE one; None: not known
    worst: float | None
    median: float | None


def suite_for(env: str) -> str:
    """The suite of an environment's kind: the first of its tags that is the name of one.

    Raises UserError where none is.
    """
    known = content.files("safety_eval")
    tags = sorted(mdp.ENTRIES.lookup(env, "suite").tags)
    found = next((tag for tag in tags if tag in known), None)
    if found is None:
        raise UserError(
            f"{env}: none of its tags ({', '.join(tags)}) is the name of a suite: say suite=...,"
            f" one of {', '.join(sorted(known))} or a path, or tag the environment with one."
        )
    return found


def is_path(scenario: str) -> bool:
    """Whether a suite names a scenario by the path of its file."""
    return scenario.endswith(".yaml")


def scenario_name(written: str) -> str:
    """The name of a scenario that a suite names, or whose file it names."""
    return Path(written).stem if is_path(written) else written


def load_suite(name: str) -> Suite:
    """A suite by name or path; what it exempts is by the scenarios' names.

    Raises UserError with everything that is wrong in it: unknown scenarios, two of one name,
    unknown metrics or costs, a metric without its cost, thresholds that are not finite, too few
    episodes to show what it asks for.
    """
    load_own()
    path = content.find("safety_eval", name)
    problems = Problems(path)
    suite = content.parse(Suite, path, problems, name=path.stem, folder=path.parent)
    _check_scenarios(suite, problems)
    if suite.most_episodes < suite.episodes:
        problems.add(
            ("most_episodes",), f"{suite.most_episodes} is less than episodes: {suite.episodes}."
        )
    for key, criterion in suite.criteria.items():
        _check_criterion(suite, criterion, problems, ("criteria", key))
    _check_not_for(suite, problems)
    if not any(c.metric == TASK and c.required for c in suite.criteria.values()):
        problems.add(("criteria",), "a required criterion with metric: task is missing.")
    problems.demand()
    return _by_name(suite)


def _check_scenarios(suite: Suite, problems: Problems) -> None:
    """Every scenario exists, and no two are of one name: one would take the other's place."""
    known, first = content.files("scenarios"), {}
    for index, written in enumerate(suite.scenarios):
        key, name = ("scenarios", index), scenario_name(written)
        if is_path(written) and not Path(suite.sources[name]).is_file():
            problems.add(key, f"no file {written!r} in {suite.folder} or the working directory.")
        elif not is_path(written):
            problems.check(known, written, kind="scenario", key=key)
        if (earlier := first.setdefault(name, index)) != index:
            problems.add(
                key,
                f"{written!r} is a second scenario named {name!r}, after"
                f" {suite.scenarios[earlier]!r}: leave it out, or rename its file.",
            )


def _by_name(suite: Suite) -> Suite:
    """The suite with paths of scenarios replaced by their names in what it leaves out."""
    criteria = {
        key: c.model_copy(update={"exempt": tuple(map(scenario_name, c.exempt))})
        for key, c in suite.criteria.items()
    }
    reasons = {
        env: {scenario_name(name): why for name, why in of_env.items()}
        for env, of_env in suite.not_for.items()
    }
    return suite.model_copy(update={"criteria": criteria, "not_for": reasons})


def _check_criterion(
    suite: Suite, criterion: Criterion, problems: Problems, key: content.Key
) -> None:
    table = (*METRICS, ROBUSTNESS, TASK)
    if problems.check(table, criterion.metric, kind="metric", key=(*key, "metric")):
        takes = criterion.metric in METRICS and METRICS[criterion.metric].takes_cost
        if takes and criterion.cost is None:
            problems.add(key, f"metric {criterion.metric} needs a cost.")
        if not takes and criterion.cost is not None:
            problems.add((*key, "cost"), f"metric {criterion.metric} takes no cost.")
    if criterion.metric == ROBUSTNESS and (criterion.at_least is None or criterion.at_least < 0):
        problems.add(key, "metric robustness needs an at_least of 0 or more.")
    if criterion.cost is not None:
        problems.check(known_costs(), criterion.cost, kind="cost", key=(*key, "cost"))
    for exempt in criterion.exempt:
        problems.check(suite.called, exempt, kind="scenario", key=(*key, "except"))
    most, confidence = suite.plan.looks[-1], suite.plan.confidence
    if criterion.required and episodes_needed(criterion.max_rate, confidence) > most:
        problems.add(
            (*key, "max_rate"),
            f"{most} episodes cannot show a rate of {criterion.max_rate:g}, even without a failure:"
            f" {episodes_needed(criterion.max_rate, confidence)} are needed (most_episodes).",
        )


def _check_not_for(suite: Suite, problems: Problems) -> None:
    most, confidence = suite.plan.looks[-1], suite.plan.confidence
    least = difference_upper(0, 0, most, confidence)
    if least > suite.non_inferiority_margin:
        problems.add(
            ("non_inferiority_margin",),
            f"{most} episodes without any difference show {least:.1%}, not"
            f" {suite.non_inferiority_margin:.1%}: raise most_episodes.",
        )
    names = {*suite.criteria, *suite.called}
    for env, reasons in suite.not_for.items():
        problems.check(mdp.names(), env, kind="environment", key=("not_for", env))
        for name, reason in reasons.items():
            key = ("not_for", env, name)
            if not reason.strip():
                problems.add(key, "a reason is needed.")
            problems.check(names, name, kind="criterion or scenario", key=key)
            if name in suite.criteria and suite.criteria[name].metric == TASK:
                problems.add(key, "whether the task is done is judged for every environment.")


def outcomes(
    criterion: Criterion,
    values: NDArray[np.float64],
    tested: NDArray[np.bool_],
    crashed: NDArray[np.bool_],
) -> NDArray[np.int8]:
    """What each of [N] episodes says: the one place where an episode is called failed.

    values: the metric; infinity is a value, NaN decides nothing. tested: whether the episode lived
    to see its disturbance; if not, it decides nothing. A crashed episode has failed.
    """
    said = np.where(criterion.failed(values), Outcome.FAILED, Outcome.PASSED)
    said = np.where(np.isnan(values) | ~tested, Outcome.UNDECIDED, said)
    return np.where(crashed, Outcome.FAILED, said).astype(np.int8)


def judge(
    scenario: str,
    name: str,
    criterion: Criterion,
    values: NDArray[np.float64],
    crashed: NDArray[np.bool_],
    tested: NDArray[np.bool_] | None = None,
    plan: Plan | None = None,
    verdicts: int = 1,
) -> Finding:
    """The four-valued verdict on [N] episodes.

    A crashed episode makes it ERROR. An undecided one counts as failed for the upper bound and as
    passed for the lower one. PASS when the upper bound is at most max_rate, FAIL when the lower
    bound is above it, else INCONCLUSIVE. plan: the looks that share the risk (one if left out);
    verdicts: how many of the study share the risk of a wrong FAIL.
    """
    n = int(values.size)
    plan = plan or Plan((n,))
    tested = np.ones(n, bool) if tested is None else tested
    said = outcomes(criterion, values, tested, crashed)
    failures = int(((said == Outcome.FAILED) & ~crashed).sum())
    undecided, broken = int((said == Outcome.UNDECIDED).sum()), int(crashed.sum())
    low, _ = rate_bounds(failures, n, plan.fail_confidence(verdicts))
    _, high = rate_bounds(failures + undecided + broken, n, plan.confidence)
    sample = values[(said != Outcome.UNDECIDED) & ~crashed]
    verdict = _verdict(criterion.max_rate, low, high, broken)
    needed = None
    if verdict is Verdict.INCONCLUSIVE:
        needed = _needed(failures / n, (failures + undecided) / n, criterion.max_rate, verdicts)
    finding = Finding(
        scenario=scenario,
        criterion=name,
        required=criterion.required,
        verdict=verdict,
        why="",
        threshold=criterion.threshold(),
        max_rate=criterion.max_rate,
        failures=failures,
        undecided=undecided,
        untested=int((~tested & ~crashed).sum()),
        crashed=broken,
        episodes=n,
        failure_rate=Interval(low, failures / n, high),
        needed=needed,
        worst=float((criterion.sign * sample).max() * criterion.sign) if sample.size else None,
        median=float(np.median(sample)) if sample.size else None,
    )
    return finding.model_copy(update={"why": _why(finding)})


def _verdict(limit: float, low: float, high: float, crashed: int) -> Verdict:
    if crashed:
        return Verdict.ERROR
    if low > limit:
        return Verdict.FAIL
    return Verdict.PASS if high <= limit else Verdict.INCONCLUSIVE


def _why(f: Finding) -> str:
    allowed = f"{f.max_rate:.0%} are allowed"
    if f.verdict is Verdict.ERROR:
        return f"{f.crashed} of {f.episodes} episodes produced numbers that are not finite"
    failed = f"{f.failures} of {f.episodes} episodes fail"
    if f.verdict is Verdict.FAIL:
        return f"{failed}; at least {f.failure_rate.low:.1%} do, {allowed}"
    if f.verdict is Verdict.PASS:
        return f"{failed}; at most {f.failure_rate.high:.1%} do, {allowed}"
    late = f", {f.untested} of them over before the disturbance" if f.untested else ""
    vague = f", {f.undecided} are undecided{late}" if f.undecided else ""
    bounds = f"between {f.failure_rate.low:.1%} and {f.failure_rate.high:.1%}"
    return f"{failed}{vague}: {bounds}, {allowed}; {_more(f)}"


def _needed(lowest: float, highest: float, limit: float, verdicts: int) -> int | None:
    """Episodes, looked at once, that decide if failures and undecided ones stay as frequent."""
    if lowest <= limit < highest:  # the undecided ones stand between the limit and either verdict
        return None
    once = Plan((1,))
    return episodes_to_decide(
        highest if highest <= limit else lowest,
        limit,
        once.confidence,
        once.fail_confidence(verdicts),
    )


def _more(f: Finding) -> str:
    if f.needed is not None:
        return f"about {f.needed} episodes would decide if the rate stays (episodes={f.needed})"
    if f.undecided:
        return "more episodes do not help while so many are undecided"
    return "the rate is too near the limit for any number of episodes to decide"
