"""The gap study as a report: margins ranked, degradation drawn, sources beside every magnitude."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from robo_rl.policy import contract
from robo_rl.report import page as report
from robo_rl.report import plots
from robo_rl.rollouts.statistics import Interval, rate_bounds
from robo_rl.sim2real.gap import SUCCESS_FLOOR, TOGETHER, GapResult, Sweep, bounded_text
from robo_rl.sim2real.transfer import RETURN_GREEN
from robo_rl.verdicts import SEVERITY, Grade, tally, tally_words, worst


def write(result: GapResult, folder: Path, command: str) -> Path:
    """Report, figures and JSON; returns the HTML report's path."""
    return report.write_report(folder, _report(result, command), _data(result, command))


def most_critical_first(result: GapResult) -> list[Sweep]:
    """Sweeps by verdict, within a verdict by margin: its lower bound, then itself."""

    def urgency(s: Sweep) -> tuple[int, tuple[float, ...]]:
        return SEVERITY.index(s.verdict), s.margin[:2] if s.margin else (0.0, 0.0)

    return sorted(result.sweeps, key=urgency)


def grades_of(result: GapResult) -> list[Grade]:
    """The verdict on every departure, other physics engines included."""
    return [found.verdict for found in (*result.sweeps, *result.transfers)]


def breaks_first(result: GapResult) -> str:
    """The single departure with the smallest margin (point estimate), and that margin, in words."""
    if result.nominal_success.point < SUCCESS_FLOOR:
        return "undisturbed"
    margins = {s.name: s.margin.point for s in result.sweeps if s.margin and s.name != TOGETHER}
    least = min(margins, key=margins.__getitem__, default="")
    if not math.isfinite(margins.get(least, math.inf)):
        return "nothing within the sweeps"
    return f"{least.replace('_', ' ')}, at {margins[least]:.2g} x measured"


def _report(result: GapResult, command: str) -> report.Report:
    ranked, counts = most_critical_first(result), tally(grades_of(result))
    table = report.Grid(
        (
            "departure",
            "verdict",
            "margin (breaking point / measured)",
            "measured",
            "breaking point",
            "success at measured",
            "return kept at measured",
        ),
        tuple(_line(s) for s in ranked),
        "Most critical first. Margin: higher is better; GREEN from 2, AMBER from 1, by its lower"
        " bound.",
    )
    figure = plots.degradation([_drawn(s) for s in ranked])
    details = (
        f"An episode succeeds when it survives {result.episode_s:g} s and"
        f" {result.success.words}. A policy has broken where fewer than {SUCCESS_FLOOR:.0%}"
        f" succeed. {result.episodes} episodes a level, the same seeds at"
        " every level; bounds are exact and one-sided 95 %."
    )
    sources = report.Grid(
        ("departure", "measured magnitude and source", "what to do"),
        tuple((s.name, f"{_measured(s)}: {s.source}", s.mitigation) for s in ranked),
    )
    untested = [f"{name} ({why})" for name, why in result.skipped.items()]
    untested += [
        *(f"transfer to {t.engine} ({t.why})" for t in result.transfers if not t.episodes),
        "terrain, deformable contact, heat and wear",
    ]
    total = sum(counts.values())
    why = f"{tally_words(counts)} of {total} departures, other physics engines included."
    if result.nominal_success.low < SUCCESS_FLOOR:
        why += (
            f" Undisturbed, {result.nominal_success.point:.0%} of {result.episodes} episodes "
            f"succeed (at least {result.nominal_success.low:.0%}): while that bound is below "
            f"{SUCCESS_FLOOR:.0%}, no margin can be shown."
        )
    return report.Report(
        f"Gap to reality: {result.policy.contract['env']}"
        f" ({result.policy.contract.get('algo', 'policy')}), profile {result.profile.name}",
        worst(grades_of(result)),
        why,
        (
            report.Section("Breaking points", (report.Paragraph(details), table)),
            report.Section(
                "Degradation",
                (
                    report.Figure(
                        "degradation",
                        figure,
                        f"Success rate with exact bounds and return kept, n = {result.episodes} a"
                        " level.",
                    ),
                ),
            ),
            report.Section("Other physics engines", (_transfers(result),)),
            report.Section("Where the magnitudes come from", (sources,)),
            report.Section("Not tested", (report.Paragraph("; ".join(untested) + "."),)),
            report.reproduce(command, _provenance(result)),
        ),
    )


def _transfers(result: GapResult) -> report.Grid:
    lines = [
        (
            t.engine,
            t.verdict,
            f"{t.successes}/{t.episodes} ({t.success.low:.0%} to {t.success.high:.0%})",
            "unknown" if t.retention is None else f"{t.retention:.0%}",
        )
        for t in result.transfers
    ]
    return report.Grid(
        ("engine", "verdict", "success", "return kept"),
        tuple(lines),
        f"The same undisturbed episodes. GREEN: success at least {SUCCESS_FLOOR:.0%} by its lower"
        f" bound and {RETURN_GREEN:.0%} of the return kept; higher is better.",
    )


def _line(s: Sweep) -> tuple[str, ...]:
    largest = s.magnitudes[-1] / s.measured if s.measured else None
    at = int(np.argmin(np.abs(s.magnitudes - (s.measured or 0.0))))
    low, high = rate_bounds(int(s.successes[at]), s.episodes)
    margin = "unknown" if s.margin is None or largest is None else bounded_text(s.margin, largest)
    breaking = (
        f"{report.quantity(s.breaking.point, s.unit)}"
        if math.isfinite(s.breaking.point)
        else f"> {report.quantity(s.magnitudes[-1], s.unit)}"
    )
    return (
        s.name,
        s.verdict,
        margin,
        _measured(s),
        breaking,
        f"{s.successes[at]}/{s.episodes} ({low:.0%} to {high:.0%})",
        f"{s.retention[at]:.0%}",
    )


def _measured(s: Sweep) -> str:
    return "not measured" if s.measured is None else report.quantity(s.measured, s.unit)


def _drawn(s: Sweep) -> plots.Degradation:
    bounds = np.array([rate_bounds(int(c), s.episodes) for c in s.successes])
    breaking = s.breaking.point if math.isfinite(s.breaking.point) else None
    return plots.Degradation(
        s.name,
        s.unit,
        s.magnitudes,
        s.successes / s.episodes,
        bounds[:, 0],
        bounds[:, 1],
        s.retention,
        SUCCESS_FLOOR,
        s.measured,
        breaking,
        s.verdict,
    )


def _provenance(result: GapResult) -> dict[str, str]:
    made_with = {"policy weights (SHA-256)": result.policy.digest, "seed": str(result.seed)}
    return made_with | contract.versions()


def _data(result: GapResult, command: str) -> dict[str, Any]:
    return {
        "profile": result.profile.model_dump(),
        "sweeps": [
            {**s._asdict(), "breaking": _censored(s.breaking), "margin": _censored(s.margin)}
            for s in result.sweeps
        ],
        "skipped": result.skipped,
        "transfers": [{**t._asdict(), "success": t.success._asdict()} for t in result.transfers],
        "nominal_return": result.nominal_return,
        "nominal_success": result.nominal_success._asdict(),
        "episodes": result.episodes,
        "episode_s": result.episode_s,
        "levels": max(len(s.magnitudes) for s in result.sweeps if s.name != TOGETHER) - 1,
        "seed": result.seed,
        "command": command,
        "policy_sha256": result.policy.digest,
        "versions": contract.versions(),
    }


def _censored(interval: Interval | None) -> dict[str, float | bool | None] | None:
    """An interval in which infinity (not within the sweep) is null and said to be censored."""
    if interval is None:
        return None
    values = {
        key: value if math.isfinite(value) else None for key, value in interval._asdict().items()
    }
    return {**values, "censored": not math.isfinite(interval.point)}
