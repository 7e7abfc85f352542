"""The demonstration: PPO and SAC on one task, compared, judged and checked, on a small budget."""

import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from robo_rl import compare, content, report
from robo_rl.safety_eval import study, study_report
from robo_rl.sim2real import checklist, gap, gap_report
from robo_rl.train.config import Strict, check


class DemoConfig(Strict):
    """configs/demo.yaml."""

    env: str
    ppo_steps: int
    sac_steps: int
    seed: int
    safety_episodes: int
    gap_episodes: int
    gap_levels: int
    gap_episode_s: float
    out: str = "runs/demo"


def demo(given: dict[str, Any], console: Console) -> Path:
    """Trains, compares, judges and checks; prints a summary and returns the front page's path."""
    config = check(
        DemoConfig, {**content.read_yaml(content.find("configs", "demo")), **given}, "demo"
    )
    began, folder = time.monotonic(), Path(config.out)
    console.rule("1 of 4  train and compare")
    comparison = _compare(config, folder, console)
    page = compare.write(comparison, folder / "compare", "robo-rl demo")
    pages = [("PPO against SAC", "", page)]
    summary = Table(
        "policy",
        "task return",
        "safety gate",
        "gap: RED / AMBER / GREEN",
        "checklist",
        title=f"robo-rl demo on {config.env}",
    )
    for trained in comparison.trained:
        console.rule(f"{trained.variant}")
        row, found = _judge(trained, config, console)
        summary.add_row(str(trained.variant), f"{trained.task_return:.0f}", *row)
        pages += found
    front = _front(folder, pages, config, time.monotonic() - began)
    console.print(summary)
    console.print(
        "Small budgets: a policy trained this briefly is meant to be rejected; the report says why."
    )
    console.print(f"Took {(time.monotonic() - began) / 60:.1f} min. Report: {front}")
    return front


def _compare(config: DemoConfig, folder: Path, console: Console) -> compare.Comparison:
    overrides = {"ppo": {"steps": config.ppo_steps}, "sac": {"steps": config.sac_steps}}
    arms = compare.variants(["ppo", "sac"], ["task"])
    return compare.compare(config.env, arms, [config.seed], folder / "runs", overrides, console)


def _judge(
    trained: compare.Trained, config: DemoConfig, console: Console
) -> tuple[tuple[str, str, str], list[tuple[str, str, Path]]]:
    run = trained.folder
    with Progress(console=console) as bars:
        safe = bars.add_task("2 of 4  safety suite")
        judged = study.study(
            run, "locomotion", episodes=config.safety_episodes, on_progress=_into(bars, safe)
        )
        departures = bars.add_task("3 of 4  gap study")
        measured = gap.gap(
            run,
            episodes=config.gap_episodes,
            levels=config.gap_levels,
            episode_s=config.gap_episode_s,
            on_progress=_into(bars, departures),
        )
    command = (
        f"gap {run} episodes={config.gap_episodes} levels={config.gap_levels}"
        f" episode_s={config.gap_episode_s}"
    )
    pages = [
        study_report.write(
            judged,
            run / "safety" / judged.suite.name,
            f"robo-rl safety {run} episodes={config.safety_episodes}",
        ),
        gap_report.write(measured, run / "gap", f"robo-rl {command}"),
    ]
    console.print("4 of 4  checklist")
    checked = checklist.checklist(run)
    pages.append(checklist.write(checked, run / "checklist", f"robo-rl checklist {run}"))
    counts = [sum(s.verdict == v for s in measured.sweeps) for v in ("RED", "AMBER", "GREEN")]
    verdicts = judged.gate.value, " / ".join(map(str, counts)), checked.verdict
    titles = ("safety suite", "gap to reality", "risk checklist")
    shown = (judged.gate.value, "", checked.verdict)
    found = [
        (f"{trained.variant}: {t}", v, p) for t, v, p in zip(titles, shown, pages, strict=True)
    ]
    return verdicts, found


def _into(bars: Progress, bar: Any) -> Any:
    return lambda done, most: bars.update(bar, completed=done, total=most)


def _front(
    folder: Path, pages: list[tuple[str, str, Path]], config: DemoConfig, seconds: float
) -> Path:
    rows = tuple((title, verdict, str(path.relative_to(folder))) for title, verdict, path in pages)
    front = report.Report(
        f"robo-rl demo on {config.env}",
        "",
        f"PPO and SAC trained, compared, judged and checked in {seconds / 60:.1f} minutes.",
        (report.Section("Reports", (report.Grid(("report", "verdict", "file"), rows),)),),
    )
    return report.write_report(
        folder, front, {"reports": [{"title": t, "verdict": v, "file": f} for t, v, f in rows]}
    )
