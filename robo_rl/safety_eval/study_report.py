"""The safety study as a report, JSON, JUnit, and replay bundles of failing episodes."""

import itertools
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from robo_rl import files
from robo_rl.policy import contract
from robo_rl.report import page as report
from robo_rl.report import plots
from robo_rl.rollouts.statistics import POWER, rate_that_passes
from robo_rl.safety_eval.evidence import criterion_values, said
from robo_rl.safety_eval.replay import write_bundles
from robo_rl.safety_eval.study import HELD_OUT_SEED, HISTORY_S, Baseline, SafetyResult
from robo_rl.safety_eval.suite import RISK, Outcome
from robo_rl.verdicts import Gate, Verdict

REPLAYS = 20  # bundles per scenario unless asked otherwise
# How a verdict looks to a CI server: it is green exactly where the gate accepts.
JUNIT = {Verdict.FAIL: "failure", Verdict.ERROR: "error", Verdict.INCONCLUSIVE: "failure"}


def write(result: SafetyResult, folder: Path, command: str, replays: int = REPLAYS) -> Path:
    """Report, JSON, JUnit and replay bundles of failing episodes; returns the HTML report's path.

    What an earlier study left in the folder is removed first, so that nothing stale lies beside the
    new verdict. replays: bundles per scenario at most, every failing criterion among them.
    """
    report.claim(folder)
    written = _write_replays(result, folder / "replays", replays)
    page = report.write_report(
        folder, _report(result, command, written, folder), _data(result, command, written)
    )
    files.write_text(folder / "junit.xml", junit(result))
    return page


def junit(result: SafetyResult) -> str:
    """JUnit XML that agrees with the gate.

    A required criterion that failed or is not decided is a failure, a crash an error; what is not
    judged is a failure of its own; an optional criterion that did not pass is skipped.
    """
    root = ElementTree.Element("testsuite", name=f"robo_rl safety {result.suite.name}")
    for f in result.findings:
        _junit_case(root, f.scenario, f.criterion, f.required, f.verdict, f.why)
    for r in result.regressions:
        name = f"regression of {r.criterion} ({r.what})"
        _junit_case(root, r.scenario, name, r.required, r.verdict, r.why)
    for name, why in result.coverage.not_judged.items():
        _junit_case(root, "not judged", name, True, Verdict.INCONCLUSIVE, why)
    if result.baseline and result.baseline.error:
        _junit_case(root, "baseline", "comparison", True, Verdict.ERROR, result.baseline.error)
    for plural, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        root.set(plural, str(len(root.findall(f"testcase/{tag}"))))
    root.set("tests", str(len(root)))
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True)


def _junit_case(
    root: ElementTree.Element, group: str, name: str, required: bool, verdict: Verdict, why: str
) -> None:
    case = ElementTree.SubElement(root, "testcase", classname=group, name=name)
    if verdict is Verdict.PASS:
        return
    if required:
        ElementTree.SubElement(case, JUNIT[verdict], message=f"{verdict}: {why}", type=verdict)
    else:
        ElementTree.SubElement(case, "skipped", message=f"optional, {verdict}: {why}")


def _write_replays(result: SafetyResult, folder: Path, most: int) -> dict[str, tuple[int, int]]:
    """Bundles of the failing episodes; by scenario how many were written, of how many failing."""
    counts = {}
    for name, cell in result.cells.items():
        values = criterion_values(result.env, result.coverage, cell)
        failed = {
            key: outcome == Outcome.FAILED
            for key, outcome in said(result.env, result.coverage, cell, values).items()
        }
        failed = {k: v for k, v in failed.items() if v.any()}
        failed |= {"finite numbers": cell.recorded.track.crashed} if not failed else {}
        total = int(np.any(list(failed.values()), axis=0).sum())
        chosen = chosen_episodes(failed, result, most)
        counts[name] = (len(chosen), total)
        if not chosen.size:
            continue
        about = [
            {
                "scenario": name,
                "episode": int(n),
                "seed": result.seed,
                "sampled": cell.values[n],
                "failed": [key for key, flags in failed.items() if flags[n]],
                "policy": result.policy.digest,
                "algo": result.policy.contract.get("algo"),
            }
            for n in chosen
        ]
        write_bundles(folder, result.env, cell.recorded.only(chosen), about)
    return counts


def chosen_episodes(
    failed: dict[str, NDArray[np.bool_]], result: SafetyResult, most: int
) -> NDArray[np.int64]:
    """Episodes to keep, [<= most]: turn by turn one of each failing criterion, required first."""
    criteria = result.coverage.criteria
    order = sorted(failed, key=lambda key: not (key not in criteria or criteria[key].required))
    queues = [np.flatnonzero(failed[key]).tolist() for key in order]
    chosen: dict[int, None] = {}
    for turn in itertools.zip_longest(*queues):
        for episode in turn:
            if episode is not None and len(chosen) < most:
                chosen[episode] = None
    return np.array(sorted(chosen), int)


def _report(
    result: SafetyResult, command: str, replays: dict[str, tuple[int, int]], folder: Path
) -> report.Report:
    rates = plots.failure_rates(
        [
            (f"{f.scenario}: {f.criterion}", f.verdict.value, *f.failure_rate, f.max_rate)
            for f in result.findings
            if f.required
        ],
        "Required criteria",
    )
    sections = [
        report.Section("Scenarios x criteria", (_matrix(result), *_next_step(result, command))),
        report.Section(
            "Required criteria",
            (report.Figure("failure-rates", rates, "Failure rates with exact bounds."),),
        ),
        report.Section("All verdicts", (_findings_grid(result),)),
        report.Section("Why these thresholds", (_reasons(result), *_limits(result))),
    ]
    if result.baseline:
        sections.append(
            report.Section(
                "Regression against the baseline", (_regression(result, result.baseline),)
            )
        )
    sections += [
        report.Section("Scenarios", (_scenario_grid(result),)),
        report.Section("Failing episodes", _replay_blocks(replays, folder)),
        report.Section("Not judged, not tested", _not_tested(result)),
        report.reproduce(command, _provenance(result)),
    ]
    title = (
        f"Safety of {result.policy.contract['env']}"
        f" ({result.policy.contract.get('algo', 'policy')}), suite {result.suite.name}"
    )
    return report.Report(title, result.gate.value, result.why, tuple(sections))


def _matrix(result: SafetyResult) -> report.Grid:
    """One row per criterion, one column per scenario, the verdict in each."""
    by = {(f.criterion, f.scenario): f for f in result.findings}
    rows = tuple(
        (
            name + ("" if criterion.required else " (optional)"),
            *(by[name, s].verdict.value if (name, s) in by else "" for s in result.cells),
        )
        for name, criterion in result.coverage.criteria.items()
    )
    counts = ", ".join(f"{name} {len(cell.values)}" for name, cell in result.cells.items())
    return report.Grid(("criterion", *result.cells), rows, f"Episodes: {counts}.")


def _next_step(result: SafetyResult, command: str) -> tuple[report.Block, ...]:
    """What to run where something is not decided."""
    open_ones = [f for f in result.findings if f.required and f.verdict is Verdict.INCONCLUSIVE]
    if result.gate is not Gate.CONDITIONAL or not open_ones:
        return ()
    needed = [f.needed for f in open_ones if f.needed]
    if not needed:
        return (report.Paragraph("More episodes would not decide what is open."),)
    words = [word for word in command.split() if not word.startswith("episodes=")]
    again = " ".join([*words, f"episodes={max(needed)}"])
    return (report.Paragraph("To decide what is open:"), report.Code(again))


def _findings_grid(result: SafetyResult) -> report.Grid:
    columns = (
        *("scenario", "criterion", "required", "verdict", "episode fails unless", "failures"),
        *("failure rate, one-sided bounds", "median", "worst", "why"),
    )
    rows = tuple(
        (
            f.scenario,
            f.criterion,
            "yes" if f.required else "no",
            f.verdict.value,
            f.threshold,
            f"{f.failures}/{f.episodes}" + (f" (+{f.undecided} undecided)" if f.undecided else ""),
            f"{f.failure_rate.low:.1%} to {f.failure_rate.high:.1%}, most {f.max_rate:.0%}",
            _number(f.median),
            _number(f.worst),
            f.why,
        )
        for f in result.findings
    )
    plan, required = result.plan, sum(f.required for f in result.findings)
    most = plan.looks[-1]
    passing = [
        f"{c.max_rate:.0%}: {rate_that_passes(most, c.max_rate, plan.confidence):.1%}"
        for c in {c.max_rate: c for c in result.coverage.criteria.values()}.values()
    ]
    return report.Grid(
        columns,
        rows,
        "Every criterion in every scenario; lower failure rates are better. The upper bound holds"
        f" with {plan.confidence:.2%}, so a wrong PASS is at most {RISK:.0%} likely over"
        f" {len(plan.looks)} look(s) at {', '.join(map(str, plan.looks))} episodes; the lower one"
        f" with {plan.fail_confidence(required):.3%}, so that any wrong FAIL among {required}"
        f" required verdicts is. With {most} episodes a criterion passes with {POWER:.0%}"
        f" probability up to these true failure rates (allowed: passing): {'; '.join(passing)}.",
    )


def _regression(result: SafetyResult, baseline: Baseline) -> report.Block:
    if baseline.error:
        return report.Paragraph(f"Not compared with {baseline.run}: {baseline.error}")
    columns = (
        *("scenario", "criterion", "compared", "required", "verdict", "why"),
        *("newly failing", "newly passing", "pairs"),
    )
    rows = tuple(
        (
            *(r.scenario, r.criterion, r.what, "yes" if r.required else "no", r.verdict.value),
            *(r.why, str(r.newly_failing), str(r.newly_passing), str(r.pairs)),
        )
        for r in result.regressions
    )
    return report.Grid(
        columns,
        rows,
        f"The same episodes under {baseline.run} (weights {baseline.policy.digest[:12]}). PASS:"
        " the one-sided upper bound of what got worse is within the margin"
        f" ({result.suite.non_inferiority_margin:.0%} of the episodes, or of the metric's"
        " threshold). FAIL: an exact paired test, shared over all rows, proves it worse.",
    )


def _scenario_grid(result: SafetyResult) -> report.Grid:
    rows = tuple(
        (
            s.name,
            s.claim,
            "; ".join(f"{k} {v.range[0]:g} to {v.range[1]:g} {v.unit}" for k, v in s.sample.items())
            or "nothing",
            "; ".join(f"{name}: {json.dumps(body)}" for name, body in s.require.items()),
            f"{int((~cell.tested(result.env.control_s)).sum())}/{len(cell.values)}",
            s.source,
        )
        for s, cell in ((cell.scenario, cell) for cell in result.cells.values())
    )
    columns = (
        *("scenario", "claim", "what varies (uniformly)", "what must hold"),
        *("over before the disturbance", "where the numbers come from"),
    )
    return report.Grid(columns, rows)


def _reasons(result: SafetyResult) -> report.Grid:
    rows = tuple(
        (name, f"{c.threshold()}, in at least {1 - c.max_rate:.0%} of episodes", c.reason)
        for name, c in result.coverage.criteria.items()
    )
    return report.Grid(("criterion", "threshold", "reason"), rows)


def _limits(result: SafetyResult) -> tuple[report.Block, ...]:
    """The limits beyond which the environment's costs count a step as violating."""
    rows = tuple(
        (c.name, ", ".join(f"{k} {v:g}" for k, v in c.parameters.items()) or c.term.__name__)
        for c in result.env.rewards.costs
    )
    return (report.Grid(("cost", "a step violates beyond"), rows),) if rows else ()


def _replay_blocks(replays: dict[str, tuple[int, int]], folder: Path) -> tuple[report.Block, ...]:
    if not any(total for _, total in replays.values()):
        return (report.Paragraph("None."),)
    rows = tuple((name, f"{kept} of {total}") for name, (kept, total) in replays.items())
    first = next((p.name for p in sorted((folder / "replays").glob("*.npz"))), None)
    grid = report.Grid(("scenario", "failing episodes kept under replays/"), rows)
    if first is None:
        return (grid,)
    return (
        grid,
        report.Paragraph("Each reproduces its episode bit for bit on the same kind of processor:"),
        report.Code(f"robo-rl replay {folder / 'replays' / first} gif=failure.gif"),
    )


def _not_tested(result: SafetyResult) -> tuple[report.Block, ...]:
    blocks: list[report.Block] = []
    rows = [
        (name, "not judged: no ACCEPT", why) for name, why in result.coverage.not_judged.items()
    ]
    rows += [(name, "left out by the suite", why) for name, why in result.coverage.excluded.items()]
    if rows:
        blocks.append(report.Grid(("what", "how", "why"), tuple(rows)))
    ground = "other terrain than the task's own"
    parts = ("combinations of disturbances", f"latencies above {1e3 * HISTORY_S:g} ms", ground)
    parts += ("wear, heat and battery over time", "a second physics engine")
    return (*blocks, report.Paragraph("Not tested: " + "; ".join(parts) + "."))


def _provenance(result: SafetyResult) -> dict[str, str]:
    held_out = " (held out: training never uses it)" if result.seed == HELD_OUT_SEED else " (given)"
    return {
        "policy weights (SHA-256)": result.policy.digest,
        "seed": f"{result.seed}{held_out}",
        **{f"digest of {name}": value for name, value in _digests(result).items()},
        **contract.versions(),
    }


def _digests(result: SafetyResult) -> dict[str, str]:
    """SHA-256 of what the suite and its scenarios say, whatever their files look like."""
    said_by = {f"suite {result.suite.name}": result.suite}
    said_by |= {f"scenario {name}": cell.scenario for name, cell in result.cells.items()}
    return {name: files.digest(model.model_dump_json().encode()) for name, model in said_by.items()}


def _data(
    result: SafetyResult, command: str, replays: dict[str, tuple[int, int]]
) -> dict[str, Any]:
    return {
        "suite": result.suite.model_dump(),
        "criteria": {k: c.model_dump() for k, c in result.coverage.criteria.items()},
        "findings": [
            f.model_dump() | {"failure_rate": f.failure_rate._asdict()} for f in result.findings
        ],
        "baseline": result.baseline
        and {
            "run": result.baseline.run,
            "policy_sha256": result.baseline.policy.digest,
            "error": result.baseline.error,
        },
        "regressions": [
            {**r._asdict(), "difference": r.difference._asdict()} for r in result.regressions
        ],
        "episodes": {name: len(cell.values) for name, cell in result.cells.items()},
        "looks": result.plan.looks,
        "excluded": result.coverage.excluded,
        "not_judged": result.coverage.not_judged,
        "replays": {name: {"kept": k, "failing": n} for name, (k, n) in replays.items()},
        "seed": result.seed,
        "digests": _digests(result),
        "command": command,
        "policy": result.policy.contract,
        "policy_sha256": result.policy.digest,
        "versions": contract.versions(),
    }


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"
