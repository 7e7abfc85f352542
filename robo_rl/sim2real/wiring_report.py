"""The wiring table as a report, and its results as the checklist reads them."""

from pathlib import Path
from typing import Any, NamedTuple

from robo_rl.content import read_json
from robo_rl.policy import contract
from robo_rl.report import page as report
from robo_rl.sim2real.wiring import FALLS, NOTHING, STARTS, TRIAL_S, WORSE, Row, WiringResult
from robo_rl.verdicts import SEVERITY, Grade, worst

FOLDER = "wiring"


class WiringResults(NamedTuple):
    """What a wiring table left in results.json, for other studies."""

    policy_sha256: str
    command: str
    rows: tuple[dict[str, Any], ...]


def load(run: Path) -> WiringResults | None:
    """The results of a run's wiring table; None where it was not made."""
    path = run / FOLDER / "results.json"
    if not path.is_file():
        return None
    data = read_json(path, "policy_sha256", "command", "rows")
    return WiringResults(data["policy_sha256"], data["command"], tuple(data["rows"]))


def write(result: WiringResult, folder: Path, command: str) -> Path:
    """Report and JSON; returns the HTML report's path."""
    return report.write_report(folder, _report(result, command), _data(result, command))


def grades_of(result: WiringResult) -> list[Grade]:
    """The grade of every mistake."""
    return [row.grade for row in result.rows]


def headline(result: WiringResult) -> str:
    """What the table says, in a sentence or two."""
    counts = {o: sum(r.outcome == o for r in result.rows) for o in (FALLS, WORSE, NOTHING)}
    silent = [r.mistake for r in result.rows if r.grade is Grade.RED]
    hidden = (
        f" Dangerous, since no test on the stand shows them: {', '.join(silent)}."
        if silent
        else " A test on the stand shows each one that does harm."
    )
    unknown = (
        "Wired rightly it does not do its task, so that a mistake which makes nothing worse cannot"
        f" be told from none ({result.right.words}). "
        if any(r.grade is Grade.UNKNOWN for r in result.rows)
        else ""
    )
    return (
        f"{unknown}Of {len(result.rows)} mistakes {counts[FALLS]} make it fall,"
        f" {counts[WORSE]} make it worse and {counts[NOTHING]} do nothing that can be seen in"
        f" {TRIAL_S:g} s.{hidden}"
    )


def ranked(result: WiringResult) -> list[Row]:
    """Rows with what is most dangerous first: by grade, then by how soon it falls."""

    def urgency(row: Row) -> tuple[int, float, float]:
        after = TRIAL_S if row.falls_after_s is None else row.falls_after_s
        return SEVERITY.index(row.grade), after, -(row.error or 0.0)

    return sorted(result.rows, key=urgency)


def _report(result: WiringResult, command: str) -> report.Report:
    table = report.Grid(
        ("mistake", "verdict", "what happens", "a test on a stand that shows it"),
        tuple((r.mistake, str(r.grade), r.words, _shown(r)) for r in ranked(result)),
        "RED: does harm and no test on the stand shows it. AMBER: does harm, and one shows it."
        " GREEN: nothing to be seen in the trial. UNKNOWN: wired rightly, it does not do its task.",
    )
    asked = ", ".join(f"{v:g}" for v in result.command)
    how = (
        f"Each mistake alone, {STARTS} starts of {TRIAL_S:g} s at the command ({asked}), the first"
        " from home exactly. It falls where more starts fall than with the right wiring"
        f" ({result.right.words}). A test shows a mistake if a reading changes by more than 0.05 in"
        " its own unit; gains and timing do not show in a reading at rest."
    )
    blocks: list[report.Block] = [table, report.Paragraph(how)]
    if result.skipped:
        blocks.append(report.Grid(("not tried", "why"), tuple(result.skipped.items())))
    return report.Report(
        f"Wiring: {result.env.name}",
        str(worst(grades_of(result))),
        headline(result),
        (
            report.Section("Mistakes, the most dangerous first", tuple(blocks)),
            report.reproduce(command, contract.versions()),
        ),
    )


def _shown(row: Row) -> str:
    if row.shown_by:
        return row.shown_by[0]
    return "nothing to look for" if row.outcome == NOTHING else "none of the tests on a stand"


def _data(result: WiringResult, command: str) -> dict[str, Any]:
    return {
        "command": command,
        "env": result.env.name,
        "policy_sha256": result.policy.digest,
        "right": result.right._asdict(),
        "rows": [row._asdict() for row in ranked(result)],
        "skipped": result.skipped,
        "versions": contract.versions(),
    }
