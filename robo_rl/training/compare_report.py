"""The report of a comparison: what was decided, the curves, the scores, the behaviour."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from robo_rl.policy import contract
from robo_rl.report import page as report
from robo_rl.report import plots
from robo_rl.rollouts import seeds as statistics
from robo_rl.rollouts.statistics import figure
from robo_rl.training.compare import (
    Behaviour,
    Comparison,
    Trained,
    Variant,
    behaviours,
    return_bounds,
)
from robo_rl.training.compare_findings import (
    MOST_SEEDS,
    Pair,
    data,
    end_of,
    final,
    headline,
    pairs,
    ranking,
    score_at,
    score_shown,
    shown,
    steps_of,
)

CURVE_POINTS = 60
POINTS = 3  # at which the arms are set side by side, from the first to the last that all have
AXES = {"steps": "environment steps", "train_s": "training wall clock, s"}


def write(result: Comparison, folder: Path, command: str) -> Path:
    """Report, figures and JSON; returns the HTML report's path."""
    return report.write_report(folder, build_report(result, command), data(result, command))


def build_report(result: Comparison, command: str) -> report.Report:
    """What was decided, learning curves and scores on both axes, behaviour, every run."""
    sections = (
        report.Section(
            "Learning curves",
            tuple(learning_curve(result, axis, label) for axis, label in AXES.items()),
        ),
        report.Section("Final policies", (_final_grid(result), *_pair_grid(result))),
        report.Section(
            "At equal budgets",
            tuple(_equal_grid(result, axis, label) for axis, label in AXES.items()),
        ),
        report.Section("Behaviour", (_behaviour_grid(result),)),
        report.Section("Every run", (_run_grid(result),)),
        report.Section("How this was measured", tuple(map(report.Paragraph, _method(result)))),
        report.Section(
            "Not tested",
            (
                report.Paragraph(
                    "Disturbances (robo-rl safety), departures from simulation (robo-rl gap), other"
                    " hyperparameters than those of the runs' config.yaml."
                ),
            ),
        ),
        report.reproduce(command, _versions(result)),
    )
    return report.Report(f"Comparison on {result.env.name}", "", headline(result), sections)


def learning_curve(result: Comparison, axis: str, label: str) -> report.Figure:
    """Task return of every variant against a column of evaluation.csv: `steps` or `train_s`."""
    bounds = return_bounds(result.env)
    groups = {
        str(arm): curve
        for arm in result.variants
        if (curve := curve_of(result.of(arm), axis, *bounds))
    }
    seeds = len(result.of(result.variants[0]))
    title = f"{result.env.name}: deterministic evaluation, {seeds} seed(s) a variant"
    svg = plots.curves(groups, label, "task return (sum of rewards)", title)
    caption = f"Task return against {label}: median over seeds (thick), every seed (thin)"
    band = ", and the 95 % interval of the median at each point" if seeds > 1 else ""
    return report.Figure(f"curve-{axis}", svg, f"{caption}{band}.")


def curve_of(
    trained: Sequence[Trained], axis: str, floor: float, ceiling: float
) -> plots.Curve | None:
    """Median over seeds of the task return along an axis, with its interval; None without rows.

    Runs are interpolated linearly; the grid ends where the first of them ends that did not crash.
    """
    with_rows = [t for t in trained if t.curve]
    if not with_rows:
        return None
    start = max(t.curve[0][axis] for t in with_rows)
    grid = np.linspace(start, end_of(trained, axis), CURVE_POINTS)
    lines = np.array([[score_at(t, axis, x) for x in grid] for t in with_rows])
    bands = [statistics.over_runs(column, floor, ceiling) for column in lines.T]
    middle, low, high = (
        np.array([b._asdict()[part] for b in bands]) for part in ("point", "low", "high")
    )
    low, high = (np.where(np.isnan(edge), middle, edge) for edge in (low, high))
    drawn = [np.where(np.isfinite(line), line, np.nan) for line in (middle, low, high)]
    return plots.Curve(grid, *drawn, lines)


def _final_grid(result: Comparison) -> report.Grid:
    rows = []
    for arm in ranking(result):
        runs, scores = result.of(arm), result.scores(arm)
        each = np.sort(statistics.as_ranked(scores))[::-1]
        known = scores[np.isfinite(scores)]
        within = [float(np.std(t.returns, ddof=1)) for t in runs if _measured_spread(t)]
        rows.append(
            (
                str(arm),
                shown(final(result, arm)),
                ", ".join(score_shown(float(s)) for s in each),
                figure(statistics.iqm(known)) if known.size == scores.size else "not known",
                figure(float(np.median(within))) if within else "not known",
                steps_of(result, arm),
                _minutes(runs),
            )
        )
    columns = (
        "variant",
        "task return, median over seeds [95 %] (higher is better)",
        "each seed",
        "IQM over seeds",
        "spread over episodes of the median run (standard deviation)",
        "environment steps a run",
        "training of one run, min",
    )
    caption = (
        "Task return is a sum of rewards and has no unit. The interval is about seeds: what another"
        " training run would give. The spread over episodes is what one policy does from start to"
        " start."
    )
    return report.Grid(columns, tuple(rows), caption)


def terminal_rows(result: Comparison) -> list[tuple[str, ...]]:
    """Variant, task return, seeds, steps and minutes of every arm, best first."""
    return [
        (
            str(arm),
            shown(final(result, arm)),
            str(len(result.of(arm))),
            steps_of(result, arm),
            _minutes(result.of(arm)),
        )
        for arm in ranking(result)
    ]


def _measured_spread(run: Trained) -> bool:
    return not run.failure and run.returns.size > 1


def _pair_grid(result: Comparison) -> tuple[report.Block, ...]:
    met = pairs(result)
    if not met:
        return ()
    count, least = len(result.of(result.variants[0])), statistics.least_runs(len(met))
    rows = tuple(
        (
            str(pair.first),
            str(pair.second),
            shown(pair.wins) if pair.decided else "not decided",
            f"{pair.p:.2g}",
            _seeds_text(pair, count, least),
        )
        for pair in met
    )
    columns = (
        "variant",
        "against",
        "probability that a run of the first beats one of the second [95 %]",
        f"p, {len(met)} pair(s)",
        "seeds each that decide it",
    )
    caption = "Exact rank test of two sets of runs; p-values made good for their number (Holm)."
    return (report.Grid(columns, rows, caption),)


def _seeds_text(pair: Pair, count: int, least: int) -> str:
    if pair.decided:
        return "decided"
    if count < least:
        return f"at least {least}"
    if pair.seeds_needed > MOST_SEEDS:
        return f"more than {MOST_SEEDS}"
    return f"about {pair.seeds_needed:.0f}"


def _equal_grid(result: Comparison, axis: str, label: str) -> report.Grid:
    """The arms at the same points of an axis: between the first and the last that all have."""
    runs = [t for t in result.trained if t.curve]
    if not runs:
        return report.Grid(("variant",), (), f"No run came to an evaluation ({label}).")
    first = max(t.curve[0][axis] for t in runs)
    last = min(end_of(result.of(arm), axis) for arm in dict.fromkeys(t.variant for t in runs))
    points = list(np.linspace(first, last, POINTS)) if first < last else [last]
    rows = [
        (str(arm), *(_cell_at(result, arm, axis, point) for point in points))
        for arm in result.variants
    ]
    caption = (
        f"Task return at equal {label}: median over seeds [95 %], from the learning curves"
        f" ({result.trained[0].config.eval_episodes} episodes a point); higher is better."
    )
    unit = " s" if axis == "train_s" else " steps"
    return report.Grid(("variant", *(f"{figure(p)}{unit}" for p in points)), tuple(rows), caption)


def _cell_at(result: Comparison, arm: Variant, axis: str, point: float) -> str:
    runs = result.of(arm)
    if any(t.curve and t.curve[0][axis] > point for t in runs):
        return "not evaluated yet"
    scores = np.array([score_at(t, axis, point) if t.curve else np.nan for t in runs])
    return shown(statistics.over_runs(scores, *return_bounds(result.env)))


def _behaviour_grid(result: Comparison) -> report.Grid:
    known = behaviours(result.env)
    rows = tuple(
        (str(arm), *(_behaviour_cell(result.of(arm), b) for b in known)) for arm in ranking(result)
    )
    columns = ("variant", *(f"{b.heading} ({b.better} is better)" for b in known))
    caption = (
        "Median over seeds [95 %] of the mean over a run's episodes, unless the heading says"
        " otherwise. Intervals end where values can: a share at 0 and 1, power at 0."
    )
    return report.Grid(columns, rows, caption)


def _behaviour_cell(runs: Sequence[Trained], behaviour: Behaviour) -> str:
    found = [t.behaviour[behaviour.metric] for t in runs if behaviour.metric in t.behaviour]
    values = np.array([m.value for m in found if not math.isnan(m.value)])
    left_out = sum(m.left_out for m in found)
    notes = []
    if values.size < len(runs):
        notes.append(f"{values.size} of {len(runs)} runs")
    if left_out:
        total = sum(t.returns.size for t in runs if behaviour.metric in t.behaviour)
        why = " that moved less than 0.5 m" if behaviour.metric == "cost_of_transport" else ""
        notes.append(f"without {left_out} of {total} episodes{why}")
    if not values.size:
        return "; ".join(["not known", *notes])
    interval = statistics.over_runs(values, behaviour.floor, behaviour.ceiling)
    return "; ".join([shown(interval), *notes])


def _run_grid(result: Comparison) -> report.Grid:
    rows = tuple(
        (
            str(t.variant),
            str(t.seed),
            t.failure or f"{figure(t.task_return)} ± {_episode_spread(t)}",
            f"{t.steps:,} of {t.config.steps:,}",
            _minutes([t]),
            str(t.contract.get("weights_sha256", "none"))[:12],
            str(t.folder),
        )
        for t in result.trained
    )
    columns = (
        "variant",
        "seed",
        f"task return, mean ± standard deviation over {result.episodes} episodes",
        "environment steps, done of asked",
        "training, min",
        "policy (SHA-256)",
        "run folder",
    )
    return report.Grid(columns, rows)


def _episode_spread(run: Trained) -> str:
    return figure(float(np.std(run.returns, ddof=1))) if run.returns.size > 1 else "not known"


def _method(result: Comparison) -> list[str]:
    """What was done and what the numbers mean, in paragraphs."""
    count = len(result.of(result.variants[0]))
    return [
        f"{count} seed(s) a variant; every final policy, as saved in its run folder, runs"
        f" {result.episodes} deterministic episodes of the undisturbed task on engine"
        f" {result.engine}, on seeds no training used. All variants are scored by the task layer,"
        " whatever layer they were trained on. Both algorithms act in [-1, 1] on the same MDP, and"
        " both bootstrap truncated episodes from their terminal observation. Wall clock counts"
        " training without evaluation, compilation included.",
        f"What the interval means: {_meaning(count)} It is an interval over training runs; more"
        " episodes do not narrow it, more seeds do. A run that crashed ranks below every score.",
        "Two arms are called different where an exact rank test says so: of equal algorithms it"
        " calls at most 5 % different, whatever the distribution of their scores.",
        *(
            f"{arm}: {words}."
            for arm, words in ((a, _asked_budget(result, a)) for a in result.variants)
            if words
        ),
    ]


def _asked_budget(result: Comparison, arm: Variant) -> str:
    """How far an arm's runs were from the steps that were asked of it; "" within one rollout."""
    off = [t for t in result.of(arm) if abs(t.steps - t.config.steps) > t.rollout_steps]
    if not off:
        return ""
    return f"{off[0].config.steps:,} steps were asked, {off[0].steps:,} trained"


def _meaning(count: int) -> str:
    """What the 95 % interval of the median holds with so many seeds (benchmarks/coverage.py)."""
    if count == 1:
        return "one seed has none."
    if count >= 6:
        return (
            "it holds the median of all runs that could be trained in at least 95 % of"
            " comparisons, whatever the distribution of the scores: its ends are two of them."
        )
    if count == 5:
        return (
            "it holds the median of all runs that could be trained in 94 % of comparisons or more,"
            " whatever the distribution of the scores: its ends are the lowest and the highest,"
            " 4 % of the range further out."
        )
    share, missed = statistics.widening(count), 2 * 0.5**count
    return (
        "it holds the median of all runs that could be trained in about 95 % of comparisons where"
        " scores are normal, heavy-tailed or skewed: its ends are the lowest and the highest,"
        f" {share:.2g} times the range further out. Where runs end in either of two outcomes far"
        f" apart and equally likely it misses up to {missed:.0%}, as all {count} seeds may show the"
        " same outcome; 5 seeds mend that."
    )


def _minutes(runs: Sequence[Trained]) -> str:
    """Training of the median run, min."""
    return f"{float(np.median([t.train_s for t in runs])) / 60:.1f}"


def _versions(result: Comparison) -> dict[str, str]:
    """The versions the runs were made with; where machines differ, all of them."""
    found: dict[str, dict[str, None]] = {}
    for versions in [t.contract["versions"] for t in result.trained if t.contract] or [
        contract.versions()
    ]:
        for name, version in versions.items():
            found.setdefault(name, {})[str(version)] = None
    return {name: "; ".join(versions) for name, versions in found.items()}
