"""The safety study: the scenarios of a suite, verdicts, regression, and the gate."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from robo_rl.envs.step import Environment, make
from robo_rl.errors import UserError
from robo_rl.policy import contract
from robo_rl.policy.stored import Policy, load_policy
from robo_rl.safety_eval import regression
from robo_rl.safety_eval.evidence import (
    Cells,
    Coverage,
    Progress,
    cover,
    criterion_values,
    extend,
)
from robo_rl.safety_eval.regression import Regression
from robo_rl.safety_eval.suite import Finding, Plan, Suite, judge, load_suite, suite_for
from robo_rl.verdicts import Gate, Verdict

HISTORY_S = 0.1  # longest latency a scenario may inject
HELD_OUT_SEED = 7_000_001


class Baseline(NamedTuple):
    """The policy that the judged one would replace, on the same episodes."""

    run: Path
    policy: Policy
    error: str  # why the two cannot be compared; "" where they can


class SafetyResult(NamedTuple):
    """The study's findings."""

    suite: Suite
    plan: Plan
    policy: Policy
    env: Environment
    coverage: Coverage
    cells: Cells
    findings: tuple[Finding, ...]
    baseline: Baseline | None
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
    on_progress: Progress | None = None,
) -> SafetyResult:
    """Runs a suite on a policy, and on a baseline policy with the same seeds.

    suite_name: the suite of the robot's kind if left out. episodes: run so many of each scenario
    and look once; else the suite's plan, which doubles the undecided scenarios.
    """
    policy = load_policy(run)
    suite = load_suite(suite_name or suite_for(str(policy.contract.get("env"))))
    env = environment_of(policy)
    old = load_baseline(baseline, policy) if baseline is not None else None
    coverage, plan = cover(suite, env), Plan((episodes,)) if episodes else suite.plan
    new_cells: Cells = {}
    old_cells: Cells = {}
    findings: tuple[Finding, ...] = ()
    regressions: tuple[Regression, ...] = ()
    open_scenarios = coverage.scenarios
    for count in plan.looks:
        new_cells = extend(new_cells, env, policy, open_scenarios, seed, count, on_progress)
        findings = judge_all(env, plan, coverage, new_cells)
        if old and not old.error:
            old_cells = extend(old_cells, env, old.policy, open_scenarios, seed, count, on_progress)
            regressions = regression.compare(env, suite, plan, coverage, new_cells, old_cells)
        undecided = still_open((*findings, *regressions))
        open_scenarios = {n: s for n, s in coverage.scenarios.items() if n in undecided}
        if not open_scenarios:
            break
    gate, why = decide(findings, regressions, coverage.not_judged, old.error if old else "")
    return SafetyResult(
        *(suite, plan, policy, env, coverage, new_cells, findings, old, regressions),
        *(gate, why, seed),
    )


def default_suite(run: Path) -> str:
    """The name of the suite that judges a run where none is named: that of its robot's kind."""
    return suite_for(str(load_policy(run).contract.get("env")))


def environment_of(policy: Policy) -> Environment:
    """The environment that a policy's contract names; raises UserError where they do not fit."""
    name, layer = (str(policy.contract.get(key)) for key in ("env", "reward"))
    env = make(name, layer, history_s=HISTORY_S)
    contract.demand_fit(policy, env)
    return env


def load_baseline(run: Path, policy: Policy) -> Baseline:
    """The policy in `run`, and why it cannot be compared with `policy`, if it cannot."""
    old = load_policy(run)
    try:
        env = environment_of(old)
    except UserError as error:
        return Baseline(run, old, str(error))
    if env.name != policy.contract.get("env"):
        return Baseline(run, old, f"it is for {env.name!r}, not {policy.contract.get('env')!r}")
    return Baseline(run, old, "")


def judge_all(
    env: Environment, plan: Plan, coverage: Coverage, cells: Cells
) -> tuple[Finding, ...]:
    """One finding per scenario and criterion that applies."""
    values = {name: criterion_values(env, coverage, cell) for name, cell in cells.items()}
    required = sum(coverage.criteria[key].required for v in values.values() for key in v)
    return tuple(
        judge(
            scenario,
            key,
            coverage.criteria[key],
            of_episode,
            cells[scenario].recorded.track.crashed,
            cells[scenario].tested(env.control_s),
            plan,
            required,
        )
        for scenario, of_criterion in values.items()
        for key, of_episode in of_criterion.items()
    )


def still_open(found: Iterable[Finding | Regression]) -> set[str]:
    """The scenarios whose required verdicts more episodes may decide.

    None once something has failed: no further episode changes that.
    """
    seen = list(found)
    required = [f for f in seen if f.required]
    if any(f.verdict is Verdict.ERROR for f in seen):
        return set()
    if any(f.verdict is Verdict.FAIL for f in required):
        return set()
    return {f.scenario for f in required if f.verdict is Verdict.INCONCLUSIVE}


def decide(
    findings: tuple[Finding, ...],
    regressions: tuple[Regression, ...],
    not_judged: dict[str, str],
    baseline_error: str,
) -> tuple[Gate, str]:
    """The gate: ERROR over REJECT over CONDITIONAL over ACCEPT, and the reason in one sentence."""
    verdicts = [(f"{f.criterion} in {f.scenario}", f.verdict) for f in findings if f.required]
    verdicts += [
        (f"regression of {r.criterion} ({r.what}) in {r.scenario}", r.verdict)
        for r in regressions
        if r.required
    ]
    crashed = [f"{f.criterion} in {f.scenario}" for f in findings if f.verdict is Verdict.ERROR]
    if crashed:  # of an optional criterion too: a number that is not finite never passes
        why = f"{len(crashed)} of {len(findings)} verdicts produced numbers that are not finite"
        return Gate.ERROR, f"{why}: {_few(crashed)}."
    if baseline_error:
        return Gate.ERROR, f"the baseline cannot be compared with: {baseline_error}"
    for wanted, gate, words in (
        (Verdict.ERROR, Gate.ERROR, "produced numbers that are not finite"),
        (Verdict.FAIL, Gate.REJECT, "failed"),
        (Verdict.INCONCLUSIVE, Gate.CONDITIONAL, "not decided by this evidence"),
    ):
        if hit := [label for label, verdict in verdicts if verdict == wanted]:
            return gate, f"{len(hit)} of {len(verdicts)} required verdicts {words}: {_few(hit)}."
    if not_judged:
        reasons = [f"{name} ({why})" for name, why in not_judged.items()]
        return Gate.CONDITIONAL, f"not judged: {_few(reasons)}."
    if not verdicts:
        return Gate.CONDITIONAL, "no required criterion applies."
    return Gate.ACCEPT, f"all {len(verdicts)} required verdicts passed."


def _few(labels: list[str]) -> str:
    return ", ".join(labels[:4]) + (f" and {len(labels) - 4} more" if len(labels) > 4 else "")
