"""The demonstration: PPO and SAC on one task, compared, judged and checked, on a small budget."""

import time
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from robo_rl import content
from robo_rl.report import page as report
from robo_rl.safety_eval import study, study_report
from robo_rl.sim2real import checklist, gap, gap_report
from robo_rl.training import compare, compare_report
from robo_rl.training.config import Strict, check
from robo_rl.verdicts import tally, tally_words

COLUMNS = ("policy", "task return", "safety gate", "gap to reality", "breaks first", "checklist")
PROMISE = (
    "Small budgets: a policy trained this briefly is meant to be rejected; the report says why."
)


class DemoConfig(Strict):
    """configs/demo.yaml."""

    env: str
    ppo_steps: int
    sac_steps: int
    seed: int
    safety_episodes: int
    gap_episodes: int
    out: str = "runs/demo"


class Judged(NamedTuple):
    """What one policy was found to be; each finding with the report that holds its evidence."""

    trained: compare.Trained
    gate: tuple[str, Path]
    gap: tuple[str, Path]
    breaks_first: str
    checklist: tuple[str, Path]


def demo(given: dict[str, Any], console: Console) -> Path:
    """Trains, compares, judges and checks; prints a summary and returns the front page's path."""
    config = check(
        DemoConfig, {**content.read_yaml(content.find("configs", "demo")), **given}, "demo"
    )
    began, folder = time.monotonic(), Path(config.out)
    console.rule("1 of 4  train and compare")
    comparison = _compare(config, folder, console)
    compared = compare_report.write(comparison, folder / "compare", "robo-rl demo")
    policies = []
    for trained in comparison.trained:
        console.rule(f"{trained.variant}")
        policies.append(_judge(trained, config, console))
    minutes = (time.monotonic() - began) / 60
    front = report.write_report(folder, *_front(folder, comparison, compared, policies, minutes))
    summary = Table(*COLUMNS, title=f"robo-rl demo on {config.env}")
    for row in (_row(found, folder) for found in policies):
        summary.add_row(*(cell.text if isinstance(cell, report.Link) else cell for cell in row))
    console.print(summary)
    console.print(PROMISE)
    console.print(f"Took {minutes:.1f} min. Report: {front}")
    return front


def _compare(config: DemoConfig, folder: Path, console: Console) -> compare.Comparison:
    overrides = {"ppo": {"steps": config.ppo_steps}, "sac": {"steps": config.sac_steps}}
    arms, runs = compare.variants(["ppo", "sac"], ["task"]), folder / "runs"
    asked = compare.Asked(config.env, arms, (config.seed,), runs, overrides=overrides)
    return compare.compare(asked, console)


def _judge(trained: compare.Trained, config: DemoConfig, console: Console) -> Judged:
    run = trained.folder
    with Progress(console=console) as bars:
        safe = bars.add_task("2 of 4  safety suite")
        judged = study.study(
            run, None, episodes=config.safety_episodes, on_progress=_into(bars, safe)
        )
        departures = bars.add_task("3 of 4  gap study")
        measured = gap.gap(
            run,
            episodes=config.gap_episodes,
            on_progress=_into(bars, departures),
        )
    safety_page = study_report.write(
        judged,
        run / "safety" / judged.suite.name,
        f"robo-rl safety {run} episodes={config.safety_episodes}",
    )
    gap_page = gap_report.write(
        measured,
        run / "gap",
        f"robo-rl gap {run} episodes={config.gap_episodes}",
    )
    console.print("4 of 4  checklist")
    checked = checklist.checklist(run)
    checked_page = checklist.write(checked, run / "checklist", f"robo-rl checklist {run}")
    return Judged(
        trained,
        (judged.gate.value, safety_page),
        (tally_words(tally(gap_report.grades_of(measured))), gap_page),
        gap_report.breaks_first(measured),
        (checked.verdict, checked_page),
    )


def _into(bars: Progress, bar: Any) -> Any:
    return lambda done, most: bars.update(bar, completed=done, total=most)


def _row(found: Judged, folder: Path) -> tuple[report.Cell, ...]:
    """One policy's line under COLUMNS; a finding leads to its report."""

    def link(finding: tuple[str, Path]) -> report.Link:
        return report.Link(finding[0], str(finding[1].relative_to(folder)))

    return (
        str(found.trained.variant),
        f"{found.trained.task_return:.0f}",
        link(found.gate),
        link(found.gap),
        found.breaks_first,
        link(found.checklist),
    )


def _front(
    folder: Path,
    comparison: compare.Comparison,
    compared: Path,
    policies: list[Judged],
    minutes: float,
) -> tuple[report.Report, dict[str, Any]]:
    """The page that leads to the others, and the same as data."""
    rows = tuple(_row(found, folder) for found in policies)
    curves = report.Link("PPO against SAC", str(compared.relative_to(folder)))
    best = max((p.trained for p in policies), key=lambda t: t.task_return)
    env, algo = comparison.env.name, best.variant.algo
    longer = f"""robo-rl train env={env} algo={algo} out=runs/{env}
robo-rl safety runs/{env}
robo-rl gap runs/{env}
robo-rl checklist runs/{env}"""
    sections = (
        report.Section(
            "Policies",
            (
                report.Grid(COLUMNS, rows, "Each finding leads to the report with its evidence."),
                report.Paragraph(PROMISE),
            ),
        ),
        report.Section(
            "How they learned",
            (
                compare_report.learning_curve(comparison, "train_s", "training wall clock, s"),
                report.Grid(("comparison",), ((curves,),)),
            ),
        ),
        report.Section("Train one at its full budget", (report.Code(longer),)),
    )
    why = f"PPO and SAC trained, compared, judged and checked in {minutes:.1f} minutes."
    data = {"columns": COLUMNS, "policies": rows, "comparison": curves.path, "minutes": minutes}
    return report.Report(f"robo-rl demo on {env}", "", why, sections), data
