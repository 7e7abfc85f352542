"""The wiring table: every mistake people make between a policy and a robot, one at a time.

For each: what becomes of the robot, and which short test on a stand would show it before the robot
stands on the ground.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from robo_rl.engines import ENGINES
from robo_rl.envs.step import Environment, make
from robo_rl.errors import NotFiniteError, UserError
from robo_rl.injection.episode import Injection, ask
from robo_rl.policy import contract
from robo_rl.policy.mapping import Command, Mapping
from robo_rl.policy.stored import Policy, load_policy
from robo_rl.policy.wiring import PerRobotProgram, WiredProgram, Wiring
from robo_rl.rollouts.metrics import Episodes, kept_up_velocity_error
from robo_rl.rollouts.play import Trajectories, episode_keys, rollout
from robo_rl.scenarios.schema import stack
from robo_rl.sim2real.mistakes import Mistake, catalogue
from robo_rl.sim2real.stand import StandTest, stand_tests
from robo_rl.verdicts import Grade

TRIAL_S = 10.0
STARTS = 3  # of each mistake: one from home exactly, the others around it
SEED = 9_000_011
WORSE_SHARE = 1 / 3  # of the task's tolerance, beyond the right wiring's error: it is worse
NOTHING, WORSE, FALLS = "nothing", "worse", "falls"


class Row(NamedTuple):
    """What one mistake does."""

    mistake: str
    kind: str
    outcome: str  # nothing, worse, falls
    falls: int  # of STARTS
    falls_after_s: float | None  # median of those that fell
    error: float | None  # mean, in the goal's unit, of those that stood
    shown_by: tuple[str, ...]
    grade: Grade
    words: str


class WiringResult(NamedTuple):
    """The table, and the right wiring beside it."""

    policy: Policy
    env: Environment
    rows: tuple[Row, ...]
    right: Row
    skipped: dict[str, str]
    command: tuple[float, float, float]


@dataclass(frozen=True)
class _Variants:
    program: Any
    parameters: Any


def wiring(
    run: Path, on_progress: Callable[[int, int], None] | None = None, seed: int = SEED
) -> WiringResult:
    """Runs every mistake on an imported policy, all in one batch.

    Raises UserError for a policy that reads an environment of the suite as it is: it has no wiring.
    """
    policy = load_policy(run)
    if policy.wired is None:
        raise UserError(
            f"{run}: this policy observes {policy.contract.get('env')!r} as it is; only an imported"
            " one (robo-rl import) has a wiring that can be mistaken."
        )
    env = make(str(policy.contract["env"]), str(policy.contract["reward"]), episode_s=TRIAL_S)
    contract.demand_fit(policy, make(env.name, env.layer))
    mistakes, skipped = catalogue(policy, env)
    goal = env.mdp.goal
    assert goal
    command = _command(Mapping(**policy.contract["mapping"]).command, goal.tolerance)
    right = Mistake("none: wired as imported", "right", policy.wired.wiring)
    outcomes = _run([right, *mistakes], policy, env, command, seed, on_progress)
    reference = outcomes[0]
    if reference.crashed.any():
        raise NotFiniteError(f"{run}: wired rightly, the policy gives numbers that are not finite.")
    scale = _Scale(reference, goal.tolerance, goal.error_unit, goal.met_by_drives)
    read = [(test, test.reads(right.wiring)) for test in stand_tests(policy, env)]
    rows = tuple(
        _row(mistake, found, scale, _shown(mistake, read))
        for mistake, found in zip(mistakes, outcomes[1:], strict=True)
    )
    first = _row(right, reference, scale, ())
    return WiringResult(policy, env, rows, first, skipped, command)


def _command(said: Command, tolerance: float) -> tuple[float, float, float]:
    """The initial command; the fastest forward where a robot that stands still would meet it."""
    if float(np.linalg.norm(said.initial)) > tolerance:
        return said.initial
    return max(said.forward_mps, key=abs), 0.0, 0.0


class _Scale(NamedTuple):
    """What mistakes are held against: the right wiring's outcome, and the task's tolerance."""

    right: "_Outcome"
    tolerance: float
    unit: str
    met_by_drives: bool

    @property
    def error(self) -> float:
        """Mean error of the right wiring's starts; infinite where one fell."""
        return math.inf if self.right.fell.any() else float(self.right.error.mean())

    @property
    def tells(self) -> bool:
        """Whether the policy does its task, so that a mistake which makes nothing worse says so."""
        return self.error <= self.tolerance and not self.met_by_drives


class _Outcome(NamedTuple):
    fell: np.ndarray  # [STARTS]
    crashed: np.ndarray
    after_s: np.ndarray
    error: np.ndarray  # mean over the episode, in the goal's unit; a velocity's kept up over 1 s


def _run(
    mistakes: list[Mistake],
    policy: Policy,
    env: Environment,
    command: tuple[float, float, float],
    seed: int,
    on_progress: Callable[[int, int], None] | None,
) -> list[_Outcome]:
    """Every mistake from STARTS starts; those at another rate in a batch of their own."""
    found: dict[int, _Outcome] = {}
    for rate in sorted({m.rate for m in mistakes}):
        rows = [i for i, m in enumerate(mistakes) if m.rate == rate]
        own = env if rate == 1 else _faster(env, rate)
        track = _rollout(own, policy, [mistakes[i] for i in rows], command, seed, on_progress)
        for k, index in enumerate(rows):
            found[index] = _outcome(own, track.only(slice(k * STARTS, (k + 1) * STARTS)))
    return [found[i] for i in range(len(mistakes))]


def _faster(env: Environment, rate: int) -> Environment:
    """The same robot and task with a shorter control period."""
    engine = ENGINES["mujoco"](env.robot.model, env.engine.substeps // rate, env.robot.tracking)
    declared_mdp = replace(env.mdp, control_hz=env.mdp.control_hz * rate)
    return replace(env, mdp=declared_mdp, engine=engine)


def _rollout(
    env: Environment,
    policy: Policy,
    mistakes: list[Mistake],
    command: tuple[float, float, float],
    seed: int,
    on_progress: Callable[[int, int], None] | None,
) -> Trajectories:
    program = policy.program
    assert isinstance(program, WiredProgram)
    stacked = Wiring(
        *(
            np.repeat(np.stack([np.asarray(getattr(m.wiring, f)) for m in mistakes]), STARTS, 0)
            for f in Wiring._fields
        )
    )
    parameters = {"wiring": stacked, "network": policy.parameters["network"]}
    injections = [
        _injection(env, command, m.gains, start) for m in mistakes for start in range(STARTS)
    ]
    keys = episode_keys(seed, STARTS)[np.tile(np.arange(STARTS), len(mistakes))]
    variants = _Variants(PerRobotProgram(program), parameters)
    return rollout(env, variants, keys, stack(injections), on_progress)


def _injection(
    env: Environment, command: tuple[float, float, float], gains: float, start: int
) -> Injection:
    made = ask(env.neutral(), command)
    scale = made.plant.gain_scale * np.float32(gains)
    made = made._replace(plant=made.plant._replace(gain_scale=scale))
    noise = np.float32(0.0 if start == 0 else 1.0)
    return made._replace(start=made.start._replace(noise_scale=noise))


def _outcome(env: Environment, track: Trajectories) -> _Outcome:
    error = kept_up_velocity_error(Episodes.of(env, track))
    if not track.velocity_error.shape[-1]:  # a task without a velocity: its own error
        alive = np.where(track.alive, track.goal_error, 0.0).sum(axis=0)
        error = alive / np.maximum(track.length, 1)
    seconds = track.length * env.control_s
    return _Outcome(track.fell, track.crashed, seconds, error)


def _shown(mistake: Mistake, read: list[tuple[StandTest, np.ndarray]]) -> tuple[str, ...]:
    """The tests on a stand whose reading a mistake changes."""
    if mistake.shown_by:
        return (mistake.shown_by,)
    return tuple(test.name for test, right in read if test.shows(mistake.wiring, right))


def _row(mistake: Mistake, found: _Outcome, scale: _Scale, shown: tuple[str, ...]) -> Row:
    down = found.fell | found.crashed
    falls = int(down.sum())
    after = float(np.median(found.after_s[down])) if falls else None
    error = float(found.error[~down].mean()) if not down.all() else None
    if falls > int(scale.right.fell.sum()):
        outcome = FALLS
    elif error is not None and error > scale.error + WORSE_SHARE * scale.tolerance:
        outcome = WORSE
    else:
        outcome = NOTHING
    grade = _grade(outcome, bool(shown), scale.tells)
    words = _words(outcome, falls, after, error, scale)
    return Row(mistake.name, mistake.kind, outcome, falls, after, error, shown, grade, words)


def _grade(outcome: str, shown: bool, tells: bool) -> Grade:
    """RED: it does harm and no test on the stand shows it. AMBER: it does harm, and one does.

    UNKNOWN: nothing worse is seen of a policy that does not do its task when wired rightly.
    """
    if outcome == NOTHING:
        return Grade.GREEN if tells else Grade.UNKNOWN
    return Grade.AMBER if shown else Grade.RED


def _words(
    outcome: str, falls: int, after: float | None, error: float | None, scale: _Scale
) -> str:
    if outcome == FALLS:
        return f"falls after {after:.1f} s ({falls} of {STARTS} starts)"
    usual = "it falls" if math.isinf(scale.error) else f"{scale.error:.2f}"
    if error is None:
        return "falls, as it does when wired rightly"
    text = f"error {error:.2f} {scale.unit}; {usual} when wired rightly"
    if outcome == WORSE:
        return f"worse: {text}"
    return f"nothing to be seen: {text}" if scale.tells else f"cannot be told: {text}"
