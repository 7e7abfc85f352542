"""Policies side by side on the same undisturbed episodes, with paired differences."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from robo_rl.envs.step import Environment
from robo_rl.errors import UserError
from robo_rl.policy import contract
from robo_rl.policy.stored import Policy, load_policy
from robo_rl.report import page as report
from robo_rl.rollouts.metrics import METRICS, Episodes
from robo_rl.rollouts.play import episode_keys, rollout
from robo_rl.rollouts.statistics import Interval, figure
from robo_rl.rollouts.success import task_of
from robo_rl.safety_eval.study import environment_of

EPISODES, SEED, RESAMPLES, CONFIDENCE = 64, 7_500_003, 4000, 0.95
MEASURED = {  # metric -> 1 where more is better, -1 where less is
    "fell": -1,
    "survival": 1,
    "speed": 1,
    "power": -1,
    "cost_of_transport": -1,
    "max_tilt": -1,
    "action_roughness": -1,
    "peak_acceleration": -1,
}


class Line(NamedTuple):
    """One metric of every policy: mean with its interval, and the difference from the first."""

    metric: str
    unit: str
    better: int
    means: tuple[Interval, ...]
    differences: tuple[Interval | None, ...]  # None of the first
    wins: tuple[Interval | None, ...]  # share of pairs that are better less that of worse ones
    known: tuple[int, ...]  # episodes in which the metric exists


class Versus(NamedTuple):
    """Policies side by side."""

    runs: tuple[Path, ...]
    policies: tuple[Policy, ...]
    env: Environment
    lines: tuple[Line, ...]
    episodes: int
    seed: int


def versus(
    runs: Sequence[Path],
    episodes: int = EPISODES,
    seed: int = SEED,
    on_progress: Callable[[int, int], None] | None = None,
) -> Versus:
    """Runs every policy on the same episodes of their environment.

    Raises UserError for fewer than two runs, and for policies of different environments.
    """
    if len(runs) < 2:
        raise UserError("compare: runs=A,B: two run folders or more are compared.")
    policies = tuple(load_policy(run) for run in runs)
    env = environment_of(policies[0])
    for run, policy in zip(runs[1:], policies[1:], strict=True):
        if (own := environment_of(policy).name) != env.name:
            raise UserError(
                f"compare: {runs[0]} is for {env.name!r} and {run} for {own!r}: policies of the"
                " same robot, drives, rates and task are compared."
            )
    keys = episode_keys(seed, episodes)
    played = []
    for index, policy in enumerate(policies):

        def show(done: int, most: int, index: int = index) -> None:
            if on_progress:
                on_progress(index * most + done, len(policies) * most)

        played.append(Episodes.of(env, rollout(env, policy, keys, None, show)))
    lines = tuple(
        _line(metric, better, [e.measure(metric) for e in played])
        for metric, better in _metrics(env).items()
    )
    return Versus(tuple(runs), policies, env, lines, episodes, seed)


def _metrics(env: Environment) -> dict[str, int]:
    """What is measured: the task's own metric first."""
    task = task_of(env)
    own = {task.metric: -1 if task.at_most is not None else 1} if task else {}
    return own | {name: better for name, better in MEASURED.items() if name not in own}


def _line(metric: str, better: int, values: list[np.ndarray]) -> Line:
    rng = np.random.default_rng(0)
    size = len(values[0])
    drawn = rng.integers(0, size, (RESAMPLES, size))
    means = tuple(_interval(v, v[drawn]) for v in values)
    first = values[0]
    differences: list[Interval | None] = [None]
    for v in values[1:]:
        with np.errstate(invalid="ignore"):
            gap = v - first
        differences.append(_interval(gap, gap[drawn]))
    known = tuple(int(np.isfinite(v).sum()) for v in values)
    wins = (None, *(_wins(better * v, better * first, drawn) for v in values[1:]))
    return Line(metric, METRICS[metric].unit, better, means, tuple(differences), wins, known)


def _wins(new: np.ndarray, old: np.ndarray, drawn: np.ndarray) -> Interval:
    """Share of pairs in which the new one is better less that of worse; infinite is a value."""
    with np.errstate(invalid="ignore"):
        sign = np.where(new == old, 0.0, np.sign(new - old))
    return _interval(sign, sign[drawn])


def _interval(values: np.ndarray, drawn: np.ndarray) -> Interval:
    """Mean of what is finite, with its percentile bootstrap interval over episodes."""
    if not np.isfinite(values).any():
        return Interval(np.nan, np.nan, np.nan)
    finite = np.where(np.isfinite(drawn), drawn, np.nan)
    with np.errstate(all="ignore"):
        again = np.nanmean(finite, axis=1)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.nanpercentile(again, [tail, 100 - tail])
    return Interval(float(low), float(np.mean(values[np.isfinite(values)])), float(high))


def verdict_of(line: Line, index: int) -> str:
    """What the difference of one policy from the first says, in a word or two."""
    won = line.wins[index]
    if won is None or not np.isfinite(won.low):
        return ""
    if won.low <= 0 <= won.high:
        return "no difference shown"
    return "better" if won.low > 0 else "worse"


def headline(result: Versus) -> str:
    """Who is better than the first in the task's metric, in a sentence."""
    line = result.lines[0]
    words = [
        f"{run.name}: {verdict_of(line, k) or 'unknown'}" for k, run in enumerate(result.runs) if k
    ]
    return f"In {line.metric.replace('_', ' ')}, against {result.runs[0].name}: {', '.join(words)}."


def write(result: Versus, folder: Path, command: str) -> Path:
    """Report and JSON; returns the HTML report's path."""
    names = [run.name for run in result.runs]
    rows = []
    for line in result.lines:
        side = "higher is better" if line.better > 0 else "lower is better"
        cells = [_cell(mean) for mean in line.means]
        gaps = [
            f"{_cell(gap)} {verdict_of(line, k)}" if gap else ""
            for k, gap in enumerate(line.differences)
        ]
        rows.append((f"{line.metric} ({side}), {line.unit}", *cells, *gaps[1:]))
    columns = ("metric", *names, *(f"{name} less {names[0]}" for name in names[1:]))
    how = (
        f"{result.episodes} undisturbed episodes, the same starts and commands for every policy."
        " Means over the episodes in which a metric exists; intervals are 95 % by bootstrap over"
        " episodes, differences by pairs; better and worse by the share of pairs. Several metrics"
        " are looked at: one in twenty differs by chance."
    )
    page = report.Report(
        f"Comparison of runs on {result.env.name}",
        "",
        headline(result),
        (
            report.Section(
                "Side by side", (report.Grid(columns, tuple(rows)), report.Paragraph(how))
            ),
            report.reproduce(command, contract.versions()),
        ),
    )
    data: dict[str, Any] = {
        "command": command,
        "runs": [str(run) for run in result.runs],
        "policies": [policy.digest for policy in result.policies],
        "episodes": result.episodes,
        "seed": result.seed,
        "metrics": [line._asdict() for line in result.lines],
        "versions": contract.versions(),
    }
    return report.write_report(folder, page, data)


def _cell(value: Interval) -> str:
    if not np.isfinite(value.point):
        return "unknown"
    return f"{figure(value.point)} [{figure(value.low)}, {figure(value.high)}]"
