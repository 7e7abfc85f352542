"""The safety study: every scenario of a suite in one batch, verdicts, regression, gate."""

import enum
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robo_rl.content import UserError
from robo_rl.envs.step import Environment, State, make
from robo_rl.policy import Policy, load_policy
from robo_rl.safety_eval.metrics import Episodes
from robo_rl.safety_eval.rollout import Track, check_fits, episode_keys, reset_all, run_from
from robo_rl.safety_eval.statistics import PairedChange, paired_change
from robo_rl.safety_eval.suite import (
    Finding,
    Suite,
    Verdict,
    applicable,
    judge,
    load_suite,
    metric_values,
    suite_for,
)
from robo_rl.scenarios.requirements import Trace
from robo_rl.scenarios.schema import Scenario, concatenate, load_scenario, sample_batch
from robo_rl.sim2real.injectors import NotApplicableError

HISTORY_S = 0.1  # longest latency a scenario may inject
HELD_OUT_SEED = 7_000_001


class Gate(enum.StrEnum):
    """The decision a release hangs on, and its exit code."""

    ACCEPT = "ACCEPT"
    REJECT = "REJECT"
    CONDITIONAL = "CONDITIONAL"
    ERROR = "ERROR"

    @property
    def exit_code(self) -> int:
        """0 accept, 1 reject, 2 conditional, 3 error."""
        return {"ACCEPT": 0, "REJECT": 1, "CONDITIONAL": 2, "ERROR": 3}[self.value]


class Batch(NamedTuple):
    """All scenarios' episodes of one policy, one after another."""

    scenarios: tuple[Scenario, ...]
    values: tuple[list[dict[str, float]], ...]
    start: State
    track: Track
    skipped: dict[str, str]  # scenario -> why it does not apply

    def rows(self, index: int) -> slice:
        """The episodes of one scenario."""
        each = len(self.values[index])
        return slice(index * each, (index + 1) * each)


class Regression(NamedTuple):
    """A scenario's episodes under the new policy against the same under the baseline."""

    scenario: str
    change: PairedChange
    verdict: Verdict
    why: str


class SafetyResult(NamedTuple):
    """The study's findings."""

    suite: Suite
    policy: Policy
    env: Environment
    batch: Batch
    findings: tuple[Finding, ...]
    regressions: tuple[Regression, ...]
    gate: Gate
    why: str
    seed: int


def study(
    run: Path,
    suite_name: str | None,
    baseline: Path | None = None,
    seed: int = HELD_OUT_SEED,
    episodes: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> SafetyResult:
    """Runs a suite on a policy, and on a baseline policy with the same seeds.

    suite_name: the suite of the robot's kind if left out.
    """
    policy = load_policy(run)
    suite = load_suite(suite_name or suite_for(str(policy.contract["env"])))
    env = make(
        policy.contract["env"], str(policy.contract.get("reward", "task")), history_s=HISTORY_S
    )
    check_fits(env, policy)
    count = episodes or suite.episodes
    batch = run_batch(env, policy, suite, seed, count, on_progress)
    findings = judge_all(env, suite, batch)
    regressions: tuple[Regression, ...] = ()
    if baseline is not None:
        old_policy = load_policy(baseline)
        old_batch = run_batch(env, old_policy, suite, seed, count, on_progress)
        regressions = compare(env, suite, batch, old_batch)
    gate, why = decide(findings, regressions)
    return SafetyResult(suite, policy, env, batch, findings, regressions, gate, why, seed)


def run_batch(
    env: Environment,
    policy: Policy,
    suite: Suite,
    seed: int,
    episodes: int,
    on_progress: Callable[[int, int], None] | None,
) -> Batch:
    """Every episode of every scenario that applies, in lockstep."""
    scenarios, values, injections, skipped = [], [], [], {}
    for name in suite.scenarios:
        scenario = load_scenario(name)
        try:
            injection, drawn = sample_batch(scenario, env.robot, seed, episodes)
        except NotApplicableError as reason:
            skipped[scenario.name] = str(reason)
            continue
        scenarios.append(scenario)
        injections.append(injection)
        values.append(drawn)
    if not scenarios:
        raise UserError(f"suite {suite.name}: no scenario applies to {env.name}: {skipped}")
    keys = episode_keys(seed, episodes)[np.tile(np.arange(episodes), len(scenarios))]
    start = reset_all(env, keys, concatenate(injections))
    track = run_from(env, policy, start, on_progress)
    return Batch(tuple(scenarios), tuple(values), start, track, skipped)


def judge_all(env: Environment, suite: Suite, batch: Batch) -> tuple[Finding, ...]:
    """One finding per scenario and criterion that applies."""
    findings = []
    for k, scenario in enumerate(batch.scenarios):
        values = criterion_values(env, suite, batch, k)
        crashed = batch.track.crashed[batch.rows(k)]
        for name, row in values.items():
            findings.append(judge(scenario.name, name, suite.criteria[name], row, crashed))
    return tuple(findings)


def compare(env: Environment, suite: Suite, new: Batch, old: Batch) -> tuple[Regression, ...]:
    """Paired regression per scenario on "the episode fails a required criterion"."""
    out = []
    for k, scenario in enumerate(new.scenarios):
        change = paired_change(
            failed_episodes(env, suite, new, k, required_only=True),
            failed_episodes(env, suite, old, k, required_only=True),
        )
        margin = suite.non_inferiority_margin
        spread = (
            f"difference {change.difference.point:+.1%} [{change.difference.low:+.1%},"
            f" {change.difference.high:+.1%}]"
        )
        if change.difference.high <= margin:
            verdict, why = Verdict.PASS, f"not worse by more than {margin:.0%}: {spread}"
        elif change.p_worse < 0.05 or change.difference.low > 0:
            verdict, why = Verdict.FAIL, f"worse (exact p = {change.p_worse:.3g}): {spread}"
        else:
            verdict, why = (
                Verdict.INCONCLUSIVE,
                f"{spread}; the margin is {margin:.0%}, more pairs are needed",
            )
        out.append(Regression(scenario.name, change, verdict, why))
    return tuple(out)


def failed_episodes(
    env: Environment, suite: Suite, batch: Batch, index: int, *, required_only: bool
) -> NDArray[np.bool_]:
    """Which episodes of a scenario crash or are beyond any threshold, [N]."""
    failed = batch.track.crashed[batch.rows(index)].copy()
    for name, values in criterion_values(env, suite, batch, index).items():
        criterion = suite.criteria[name]
        if criterion.required or not required_only:
            failed |= criterion.failed(values)
    return failed


def decide(findings: tuple[Finding, ...], regressions: tuple[Regression, ...]) -> tuple[Gate, str]:
    """The gate: ERROR over REJECT over CONDITIONAL over ACCEPT, and the reason in one sentence."""
    required = [f for f in findings if f.required]
    verdicts = [(f"{f.criterion} in {f.scenario}", f.verdict) for f in required]
    verdicts += [(f"regression in {r.scenario}", r.verdict) for r in regressions]
    for wanted, gate, words in (
        (Verdict.ERROR, Gate.ERROR, "produced numbers that are not finite"),
        (Verdict.FAIL, Gate.REJECT, "failed"),
        (Verdict.INCONCLUSIVE, Gate.CONDITIONAL, "not decided by this evidence"),
    ):
        hit = [label for label, verdict in verdicts if verdict == wanted]
        if hit:
            shown = ", ".join(hit[:4]) + (f" and {len(hit) - 4} more" if len(hit) > 4 else "")
            return gate, f"{len(hit)} of {len(verdicts)} required verdicts {words}: {shown}."
    if not verdicts:
        return Gate.CONDITIONAL, "no required criterion applies."
    return Gate.ACCEPT, f"all {len(verdicts)} required verdicts passed."


def criterion_values(
    env: Environment, suite: Suite, batch: Batch, index: int
) -> dict[str, NDArray[np.float64]]:
    """Every criterion that applies to a scenario, with its metric of each episode, [N]."""
    rows, scenario = batch.rows(index), batch.scenarios[index]
    episodes = Episodes.of(env, batch.track.only(rows))
    margins = robustness(episodes, scenario, batch.values[index])
    costs = frozenset(batch.track.costs)
    return {
        name: metric_values(criterion, episodes, margins)
        for name, criterion in suite.criteria.items()
        if applicable(criterion, costs) and scenario.name not in criterion.exempt
    }


def robustness(
    episodes: Episodes, scenario: Scenario, values: list[dict[str, float]]
) -> NDArray[np.float64]:
    """The smallest margin of the scenario's requirements in each episode, [N]; NaN is kept."""
    margins = []
    for n, drawn in enumerate(values):
        trace = trace_of(episodes, n)
        margins.append(
            min_keeping_nan([check(trace) for check in scenario.requirements(drawn).values()])
        )
    return np.asarray(margins, float)


def min_keeping_nan(margins: list[float]) -> float:
    """The smallest margin; NaN if any is NaN, +inf if there is none."""
    return float(np.min(margins)) if margins else np.inf


def trace_of(episodes: Episodes, n: int) -> Trace:
    """One episode's signals as requirements read them."""
    track = episodes.track
    steps = slice(0, int(track.length[n]))
    signals = {
        "alive": 1.0 - track.terminated[steps, n],
        "tilt_rad": track.tilt_rad[steps, n],
        "height_m": track.base_position_w_m[steps, n, 2],
        "speed_mps": np.linalg.norm(track.base_velocity_w_mps[steps, n, :2], axis=-1),
        "power_w": track.positive_power_w[steps, n],
        **{f"cost/{name}": cost[steps, n] for name, cost in track.costs.items()},
    }
    as_float = {name: np.asarray(values, float) for name, values in signals.items()}
    return Trace(as_float, episodes.control_s, bool(track.fell[n]))
