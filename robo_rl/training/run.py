"""The run folder: config, policy, checkpoints, metrics and health, kept whole at every moment."""

import shlex
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

from robo_rl import files
from robo_rl.envs.step import Environment, make
from robo_rl.errors import NotFiniteError, UserError
from robo_rl.policy import contract
from robo_rl.policy.stored import Policy, save_policy
from robo_rl.rollouts.play import Trajectories, episode_keys, rollout
from robo_rl.sim2real.randomise import randomised
from robo_rl.training import checkpoint, health
from robo_rl.training.checkpoint import Progress as Done
from robo_rl.training.config import Ppo, Sac, TrainConfig, check
from robo_rl.training.curriculum import (
    CurriculumRandomizer,
    curriculum_environment,
    with_curriculum,
)
from robo_rl.training.devices import shard_over_devices
from robo_rl.training.folder import (
    RunFolder,
    claim,
    demand_free,
    load_config,
    occupied,
    write_config,
)
from robo_rl.training.interrupt import Interrupt, deferred
from robo_rl.training.learner import Learner
from robo_rl.training.log import Log
from robo_rl.training.ppo import ppo
from robo_rl.training.sac import sac
from robo_rl.training.tables import keep_rows, read_rows

__all__ = ["RunFolder", "load_config", "read_rows", "train"]
EVALUATION_SEED = 1_000_003  # far from any training seed


def build(config: TrainConfig, *, resumed: bool = False) -> tuple[Environment, Learner]:
    """The undisturbed environment, for evaluation, and the training loop of a run.

    resumed: the weights will come from a checkpoint, and not from the run it started from.
    """
    env = make(config.env, config.reward, engine=config.engine)
    training = training_environment(config)
    if isinstance(config.hyper, Ppo):
        learner = ppo(training, config.hyper)
    else:
        learner = sac(training, config.hyper, started=config.start is not None)
    if config.start is not None and not resumed:
        learner = warm_started(learner, config.algo, Path(config.start))
    if config.engine == "mjx":  # the others run on the host
        learner = shard_over_devices(learner, config.hyper.robots)
    if isinstance(training.draw, CurriculumRandomizer):
        learner = with_curriculum(learner, training.draw.applied)
    return env, learner


def warm_started(learner: Learner, algo: str, source: Path) -> Learner:
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
    make_random = curriculum_environment if config.curriculum else randomised
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


def extended(config: TrainConfig, steps: Any) -> TrainConfig:
    """The configuration of a run that is to go on to more steps.

    Raises UserError where `steps` is no number of steps, or less than was asked for before.
    """
    hyper = {**config.hyper.model_dump(), "steps": steps}
    made = check(TrainConfig, {**config.model_dump(), config.algo: hyper}, "train")
    if made.steps < config.steps:
        raise UserError(
            f"train: steps={made.steps}: {config.out} is configured for {config.steps:,} steps,"
            " which can only be raised."
        )
    return made


def train(config: TrainConfig, console: Console, *, resume: bool = False) -> Path:
    """Trains to the last step, or goes on from the newest checkpoint; returns the run folder.

    Everything is checked, and the loop traced, before the folder is made. Raises UserError where
    the folder already holds a run and resume is not asked for, or another process trains there.
    Ctrl-C saves a checkpoint, says how to go on, and raises KeyboardInterrupt.
    """
    folder = RunFolder(Path(config.out))
    if resume and folder.is_complete(config):
        console.print(f"{folder.path} is complete; nothing to do.")
        return folder.path
    if not resume:
        demand_free(folder)
    env, learner = build(config, resumed=resume and bool(checkpoint.found(folder.checkpoints)))
    described = describe(config, env)
    state = learner.init(jax.random.key(config.seed))
    jax.eval_shape(learner.advance, state, learner.rollouts)
    if isinstance(config.hyper, Sac):
        console.print(config.hyper.in_words())
    with occupied(folder), deferred() as interrupt:
        done = Done(0, 0.0)
        if resume:
            state, done = _restore(folder, config, learner, state, console)
        else:
            claim(folder, config, state)
        session = Session(config, folder, env, learner, described, console, interrupt)
        try:
            _, done = session.run(state, done, resumed=resume)
        except KeyboardInterrupt:
            kept = max(map(checkpoint.steps_of, checkpoint.found(folder.checkpoints)), default=0)
            console.print(
                f"Stopped; saved at step {kept:,}. Go on with: robo-rl train"
                f" resume={shlex.quote(str(folder.path))}",
                soft_wrap=True,
                markup=False,
            )
            raise
        files.write_json(folder.done, done._asdict())
    if done.steps != config.steps:
        console.print(
            f"Trained {done.steps:,} environment steps: {config.steps:,} were asked for, in whole"
            f" rollouts of {learner.steps_per_rollout:,}."
        )
    return folder.path


def _restore(
    folder: RunFolder, config: TrainConfig, learner: Learner, like: Any, console: Console
) -> tuple[Any, Done]:
    if checkpoint.found(folder.checkpoints):
        state, done = checkpoint.load(folder.checkpoints, like, learner.growing)
    else:  # of a version that wrote none at step 0
        console.print(f"{folder.path} has no checkpoint yet: starting at step 0.")
        state, done = like, Done(0, 0.0)
    if config.steps > load_config(folder.path).steps:
        write_config(folder, config)
    folder.done.unlink(missing_ok=True)
    for table in (folder.metrics, folder.evaluation):
        keep_rows(table, done.steps)
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
    interrupt: Interrupt

    def run(self, state: Any, done: Done, *, resumed: bool) -> tuple[Any, Done]:
        """Advances to the last step; the returned state is the final one.

        The last evaluation is of the last step, so that it is of the policy that stays.
        """
        saved_s, next_eval = time.monotonic(), self._next_evaluation(done.steps)
        with (
            Log(self.folder, done.steps if resumed else None) as log,
            progress_bar(self.console, self.config) as show,
        ):
            while done.steps < self.config.steps:
                if self.interrupt.asked:
                    self._stop(state, done, log)
                state, done, entry = self._advance(state, done)
                log.training(done, entry)
                self._watch(entry, done)
                show(done.steps, entry)
                if done.steps >= next_eval:
                    self._evaluate(state, done, log)
                    next_eval = self._next_evaluation(done.steps)
                if time.monotonic() - saved_s > self.config.checkpoint_s:
                    self.save(state, done, log)
                    saved_s = time.monotonic()
            self.save(state, done, log)
        return state, done

    def save(self, state: Any, done: Done, log: Log) -> None:
        """A checkpoint and the policy of this moment; NotFiniteError instead of a broken policy."""
        network = self.learner.network(state)
        health.demand_finite(network, done.steps)
        log.flush()
        checkpoint.save(self.folder.checkpoints, state, done)
        save_policy(self.folder.policy, network, {**self.described, "steps": done.steps})

    def _stop(self, state: Any, done: Done, log: Log) -> None:
        self.save(state, done, log)
        health.record(self.folder.health, "interrupted", done.steps, "Ctrl-C")
        raise KeyboardInterrupt

    def _advance(self, state: Any, done: Done) -> tuple[Any, Done, dict[str, float]]:
        began = time.perf_counter()
        left = self.learner.rollouts_to(self.config.steps - done.steps)
        rollouts = min(left, self.learner.rollouts)
        state, entry = self.learner.advance(state, rollouts)
        values = {name: float(value) for name, value in entry.items()}
        spent, steps = time.perf_counter() - began, rollouts * self.learner.steps_per_rollout
        values["steps_per_s"] = steps / spent
        return state, Done(done.steps + steps, done.train_s + spent), values

    def _watch(self, entry: dict[str, float], done: Done) -> None:
        found = health.alerts(entry)
        for alert in found:
            health.record(self.folder.health, alert.kind, done.steps, alert.message)
        fatal = [alert.message for alert in found if alert.fatal]
        if fatal:
            raise NotFiniteError(
                f"Training diverged and was stopped at step {done.steps:,}: {'; '.join(fatal)}. The"
                f" last good checkpoint is in {self.folder.checkpoints}; a smaller learning_rate is"
                " the first thing to try."
            )

    def _evaluate(self, state: Any, done: Done, log: Log) -> None:
        policy = Policy(self.learner.network(state), self.described)
        track = evaluate(self.env, policy, self.config.eval_episodes, EVALUATION_SEED)
        row = evaluation_row(track, self.env)
        log.evaluation(done, row)
        if not self.console.is_terminal:  # a log file shows no bar
            self.console.print(
                f"step {done.steps:,} of {self.config.steps:,}: return {row['return_mean']:.1f}, "
                f"{done.train_s:.0f} s trained"
            )

    def _next_evaluation(self, steps: int) -> float:
        if not self.config.eval_points:
            return float("inf")
        interval = self.config.steps / self.config.eval_points
        return min((int(steps / interval) + 1) * interval, self.config.steps)


def evaluate(env: Environment, policy: Policy, episodes: int, seed: int) -> Trajectories:
    """Deterministic episodes of the nominal MDP on seeds that training never saw."""
    return rollout(env, policy, episode_keys(seed, episodes))


def task_return(track: Trajectories, env: Environment) -> np.ndarray:
    """Return under the task layer alone, whatever layer was trained on, [N].

    NaN where it crashed.
    """
    names = [w.name for w in env.rewards.terms_through("task")]
    total = sum(np.where(track.alive, track.terms[name], 0.0).sum(axis=0) for name in names)
    return np.where(track.crashed, np.nan, total)


def evaluation_row(track: Trajectories, env: Environment) -> dict[str, float]:
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
