"""The gap study as a report: margins ranked, degradation drawn, sources beside every magnitude."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robo_rl.policy import contract
from robo_rl.report import page as report
from robo_rl.report import plots
from robo_rl.rollouts.statistics import Interval, rate_bounds
from robo_rl.rollouts.threshold import FLOOR
from robo_rl.sim2real.departures import TOGETHER
from robo_rl.sim2real.gap import GapResult, Sweep, bounded_text
from robo_rl.sim2real.profiles import digest_of
from robo_rl.sim2real.transfer import RETURN_GREEN
from robo_rl.verdicts import SEVERITY, Grade, tally, tally_words, worst

POOLED = 12  # episodes of a point in the picture
CAPTION = (
    "Most critical first. Margin: higher is better. GREEN from 2, if the real magnitude was"
    " measured or is from a data sheet; AMBER from 1, by its lower bound; RED where its upper bound"
    " is below 1; UNKNOWN where that is not decided."
)


def write(result: GapResult, folder: Path, command: str) -> Path:
    """Report, figures and JSON; returns the HTML report's path."""
    return report.write_report(folder, _report(result, command), _data(result, command))


def most_critical_first(result: GapResult) -> list[Sweep]:
    """Sweeps by verdict, within a verdict by margin: its lower bound, then itself."""

    def urgency(s: Sweep) -> tuple[int, tuple[float, ...]]:
        return SEVERITY.index(s.verdict), s.margin[:2] if s.margin else (0.0, 0.0)

    return sorted(result.sweeps, key=urgency)


def grades_of(result: GapResult) -> list[Grade]:
    """The verdict on every departure, none at all and other physics engines included."""
    found = (result.undisturbed, *result.sweeps, *result.transfers)
    return [one.verdict for one in found]


def breaks_first(result: GapResult) -> str:
    """The single departure with the smallest margin by its estimate, with the bounds, in words."""
    if result.undisturbed.success.point < FLOOR:
        return "undisturbed"
    found = [s for s in result.sweeps if s.margin and s.measured and s.name != TOGETHER]
    least = min(found, key=lambda s: s.margin.point if s.margin else math.inf, default=None)
    if least is None or not (least.margin and least.measured and math.isfinite(least.margin.point)):
        return "nothing within the sweeps"
    text = bounded_text(least.margin, least.largest / least.measured)
    return f"{least.name.replace('_', ' ')}, at {text} x the real magnitude"


def _report(result: GapResult, command: str) -> report.Report:
    ranked, counts = most_critical_first(result), tally(grades_of(result))
    table = report.Grid(
        (
            "departure",
            "verdict",
            "margin (breaking point / real magnitude)",
            "real magnitude",
            "breaking point (95 %)",
            "episodes",
        ),
        (
            ("nothing", result.undisturbed.verdict, result.undisturbed.why, "", "", ""),
            *(_line(s) for s in ranked),
        ),
        CAPTION,
    )
    details = (
        f"An episode succeeds when it survives {result.episode_s:g} s and {result.success.words}."
        f" Undisturbed, {result.undisturbed.why}. A policy has broken where fewer than {FLOOR:.0%}"
        f" of the undisturbed success are left: {result.undisturbed.floor:.1%} of the episodes,"
        " by that count. The interval holds that point with 95 %, whatever the curve between the"
        " magnitudes that were tried, as long as success does not rise again with the magnitude. At"
        " most"
        f" {result.episodes} episodes a departure, no two of them alike."
    )
    sources = report.Grid(
        ("departure", "real magnitude, how it is known and source", "what to do"),
        tuple((s.name, f"{_known(s)}: {s.source}", s.mitigation) for s in ranked),
    )
    untested = [f"{name} ({why})" for name, why in result.skipped.items()]
    untested += [
        *(f"transfer to {t.engine} ({t.why})" for t in result.transfers if not t.episodes),
        "terrain, deformable contact, heat and wear",
    ]
    total = sum(counts.values())
    why = f"{tally_words(counts)} of {total}: nothing departed, each departure, other engines."
    if result.undisturbed.verdict is not Grade.GREEN:
        why += f" Undisturbed, {result.undisturbed.why}."
    return report.Report(
        f"Gap to reality: {result.policy.contract['env']}"
        f" ({result.policy.contract.get('algo', 'policy')}), profile {result.profile.name}",
        worst(grades_of(result)),
        why,
        (
            report.Section("Breaking points", (report.Paragraph(details), table)),
            *_degradation(result, ranked),
            report.Section("Other physics engines", (_transfers(result),)),
            report.Section("Where the magnitudes come from", (sources,)),
            report.Section("Not tested", (report.Paragraph("; ".join(untested) + "."),)),
            report.reproduce(command, _provenance(result)),
        ),
    )


def _degradation(result: GapResult, ranked: list[Sweep]) -> tuple[report.Section, ...]:
    """The picture of everything that was tried; nothing where nothing was."""
    shown = [drawn(s, result.undisturbed.floor) for s in ranked if len(s.magnitudes)]
    if not shown:
        return ()
    words = "Success rate with exact bounds and return kept; neighbouring magnitudes together,"
    figure = report.Figure(
        "degradation", plots.degradation(shown), f"{words} {POOLED} episodes or more a point."
    )
    return (report.Section("Degradation", (figure,)),)


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
        f"The same undisturbed episodes. GREEN: success at least {FLOOR:.0%} by its lower"
        f" bound and {RETURN_GREEN:.0%} of the return kept; higher is better.",
    )


def _line(s: Sweep) -> tuple[str, ...]:
    largest = s.largest / s.measured if s.measured else None
    margin = "unknown" if s.margin is None or largest is None else bounded_text(s.margin, largest)
    tried = str(int(s.episodes.sum()))
    return s.name, s.verdict, margin, _measured(s), _breaking(s), tried


def _breaking(s: Sweep) -> str:
    """The breaking point and its interval, with the unit."""
    low, point, high = s.breaking
    if math.isinf(low):
        return f"> {report.quantity(s.largest, s.unit)}"
    beyond = f"{high:.3g}" if math.isfinite(high) else f"more than {s.largest:.3g}"
    return f"{point:.3g} [{low:.3g}, {beyond}]" + ("" if s.unit == "1" else f" {s.unit}")


def _measured(s: Sweep) -> str:
    return "not measured" if s.measured is None else report.quantity(s.measured, s.unit)


def _known(s: Sweep) -> str:
    return f"{_measured(s)} ({s.basis})" if s.basis and s.measured is not None else _measured(s)


def drawn(s: Sweep, floor: float) -> plots.Degradation:
    """The sweep, neighbouring magnitudes taken together until they hold POOLED episodes."""
    groups = _groups(s.episodes)
    episodes, successes = (
        np.array([int(a[g].sum()) for g in groups]) for a in (s.episodes, s.successes)
    )
    bounds = np.array(
        [rate_bounds(int(c), int(n)) for c, n in zip(successes, episodes, strict=True)]
    )
    return plots.Degradation(
        s.name,
        s.unit,
        np.array([np.average(s.magnitudes[g], weights=s.episodes[g]) for g in groups]),
        successes / episodes,
        bounds[:, 0],
        bounds[:, 1],
        np.array([np.average(s.retention[g], weights=s.episodes[g]) for g in groups]),
        floor,
        s.measured,
        s.breaking if math.isfinite(s.breaking.point) else None,
        s.verdict,
    )


def _groups(episodes: NDArray[np.int64]) -> list[slice]:
    """Neighbouring magnitudes that hold at least POOLED episodes together, the last ones fewer."""
    found, begins, held = [], 0, 0
    for k, count in enumerate(episodes):
        held += int(count)
        if held >= POOLED or k == len(episodes) - 1:
            found.append(slice(begins, k + 1))
            begins, held = k + 1, 0
    return found


def _provenance(result: GapResult) -> dict[str, str]:
    made_with = {"policy weights (SHA-256)": result.policy.digest, "seed": str(result.seed)}
    return made_with | contract.versions()


def _data(result: GapResult, command: str) -> dict[str, Any]:
    return {
        "profile": result.profile.model_dump(),
        "profile_file": result.profile_file,
        "profile_sha256": digest_of(result.profile),
        "sweeps": [
            {**s._asdict(), "breaking": _censored(s.breaking), "margin": _censored(s.margin)}
            for s in result.sweeps
        ],
        "skipped": result.skipped,
        "transfers": [{**t._asdict(), "success": t.success._asdict()} for t in result.transfers],
        "undisturbed": {
            **result.undisturbed._asdict(),
            "success": result.undisturbed.success._asdict(),
        },
        "episodes": result.episodes,
        "episode_s": result.episode_s,
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
