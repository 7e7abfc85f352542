"""Policies side by side on the same undisturbed episodes, with paired differences."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.stats

from robo_rl.envs.step import Environment
from robo_rl.errors import UserError
from robo_rl.policy import contract
from robo_rl.policy.stored import Policy, load_policy
from robo_rl.report import page as report
from robo_rl.rollouts.metrics import METRICS, Episodes
from robo_rl.rollouts.play import episode_keys, rollout
from robo_rl.rollouts.seeds import holm
from robo_rl.rollouts.statistics import Interval, figure, median_bounds, rate
from robo_rl.rollouts.success import task_of
from robo_rl.safety_eval.study import environment_of

EPISODES, SEED, RISK = 64, 7_500_003, 0.05
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
    """One metric of every policy, with its interval, and how each differs from the first."""

    metric: str
    unit: str
    better: int
    values: tuple[Interval, ...]  # the median, or the share of a flag; exact 95 % bounds
    differences: tuple[Interval | None, ...]  # median of the pairs; None of the first
    leads: tuple[int, ...]  # pairs in which it is better less those in which it is worse
    p_equal: tuple[
        float, ...
    ]  # exact sign test, Holm over all metrics and policies; 1 of the first


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

    Raises UserError for fewer than two runs, for policies of different environments, and for too
    few episodes to show any difference.
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
    needed = fewest_episodes(len(_metrics(env)) * (len(runs) - 1))
    if episodes < needed:
        raise UserError(
            f"compare: episodes={episodes}: even a policy that is worse in every one of them could"
            f" not be shown to be: episodes={needed} or more."
        )
    keys = episode_keys(seed, episodes)
    played = []
    for index, policy in enumerate(policies):

        def show(done: int, most: int, index: int = index) -> None:
            if on_progress:
                on_progress(index * most + done, len(policies) * most)

        played.append(Episodes.of(env, rollout(env, policy, keys, None, show)))
    measured = {m: [e.measure(m) for e in played] for m in _metrics(env)}
    return Versus(tuple(runs), policies, env, _lines(measured, _metrics(env)), episodes, seed)


def _metrics(env: Environment) -> dict[str, int]:
    """What is measured: the task's own metric first."""
    task = task_of(env)
    own = {task.metric: -1 if task.at_most is not None else 1} if task else {}
    return own | {name: better for name, better in MEASURED.items() if name not in own}


def _lines(measured: dict[str, list[np.ndarray]], better: dict[str, int]) -> tuple[Line, ...]:
    """A line for each metric; the risk of a false difference is shared by all of them."""
    pairs = {
        metric: [won_and_lost(better[metric] * v, better[metric] * values[0]) for v in values]
        for metric, values in measured.items()
    }
    adjusted = iter(holm([sign_test(*found) for each in pairs.values() for found in each[1:]]))
    return tuple(
        Line(
            metric,
            METRICS[metric].unit,
            better[metric],
            tuple(_interval(metric, v) for v in values),
            (None, *(_median(_gap(v, values[0])) for v in values[1:])),
            tuple(won - lost for won, lost in pairs[metric]),
            (1.0, *(next(adjusted) for _ in values[1:])),
        )
        for metric, values in measured.items()
    )


def won_and_lost(new: np.ndarray, old: np.ndarray) -> tuple[int, int]:
    """Pairs in which the new one is larger, and smaller; infinity is a value, NaN says nothing."""
    return int((new > old).sum()), int((new < old).sum())


def sign_test(won: int, lost: int) -> float:
    """Exact two-sided p-value of "either is as often the better one of a pair".

    5 of 5 gives 0.0625, 6 of 6 gives 0.03125.
    """
    if not won + lost:
        return 1.0
    return float(scipy.stats.binomtest(won, won + lost, 0.5).pvalue)


def fewest_episodes(tests: int) -> int:
    """Pairs, all won, after which the first of so many sign tests is below the shared risk.

    2 / 2^n <= RISK / tests; one test takes 6, nine take 9.
    """
    return math.ceil(math.log2(2 * tests / RISK))


def _gap(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """Pair by pair, new less old; 0 where both are infinite alike."""
    with np.errstate(invalid="ignore"):
        return np.where(new == old, 0.0, new - old)


def _interval(metric: str, values: np.ndarray) -> Interval:
    """The share of a flag, else the median, with exact bounds."""
    return rate(values > 0) if metric == "fell" else _median(values)


def _median(values: np.ndarray) -> Interval:
    """The median of what is known, with exact bounds; infinite where there are too few."""
    known = values[~np.isnan(values)]
    if not known.size:
        return Interval(np.nan, np.nan, np.nan)
    low, high = median_bounds(known, 1.0 - RISK / 2)
    return Interval(low, float(np.median(known)), high)


def verdict_of(line: Line, index: int) -> str:
    """What the difference of one policy from the first says, in a word or two."""
    if not index:
        return ""
    if line.p_equal[index] > RISK:
        return "no difference shown"
    return "better" if line.leads[index] > 0 else "worse"


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
        cells = [_cell(value) for value in line.values]
        gaps = [
            f"{_cell(gap)} {verdict_of(line, k)}" if gap else ""
            for k, gap in enumerate(line.differences)
        ]
        rows.append((f"{line.metric} ({side}), {line.unit}", *cells, *gaps[1:]))
    columns = ("metric", *names, *(f"{name} less {names[0]}" for name in names[1:]))
    how = (
        f"{result.episodes} undisturbed episodes, the same starts and commands for every policy."
        " Medians (of `fell` the share) with exact 95 % bounds, differences as medians of pairs;"
        " better or worse by an exact sign test over pairs, at 5 % for all lines together (Holm)."
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
    if np.isnan(value.point):
        return "unknown"
    return f"{figure(value.point)} [{figure(value.low)}, {figure(value.high)}]"
