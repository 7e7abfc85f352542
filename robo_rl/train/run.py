"""The run folder: config, policy, checkpoints, metrics and health, kept whole at every moment."""

import csv
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from robo_rl import contract, files
from robo_rl.content import NotFiniteError, UserError, read_yaml
from robo_rl.envs.step import Environment, make
from robo_rl.policy import Policy, save_policy
from robo_rl.safety_eval.rollout import Track, episode_keys, rollout
from robo_rl.sim2real.curriculum import Ladder, with_curriculum
from robo_rl.sim2real.randomise import randomised
from robo_rl.train import checkpoint, health
from robo_rl.train.checkpoint import Progress as Done
from robo_rl.train.config import Ppo, TrainConfig, check
from robo_rl.train.curriculum import opening
from robo_rl.train.devices import spread
from robo_rl.train.learner import Learner
from robo_rl.train.ppo import ppo
from robo_rl.train.sac import sac

EVALUATION_SEED = 1_000_003  # far from any training seed


@dataclass(frozen=True)
class RunFolder:
    """Paths within a run folder."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """One line per log entry of the training loop."""
        return self.path / "metrics.csv"

    @property
    def evaluation(self) -> Path:
        """One line per deterministic evaluation."""
        return self.path / "evaluation.csv"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def health(self) -> Path:
        """Alerts and events, one JSON object a line."""
        return self.path / "health.jsonl"

    @property
    def done(self) -> Path:
        """Exists once training reached its last step."""
        return self.path / "done.json"


def load_config(path: Path) -> TrainConfig:
    """The configuration of a run folder."""
    folder = RunFolder(path)
    if not folder.config.is_file():
        raise UserError(f"{path}: not a run folder (no config.yaml).")
    return check(TrainConfig, read_yaml(folder.config), str(folder.config))


def build(config: TrainConfig) -> tuple[Environment, Learner]:
    """The undisturbed environment, for evaluation, and the training loop of a run."""
    env = make(config.env, config.reward, engine=config.engine)
    training = training_environment(config)
    if isinstance(config.hyper, Ppo):
        learner = ppo(training, config.hyper)
    else:
        learner = sac(training, config.hyper)
    if config.start is not None:
        learner = started(learner, config.algo, Path(config.start))
    if config.engine == "mjx":  # the others run on the host
        learner = spread(learner, config.hyper.robots)
    if isinstance(training.draw, Ladder):
        learner = opening(learner, training.draw.applied)
    return env, learner


def started(learner: Learner, algo: str, source: Path) -> Learner:
    """The learner with the weights and observation statistics of another run at its start.

    Raises UserError where that run is of another algorithm, or its networks have other shapes.
    """
    theirs = load_config(source)
    if (theirs.algo, theirs.trainer) != (algo, "jax"):
        raise UserError(
            f"start={source}: that run is {theirs.algo} by trainer={theirs.trainer}; {algo} by"
            " trainer=jax is needed."
        )
    checkpoints = RunFolder(source).checkpoints
    return learner._replace(
        init=lambda key: checkpoint.borrow(checkpoints, learner.init(key), learner.learned)
    )


def training_environment(config: TrainConfig) -> Environment:
    """What a run trains on: the nominal MDP, or one whose episodes are drawn from a profile."""
    if config.randomize is None:
        return make(config.env, config.reward, engine=config.engine)
    make_random = with_curriculum if config.curriculum else randomised
    return make_random(
        config.env, config.reward, config.randomize, config.seed, engine=config.engine
    )


def describe(config: TrainConfig, env: Environment) -> dict[str, Any]:
    """The contract of the policies that a run saves."""
    own = {
        "algo": config.algo,
        "trainer": config.trainer,
        "engine": config.engine,
        "seed": config.seed,
    }
    if config.start is not None:
        own["start"] = config.start
    if config.randomize is None:
        return contract.describe(env) | own
    pool: Any = training_environment(config).draw
    drawn = {"profile": config.randomize, "rows": pool.applied, "left_out": pool.left_out}
    drawn["curriculum"] = config.curriculum
    return contract.describe(env) | own | {"randomized": drawn}


def train(config: TrainConfig, console: Console, *, resume: bool = False) -> Path:
    """Trains to the last step, or goes on from the newest checkpoint; returns the run folder.

    Raises UserError where the folder already holds a run and resume is not asked for. Ctrl-C saves
    a checkpoint, says how to go on, and raises KeyboardInterrupt.
    """
    folder = RunFolder(Path(config.out))
    env, learner = build(config.model_copy(update={"start": None}) if resume else config)
    if resume and folder.done.is_file():
        console.print(f"{folder.path} is complete; nothing to do.")
        return folder.path
    if not resume:
        claim(folder, config)
    described = describe(config, env)
    state = learner.init(jax.random.key(config.seed))
    done = Done(0, 0.0)
    if resume:
        state, done = _restore(folder, state, console)
    session = Session(config, folder, env, learner, described, console)
    try:
        state, done = session.run(state, done)
    except KeyboardInterrupt:
        console.print(f"Stopped. Go on with: robo-rl train resume={folder.path}")
        raise
    files.write_json(folder.done, done._asdict())
    return folder.path


def claim(folder: RunFolder, config: TrainConfig) -> None:
    """Starts a run folder; one that already holds a run is left alone."""
    if folder.config.exists():
        raise UserError(
            f"{folder.path} already holds a run. Go on with it (robo-rl train"
            f" resume={folder.path}), or name another folder (out=DIR)."
        )
    files.write_yaml(folder.config, config.model_dump(exclude_none=True))


def _restore(folder: RunFolder, like: Any, console: Console) -> tuple[Any, Done]:
    checkpoint.sweep(folder.checkpoints)
    if not checkpoint.found(folder.checkpoints):
        console.print(f"{folder.path} has no checkpoint yet: starting at step 0.")
        done = Done(0, 0.0)
        state = like
    else:
        state, done = checkpoint.load(folder.checkpoints, like)
    for table in (folder.metrics, folder.evaluation):
        _drop_rows_after(table, done.steps)
    health.record(folder.health, "resumed", done.steps, "went on from a checkpoint")
    return state, done


@dataclass
class Session:
    """One sitting of a run: advances the loop, and logs, evaluates and saves on the way."""

    config: TrainConfig
    folder: RunFolder
    env: Environment
    learner: Learner
    described: dict[str, Any]
    console: Console

    def run(self, state: Any, done: Done) -> tuple[Any, Done]:
        """Advances to the last step; the returned state is the final one."""
        saved_s, next_eval = time.monotonic(), self._next_evaluation(done.steps)
        with self._writer() as log, progress_bar(self.console, self.config) as show:
            try:
                while done.steps < self.config.steps:
                    state, done, entry = self._advance(state, done)
                    self._watch(entry, done)
                    log(done, entry)
                    show(done.steps, entry)
                    if done.steps >= next_eval:
                        self._evaluate(state, done)
                        next_eval = self._next_evaluation(done.steps)
                    if time.monotonic() - saved_s > self.config.checkpoint_s:
                        self.save(state, done)
                        saved_s = time.monotonic()
            except KeyboardInterrupt:
                self.save(state, done)
                health.record(self.folder.health, "interrupted", done.steps, "Ctrl-C")
                raise
        self.save(state, done)
        return state, done

    def save(self, state: Any, done: Done) -> None:
        """A checkpoint and the policy of this moment."""
        checkpoint.save(self.folder.checkpoints, state, done)
        network = self.learner.network(state)
        save_policy(self.folder.path / "policy", network, {**self.described, "steps": done.steps})

    def _advance(self, state: Any, done: Done) -> tuple[Any, Done, dict[str, float]]:
        began = time.perf_counter()
        state, entry = self.learner.advance(state)
        values = {name: float(value) for name, value in entry.items()}
        spent = time.perf_counter() - began
        values["steps_per_s"] = self.learner.steps_per_advance / spent
        return (
            state,
            Done(done.steps + self.learner.steps_per_advance, done.train_s + spent),
            values,
        )

    def _watch(self, entry: dict[str, float], done: Done) -> None:
        for alert in health.alerts(entry):
            health.record(self.folder.health, alert.kind, done.steps, alert.message)
            if alert.fatal:
                raise NotFiniteError(
                    f"Training stopped at step {done.steps}: {alert.message}. "
                    f"The last good checkpoint is in {self.folder.checkpoints}."
                )

    def _evaluate(self, state: Any, done: Done) -> None:
        policy = Policy(self.learner.network(state), self.described)
        track = evaluate(self.env, policy, self.config.eval_episodes, EVALUATION_SEED)
        row = evaluation_row(track, self.env)
        append_row(self.folder.evaluation, {**done._asdict(), **row})
        if not self.console.is_terminal:  # a log file shows no bar
            self.console.print(
                f"step {done.steps:,} of {self.config.steps:,}: return {row['return_mean']:.1f}, "
                f"{done.train_s:.0f} s trained"
            )

    def _next_evaluation(self, steps: int) -> float:
        if not self.config.eval_points:
            return float("inf")
        interval = self.config.steps / self.config.eval_points
        return (int(steps / interval) + 1) * interval

    @contextmanager
    def _writer(self) -> Iterator[Callable[[Done, dict[str, float]], None]]:
        from tensorboardX import SummaryWriter

        board = SummaryWriter(str(self.folder.path / "tensorboard"), flush_secs=20)

        def log(done: Done, entry: dict[str, float]) -> None:
            append_row(self.folder.metrics, {**done._asdict(), **entry})
            for name, value in entry.items():
                if np.isfinite(value):
                    board.add_scalar(name if "/" in name else f"train/{name}", value, done.steps)

        try:
            yield log
        finally:
            board.close()


def evaluate(env: Environment, policy: Policy, episodes: int, seed: int) -> Track:
    """Deterministic episodes of the nominal MDP on seeds that training never saw."""
    return rollout(env, policy, episode_keys(seed, episodes))


def task_return(track: Track, env: Environment) -> np.ndarray:
    """Return under the task layer alone, whatever layer was trained on, [N].

    NaN where it crashed.
    """
    names = [w.name for w in env.rewards.upto("task")]
    total = sum(np.where(track.alive, track.terms[name], 0.0).sum(axis=0) for name in names)
    return np.where(track.crashed, np.nan, total)


def evaluation_row(track: Track, env: Environment) -> dict[str, float]:
    """One evaluation as a row: returns (trained and task layer), length, cost, falls."""
    costs = sum(np.where(track.alive, c, 0.0).sum(axis=0) for c in track.costs.values())
    return {
        "return_mean": float(np.mean(track.episode_return)),
        "task_return_mean": float(np.mean(task_return(track, env))),
        "task_return_std": float(np.std(task_return(track, env))),
        "length_mean": float(np.mean(track.length)),
        "cost_mean": float(np.mean(costs)),
        "falls": float(np.mean(track.fell)),
        "episodes": float(track.episodes),
    }


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Appends a row to a CSV table, whose first row sets the columns."""
    new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("a", newline="") as stream:
            writer = csv.DictWriter(stream, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)
    except OSError as error:
        raise UserError(f"{path}: could not be written ({error.strerror}).") from error


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of a CSV table of numbers; a half-written last line is left out."""
    if not path.is_file():
        return []
    with path.open(newline="") as stream:
        rows = [
            row for row in csv.DictReader(stream) if None not in row.values() and None not in row
        ]
    return [{name: float(value) for name, value in row.items()} for row in rows]


def _drop_rows_after(path: Path, steps: int) -> None:
    rows = [row for row in read_rows(path) if row["steps"] <= steps]
    path.unlink(missing_ok=True)
    for row in rows:
        append_row(path, {**row, "steps": int(row["steps"])})


@contextmanager
def progress_bar(
    console: Console, config: TrainConfig
) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """A bar with return, speed and time left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(
            "{task.percentage:>3.0f}%  return {task.fields[value]:>8.1f} "
            " {task.fields[rate]:>7,.0f} steps/s"
        ),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    title = f"{config.algo.upper()} {config.env} {config.reward} s{config.seed}"
    with Progress(*columns, console=console, transient=False) as bars:
        bar = bars.add_task(title, total=config.steps, value=float("nan"), rate=0.0)

        def show(steps: int, entry: Mapping[str, float]) -> None:
            fields: dict[str, Any] = {"rate": entry["steps_per_s"]}
            if np.isfinite(entry["episode_return"]):
                fields["value"] = entry["episode_return"]
            bars.update(bar, completed=min(steps, config.steps), **fields)

        yield show
