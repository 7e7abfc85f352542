"""What the command line shows on the terminal: tables, verdicts in colour, a bar with time left."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from robo_rl.verdicts import LOOKS, Verdict

console = Console()


class CtrlC:
    """Whether Ctrl-C was pressed. Libraries swallow a KeyboardInterrupt that hits their imports."""

    heard = False


def hear_ctrl_c() -> None:
    """Has Ctrl-C remembered as well as raised; not where this process was told to ignore it."""

    def hear(_: int, __: FrameType | None) -> None:
        CtrlC.heard = True
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, hear)


def safety_tables(result: Any) -> None:
    """Which scenarios each criterion passed, what got worse, and what nobody judged."""
    table = Table(
        "criterion", "scenarios passed", "not passed", title=f"Safety suite {result.suite.name}"
    )
    for name, criterion in result.coverage.criteria.items():
        found = [f for f in result.findings if f.criterion == name]
        bad = [f for f in found if f.verdict is not Verdict.PASS]
        label = name + ("" if criterion.required else " (optional)")
        shown = ", ".join(f"{f.scenario} {f.verdict} {f.failures}/{f.episodes}" for f in bad)
        table.add_row(escape(label), f"{len(found) - len(bad)}/{len(found)}", escape(shown))
    console.print(table)
    if result.regressions:
        table = Table("criterion", "compared", "passed", "not passed", title="Regression")
        for name, what in dict.fromkeys((r.criterion, r.what) for r in result.regressions):
            found = [r for r in result.regressions if (r.criterion, r.what) == (name, what)]
            bad = [r for r in found if r.verdict is not Verdict.PASS]
            shown = "; ".join(f"{r.scenario} {r.verdict}: {r.why}" for r in bad)
            passed = f"{len(found) - len(bad)}/{len(found)}"
            table.add_row(escape(name), what, passed, escape(shown))
        console.print(table)
    open_ones = [f for f in result.findings if f.required and f.verdict is Verdict.INCONCLUSIVE]
    for f in open_ones[:5]:
        console.print(escape(f"{f.criterion} in {f.scenario}: {f.why}"), highlight=False)
    for name, why in result.coverage.not_judged.items():
        console.print(f"[bold]not judged[/]: {escape(f'{name} ({why})')}", highlight=False)


def gap_table(result: Any) -> None:
    """Every departure with its verdict and why, smallest margin first."""
    table = Table("departure", "verdict", "why", title=f"Gap study, profile {result.profile.name}")
    nothing = result.undisturbed
    table.add_row("nothing", coloured(nothing.verdict), escape(nothing.why))
    for sweep in sorted(result.sweeps, key=lambda s: s.margin.low if s.margin else 0.0):
        table.add_row(escape(sweep.name), coloured(sweep.verdict), escape(sweep.why))
    for other in result.transfers:
        table.add_row(f"engine {other.engine}", coloured(other.verdict), escape(other.why))
    console.print(table)


def checklist_table(made: Any) -> None:
    """Every line of the checklist, and the verdict on the whole."""
    table = Table("section", "risk", "verdict", "evidence", title="Sim-to-real risk checklist")
    for row in made.rows:
        table.add_row(row.section, escape(row.risk), coloured(row.verdict), escape(row.evidence))
    console.print(table)
    console.print(f"[bold]{coloured(made.verdict)}[/]")


def show_replay(done: Any) -> None:
    """What a replayed episode was, how it ended, and whether it is the one that was recorded."""
    about, track = done.meta, done.track
    console.print(
        f"{about['env']}, policy {about['algo'] or ''} {about['policy'][:12]}, scenario"
        f" {about['scenario']}, episode {about['episode']}, seed {about['seed']}"
    )
    console.print(f"sampled: {about['sampled']}; failed: {', '.join(about['failed']) or 'nothing'}")
    seconds = int(track.length[0]) * done.env.control_s
    end = "fell" if track.fell[0] else "crashed" if track.crashed[0] else "ran to the end"
    console.print(f"{seconds:.2f} s, return {track.reward[:, 0].sum():.2f}, {end}")
    if done.same_bits:
        console.print("Reproduced bit for bit.")
        return
    console.print(
        f"Physics {'equal' if done.same_state else 'DIFFERS'} in the last state; rewards differ"
        f" from step {done.first_difference} by at most {done.largest_difference:.2g}."
    )
    if done.reproduced:
        console.print(
            f"Same outcome, other bits: {done.elsewhere}. Only the kind of processor that recorded"
            " a bundle promises its bits."
        )
        return
    console.print(
        f"[bold]Not reproduced[/]; recorded on {about['versions'].get('machine')} with MuJoCo"
        f" {about['versions'].get('mujoco')}. {done.elsewhere}"
    )


def coloured(verdict: str) -> str:
    """A verdict in its colour, as rich's markup."""
    return f"[{LOOKS[verdict].terminal}]{verdict}[/]"


@contextmanager
def steps_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that is told how many of how many steps are done; it appears with the first of them."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
    )
    bars = Progress(
        *columns, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=console
    )
    bar = bars.add_task(title, total=None)

    def show(done: int, most: int) -> None:
        if CtrlC.heard:
            raise KeyboardInterrupt
        bars.start()  # not before there is something to show: an error should stand alone
        bars.update(bar, completed=done, total=most)

    try:
        yield show
    finally:
        bars.stop()
