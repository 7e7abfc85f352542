"""The safety study as a report, JSON, JUnit, and one replay bundle per failing episode."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from robo_rl import contract, files, plots, report
from robo_rl.safety_eval.replay import write_bundle
from robo_rl.safety_eval.study import Batch, SafetyResult, criterion_values, failed_episodes
from robo_rl.safety_eval.suite import Suite, Verdict, applicable


def write(result: SafetyResult, folder: Path, command: str) -> Path:
    """Report, JSON, JUnit and one replay bundle per failing episode.

    Returns the HTML report's path.
    """
    replays = _write_replays(result, folder / "replays")
    files.write_text(folder / "junit.xml", junit(result))
    return report.write_report(
        folder, _report(result, command, replays), _data(result, command, replays)
    )


def junit(result: SafetyResult) -> str:
    """JUnit XML: a failed criterion is a failure, a crash an error, an undecided one skipped."""
    tag = {Verdict.FAIL: "failure", Verdict.ERROR: "error", Verdict.INCONCLUSIVE: "skipped"}
    root = ElementTree.Element("testsuite", name=f"robo_rl safety {result.suite.name}")
    rows = [(f.scenario, f.criterion, f.verdict, f.why) for f in result.findings]
    rows += [(r.scenario, "regression", r.verdict, r.why) for r in result.regressions]
    for scenario, name, verdict, why in rows:
        case = ElementTree.SubElement(root, "testcase", classname=scenario, name=name)
        if verdict in tag:
            ElementTree.SubElement(case, tag[verdict], message=why)
    counts = {"tests": len(rows)} | {
        plural: sum(v == verdict for _, _, v, _ in rows)
        for plural, verdict in (
            ("failures", Verdict.FAIL),
            ("errors", Verdict.ERROR),
            ("skipped", Verdict.INCONCLUSIVE),
        )
    }
    root.attrib.update({key: str(value) for key, value in counts.items()})
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True)


def _write_replays(result: SafetyResult, folder: Path) -> list[str]:
    written = []
    for k, scenario in enumerate(result.batch.scenarios):
        failed = failed_episodes(result.env, result.suite, result.batch, k, required_only=False)
        values = criterion_values(result.env, result.suite, result.batch, k)
        for n in np.flatnonzero(failed):
            broken = [
                name for name, v in values.items() if result.suite.criteria[name].failed(v)[n]
            ]
            about = {
                "scenario": scenario.name,
                "episode": int(n),
                "seed": result.seed,
                "sampled": result.batch.values[k][n],
                "failed": broken,
                "policy": result.policy.digest,
            }
            name = f"{scenario.name}-{n:03d}.npz"
            index = result.batch.rows(k).start + int(n)
            write_bundle(
                folder / name, result.env, result.batch.start, result.batch.track, index, about
            )
            written.append(name)
    return written


def _report(result: SafetyResult, command: str, replays: list[str]) -> report.Report:
    findings = result.findings
    grid = report.Grid(
        (
            "scenario",
            "criterion",
            "required",
            "verdict",
            "episode fails unless",
            "failures",
            "failure rate (95 %)",
            "median",
            "worst",
        ),
        tuple(
            (
                f.scenario,
                f.criterion,
                "yes" if f.required else "no",
                f.verdict.value,
                f.threshold,
                f"{f.failures}/{f.episodes}"
                + (f" (+{f.undecided} undecided)" if f.undecided else ""),
                f"{f.failure_rate.low:.1%} to {f.failure_rate.high:.1%}, most {f.max_rate:.0%}",
                _number(f.median),
                _number(f.worst),
            )
            for f in findings
        ),
        "Every criterion in every scenario. Lower failure rates are better.",
    )
    rates = plots.failure_rates(
        [
            (f"{f.scenario}: {f.criterion}", f.verdict.value, *f.failure_rate, f.max_rate)
            for f in findings
            if f.required
        ],
        f"Required criteria, n = {result.findings[0].episodes} episodes each",
    )
    sections = [
        report.Section(
            "Required criteria",
            (report.Figure("failure-rates", rates, "Failure rates with exact bounds."),),
        ),
        report.Section("All verdicts", (grid,)),
        report.Section("Why these thresholds", (_reasons(result.suite),)),
    ]
    if result.regressions:
        sections.append(
            report.Section("Regression against the baseline", (_regression_grid(result),))
        )
    sections += [
        report.Section("Scenarios", (_scenario_grid(result.batch),)),
        report.Section("Failing episodes", _replay_blocks(replays)),
        report.Section("Not tested", (report.Paragraph(_not_tested(result)),)),
        report.Section(
            "Reproduce", (report.Code(command), report.Grid(("what", "value"), _provenance(result)))
        ),
    ]
    title = (
        f"Safety of {result.policy.contract['env']}"
        f" ({result.policy.contract.get('algo', 'policy')}), suite {result.suite.name}"
    )
    return report.Report(title, result.gate.value, result.why, tuple(sections))


def _regression_grid(result: SafetyResult) -> report.Grid:
    return report.Grid(
        ("scenario", "verdict", "why", "newly failing", "newly passing", "pairs"),
        tuple(
            (
                r.scenario,
                r.verdict.value,
                r.why,
                str(r.change.newly_failing),
                str(r.change.newly_passing),
                str(r.change.pairs),
            )
            for r in result.regressions
        ),
        "Same episodes under both policies; an episode fails when it is beyond any required"
        " threshold.",
    )


def _scenario_grid(batch: Batch) -> report.Grid:
    rows = tuple(
        (
            s.name,
            s.claim,
            "; ".join(f"{k} {v.range[0]:g} to {v.range[1]:g} {v.unit}" for k, v in s.sample.items())
            or "nothing",
            s.source,
        )
        for s in batch.scenarios
    )
    return report.Grid(
        ("scenario", "claim", "what varies (uniformly)", "where the numbers come from"), rows
    )


def _reasons(suite: Suite) -> report.Grid:
    rows = tuple(
        (
            name,
            f"{c.metric} {c.threshold()}, in at least {1 - c.max_rate:.0%} of episodes",
            c.reason,
        )
        for name, c in suite.criteria.items()
    )
    return report.Grid(("criterion", "threshold", "reason"), rows)


def _replay_blocks(replays: list[str]) -> tuple[report.Block, ...]:
    if not replays:
        return (report.Paragraph("None."),)
    return (
        report.Paragraph(
            f"{len(replays)} bundles under replays/, each reproduces its episode bit for bit:"
        ),
        report.Code(f"robo-rl replay replays/{replays[0]}"),
    )


def _not_tested(result: SafetyResult) -> str:
    costs = frozenset(result.batch.track.costs)
    criteria = [name for name, c in result.suite.criteria.items() if not applicable(c, costs)]
    parts = [f"scenario {name} ({why})" for name, why in result.batch.skipped.items()]
    parts += [f"criterion {name} (the environment has no such cost)" for name in criteria]
    parts += [
        "combinations of disturbances",
        "latencies above 100 ms",
        "terrain other than a plane",
        "wear, heat and battery over time",
        "a second physics engine",
    ]
    return "; ".join(parts) + "."


def _provenance(result: SafetyResult) -> tuple[tuple[str, str], ...]:
    found = contract.versions()
    rows = [
        ("policy weights (SHA-256)", result.policy.digest),
        ("seed", f"{result.seed} (held out: training never uses it)"),
        ("episodes per scenario", str(len(result.batch.values[0]))),
    ]
    return tuple(rows + [(name, value) for name, value in found.items()])


def _data(result: SafetyResult, command: str, replays: list[str]) -> dict[str, Any]:
    return {
        "suite": result.suite.model_dump(),
        "findings": [
            f.model_dump() | {"failure_rate": f.failure_rate._asdict()} for f in result.findings
        ],
        "regressions": [
            {"scenario": r.scenario, "verdict": r.verdict.value, "why": r.why, **r.change._asdict()}
            for r in result.regressions
        ],
        "skipped": result.batch.skipped,
        "replays": replays,
        "seed": result.seed,
        "command": command,
        "policy": result.policy.contract,
        "versions": contract.versions(),
    }


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"
