"""Algorithms and reward layers against each other, over seeds, on both axes, with intervals."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from robo_rl import contract, plots, report
from robo_rl.content import UserError
from robo_rl.envs.step import Environment, make
from robo_rl.policy import load_policy
from robo_rl.safety_eval.metrics import METRICS, Episodes
from robo_rl.safety_eval.rollout import episode_keys, rollout
from robo_rl.safety_eval.statistics import (
    Interval,
    bootstrap,
    iqm,
    mean_interval,
    probability_of_improvement,
)
from robo_rl.train import config as configuration
from robo_rl.train import run as runs
from robo_rl.train import trainers as training

COMPARE_SEED = 9_000_011  # of the final evaluation, held out from training and from the curves
BEHAVIOUR = {  # metric -> which way is better
    "speed": "higher",
    "power": "lower",
    "cost_of_transport": "lower",
    "any_violation_rate": "lower",
    "fell": "lower",
    "action_roughness": "lower",
}
CURVE_POINTS = 60


class Variant(NamedTuple):
    """One arm of the comparison: an algorithm under a reward layer, in a trainer."""

    algo: str
    reward: str
    trainer: str = "jax"

    def __str__(self) -> str:
        other = "" if self.trainer == "jax" else f" ({self.trainer})"
        return f"{self.algo.upper()} {self.reward}{other}"


class Trained(NamedTuple):
    """One finished run of a variant and what its final policy does on held-out episodes."""

    variant: Variant
    seed: int
    folder: Path
    task_return: float
    behaviour: dict[str, float]
    curve: list[dict[str, float]]  # rows of evaluation.csv
    train_s: float


class Comparison(NamedTuple):
    """Every run of every variant."""

    env: str
    trained: tuple[Trained, ...]
    episodes: int

    def of(self, variant: Variant) -> list[Trained]:
        """The runs of one variant."""
        return [t for t in self.trained if t.variant == variant]

    @property
    def variants(self) -> list[Variant]:
        """The variants in the order they were asked for."""
        return list(dict.fromkeys(t.variant for t in self.trained))


def variants(
    algos: Sequence[str], rewards: Sequence[str], trainers: Sequence[str] = ("jax",)
) -> list[Variant]:
    """Every algorithm under every reward layer in every trainer."""
    return [Variant(*arm) for arm in itertools.product(algos, rewards, trainers)]


def compare(
    env_name: str,
    arms: Sequence[Variant],
    seeds: Sequence[int],
    folder: Path,
    overrides: dict[str, Any],
    console: Console,
    episodes: int = 20,
) -> Comparison:
    """Trains what is not trained yet, then evaluates every final policy."""
    trained = []
    for variant, seed in itertools.product(arms, seeds):
        run = train_one(env_name, variant, seed, folder, overrides, console)
        trained.append(evaluate_one(env_name, variant, seed, run, episodes))
    return Comparison(env_name, tuple(trained), episodes)


def train_one(
    env_name: str,
    variant: Variant,
    seed: int,
    folder: Path,
    overrides: dict[str, Any],
    console: Console,
) -> Path:
    """One run of a variant; a finished one is kept as it is."""
    asked = {
        "env": env_name,
        "algo": variant.algo,
        "reward": variant.reward,
        "trainer": variant.trainer,
        "seed": seed,
        **overrides,
    }
    for other in {"ppo", "sac"} - {variant.algo}:
        asked.pop(other, None)
    out = folder / Path(configuration.default_folder(asked)).name
    wanted = configuration.resolve({**asked, "out": str(out)})
    if not (out / "config.yaml").exists():
        return training.train(wanted, console)
    found = runs.load_config(out).model_copy(update={"out": str(out)})
    if found != wanted:
        raise UserError(f"{out} holds a run with other settings; name another folder (out=DIR).")
    return training.train(wanted, console, resume=True)


def evaluate_one(env_name: str, variant: Variant, seed: int, run: Path, episodes: int) -> Trained:
    """What the final policy of a run does on held-out episodes of the undisturbed task."""
    env = make(env_name)
    track = rollout(env, load_policy(run), episode_keys(COMPARE_SEED, episodes))
    seen = Episodes.of(env, track)
    behaviour = {name: _mean(METRICS[name].of(seen)) for name in BEHAVIOUR if _has(env, name)}
    curve = runs.read_rows(run / "evaluation.csv")
    train_s = curve[-1]["train_s"] if curve else float("nan")
    return Trained(
        variant, seed, run, float(np.mean(track.episode_return)), behaviour, curve, train_s
    )


def _has(env: Environment, metric: str) -> bool:
    return metric not in ("cost_of_transport",) or env.robot.file.ground is not None


def _mean(values: NDArray[Any]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def write(result: Comparison, folder: Path, command: str) -> Path:
    """Report, figures and JSON; returns the HTML report's path."""
    return report.write_report(folder, build_report(result, command), _data(result, command))


def build_report(result: Comparison, command: str) -> report.Report:
    """Learning curves on both axes, final scores, probability of improvement, behaviour."""
    arms = result.variants
    seeds = len(result.of(arms[0]))
    finals = {arm: np.array([t.task_return for t in result.of(arm)]) for arm in arms}
    ranked = sorted(arms, key=lambda arm: -iqm(finals[arm]))
    best = ranked[0]
    intervals = "95 % bootstrap over seeds" if seeds > 1 else "one seed: no interval, no claim"
    why = (
        f"{best} earns the most: task return {_shown(bootstrap(finals[best]))} (IQM, {intervals})."
    )
    if len(ranked) > 1:
        chance = probability_of_improvement(finals[best], finals[ranked[1]])
        why += f" It beats {ranked[1]} with probability {_shown(chance)}."
    sections = (
        report.Section(
            "Learning curves",
            (
                learning_curve(result, "steps", "environment steps"),
                learning_curve(result, "train_s", "training wall clock, s"),
            ),
        ),
        report.Section("Final policies", (_final_grid(result), *_improvement(ranked, finals))),
        report.Section("Behaviour", (_behaviour_grid(result),)),
        report.Section(
            "How this was measured",
            (
                report.Paragraph(
                    f"{seeds} seed(s) per variant; every final policy runs {result.episodes}"
                    " deterministic episodes of the undisturbed task on seeds no training used."
                    " All variants are scored by the task layer, whatever layer they were trained"
                    " on. Both algorithms act in [-1, 1] on the same MDP, and both bootstrap"
                    " truncated episodes from their terminal observation. Wall clock counts"
                    " training without evaluation, compilation included."
                ),
            ),
        ),
        report.Section(
            "Not tested",
            (
                report.Paragraph(
                    "Disturbances (robo-rl safety), departures from simulation (robo-rl gap), other"
                    " hyperparameters than the presets."
                ),
            ),
        ),
        report.Section(
            "Reproduce",
            (
                report.Code(command),
                report.Grid(("what", "value"), tuple(contract.versions().items())),
            ),
        ),
    )
    return report.Report(f"Comparison on {result.env}", "", why, sections)


def curve_of(trained: Sequence[Trained], axis: str) -> plots.Curve:
    """IQM over seeds of the task return along an axis.

    With the bootstrap interval (or the range for two).

    Runs are interpolated linearly onto a common grid that ends where the first of them ends.
    """
    rows = [t.curve for t in trained]
    start = max(r[0][axis] for r in rows)
    end = min(r[-1][axis] for r in rows)
    grid = np.linspace(start, end, CURVE_POINTS)
    lines = np.array(
        [np.interp(grid, [p[axis] for p in r], [p["task_return_mean"] for p in r]) for r in rows]
    )
    bands = [bootstrap(column) for column in lines.T]
    low = np.array([b.point if np.isnan(b.low) else b.low for b in bands])
    high = np.array([b.point if np.isnan(b.high) else b.high for b in bands])
    return plots.Curve(grid, np.array([b.point for b in bands]), low, high)


def learning_curve(result: Comparison, axis: str, label: str) -> report.Figure:
    """Task return of every variant against a column of evaluation.csv: `steps` or `train_s`."""
    groups = {
        str(arm): curve_of(result.of(arm), axis)
        for arm in result.variants
        if all(t.curve for t in result.of(arm))
    }
    seeds = len(result.of(result.variants[0]))
    title = f"{result.env}: deterministic evaluation, IQM of {seeds} seed(s)"
    svg = plots.curves(groups, label, "task return", title)
    return report.Figure(
        f"curve-{axis}",
        svg,
        f"Task return against {label}; bands are 95 % bootstrap intervals over seeds.",
    )


def _final_grid(result: Comparison) -> report.Grid:
    rows = []
    for arm in result.variants:
        runs_of = result.of(arm)
        returns = np.array([t.task_return for t in runs_of])
        minutes = np.array([t.train_s for t in runs_of]) / 60
        rows.append(
            (
                str(arm),
                _shown(bootstrap(returns)),
                f"{returns.min():.0f} to {returns.max():.0f}",
                f"{runs_of[0].curve[-1]['steps']:,.0f}" if runs_of[0].curve else "",
                f"{minutes.mean():.1f}",
                str(len(runs_of)),
            )
        )
    columns = (
        "variant",
        "task return, IQM [95 %] (higher is better)",
        "range over seeds",
        "steps",
        "training, min",
        "seeds",
    )
    return report.Grid(columns, tuple(rows))


def _improvement(
    ranked: list[Variant], finals: dict[Variant, NDArray[np.float64]]
) -> tuple[report.Block, ...]:
    if len(ranked) < 2:
        return ()
    rows = tuple(
        (str(a), str(b), _shown(probability_of_improvement(finals[a], finals[b])))
        for a, b in itertools.combinations(ranked, 2)
    )
    return (
        report.Grid(
            (
                "variant",
                "against",
                "probability that a run of the first beats one of the second [95 %]",
            ),
            rows,
        ),
    )


def _behaviour_grid(result: Comparison) -> report.Grid:
    names = [n for n in BEHAVIOUR if n in result.trained[0].behaviour]
    columns = (
        "variant",
        *(_heading(n) for n in names),
    )
    rows = tuple(
        (
            str(arm),
            *(
                _shown(mean_interval(np.array([t.behaviour[n] for t in result.of(arm)])))
                for n in names
            ),
        )
        for arm in result.variants
    )
    return report.Grid(
        columns, rows, "Mean over seeds with its 95 % t interval. fell: share of episodes."
    )


def _heading(metric: str) -> str:
    unit = METRICS[metric].unit
    label = metric.replace("_", " ") + ("" if unit == "1" else f", {unit}")
    return f"{label} ({BEHAVIOUR[metric]} is better)"


def _shown(interval: Interval) -> str:
    if np.isnan(interval.low):
        return f"{interval.point:.4g} (no interval)"
    return f"{interval.point:.4g} [{interval.low:.4g}, {interval.high:.4g}]"


def _data(result: Comparison, command: str) -> dict[str, Any]:
    rows = [
        {
            "variant": str(t.variant),
            "algo": t.variant.algo,
            "reward": t.variant.reward,
            "trainer": t.variant.trainer,
            "seed": t.seed,
            "run": str(t.folder),
            "task_return": t.task_return,
            "behaviour": t.behaviour,
            "train_s": t.train_s,
        }
        for t in result.trained
    ]
    finals = {
        str(arm): bootstrap(np.array([t.task_return for t in result.of(arm)]))._asdict()
        for arm in result.variants
    }
    return {
        "env": result.env,
        "runs": rows,
        "final": finals,
        "command": command,
        "versions": contract.versions(),
    }
