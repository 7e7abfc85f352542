"""The gap study: how large each departure from simulation may grow before the policy breaks."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from robo_rl.envs.step import Environment, make
from robo_rl.errors import NotFiniteError, UserError
from robo_rl.injection.episode import Injection, longest_latency_s, neutral
from robo_rl.injection.injectors import INJECTORS, NotApplicableError, inject
from robo_rl.policy import contract
from robo_rl.policy.stored import Policy, load_policy
from robo_rl.robots.robot import Robot
from robo_rl.rollouts.play import episode_keys, rollout
from robo_rl.rollouts.statistics import Interval, rate_bounds
from robo_rl.rollouts.success import Success, success_of
from robo_rl.scenarios.schema import stack
from robo_rl.sim2real.profiles import Profile, load_profile
from robo_rl.sim2real.transfer import OTHER_ENGINES, Transfer, transfer
from robo_rl.verdicts import Grade

GAP_SEED = 8_000_003
EPISODES, LEVELS = 32, 6  # of each departure, unless asked otherwise
SUCCESS_FLOOR = 0.8  # a policy has broken where fewer episodes than this succeed
GREEN_MARGIN, AMBER_MARGIN = 2.0, 1.0
TOGETHER = "everything at once"


class Sweep(NamedTuple):
    """One departure, swept from nothing to far beyond what is real.

    [levels], the first is nominal.
    """

    name: str
    section: str
    unit: str
    measured: float | None
    source: str
    mitigation: str
    magnitudes: NDArray[np.float64]
    successes: NDArray[np.int64]
    episodes: int
    retention: NDArray[np.float64]  # mean return / nominal mean return
    breaking: Interval  # inf: did not break within the sweep
    margin: Interval | None  # breaking point / measured magnitude
    verdict: Grade
    why: str


Judged = TypeVar("Judged", Sweep, Transfer)


class GapResult(NamedTuple):
    """The study's findings."""

    policy: Policy
    env: Environment
    profile: Profile
    sweeps: tuple[Sweep, ...]
    skipped: dict[str, str]
    nominal_return: float
    nominal_success: Interval
    success: Success
    seed: int
    episodes: int
    episode_s: float
    transfers: tuple[Transfer, ...]


class _Plan(NamedTuple):
    name: str
    magnitudes: NDArray[np.float64]
    injections: list[Injection]  # level by level, episodes within a level
    acts_by_s: float  # when the departure has acted in full


def gap(
    run: Path,
    profile_name: str | None = None,
    seed: int = GAP_SEED,
    episodes: int = EPISODES,
    levels: int = LEVELS,
    episode_s: float | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> GapResult:
    """Sweeps every row of a profile that applies to the policy's robot, all in one batch.

    profile_name: the robot's own profile if left out. episode_s: shorter episodes than the task's.
    The undisturbed episodes are run on the other engines as well.
    """
    _demand_evidence(episodes, levels)
    policy = load_policy(run)
    nominal = make(str(policy.contract.get("env")), str(policy.contract.get("reward")))
    contract.demand_fit(policy, nominal)
    profile = load_profile(profile_name or nominal.robot.file.profile)
    plans, skipped = _plans(nominal.robot, profile, seed, episodes, levels)
    if not plans:
        raise UserError(
            f"profile {profile.name}: no row applies to {nominal.robot.name}: {skipped}"
        )
    batch = stack(
        [neutral_of(nominal.robot)] * episodes + [i for plan in plans for i in plan.injections]
    )
    env = make(
        nominal.name, nominal.layer, history_s=max(longest_latency_s(batch)), episode_s=episode_s
    )
    keys = episode_keys(seed, episodes)[
        np.tile(np.arange(episodes), len(batch.fault.at_s) // episodes)
    ]
    track = rollout(env, policy, keys, batch, on_progress)
    returns = np.where(track.crashed, -np.inf, track.episode_return).reshape(-1, episodes)
    reference = float(np.median(returns[0]))
    if not np.isfinite(reference):
        raise NotFiniteError(
            f"{run}: the policy produces numbers that are not finite in the undisturbed task."
        )
    criterion = success_of(env, returns[0])
    success = criterion.of(env, track).reshape(-1, episodes)
    short = _too_short(env, nominal)
    transfers = tuple(
        _only_failures(
            transfer(policy, env, engine, seed, returns[0], criterion, SUCCESS_FLOOR, on_progress),
            short,
        )
        for engine in OTHER_ENGINES
    )
    low, high = rate_bounds(int(success[0].sum()), episodes)
    nominal_success = Interval(low, float(success[0].mean()), high)
    return GapResult(
        policy,
        env,
        profile,
        tuple(
            _only_failures(_untested(sweep, plan, env), short)
            for sweep, plan in zip(_sweeps(plans, profile, success, returns), plans, strict=True)
        ),
        skipped,
        reference,
        nominal_success,
        criterion,
        seed,
        episodes,
        env.mdp.episode_s,
        transfers,
    )


def _demand_evidence(episodes: int, levels: int) -> None:
    least = math.ceil(math.log(0.05) / math.log(SUCCESS_FLOOR))
    if episodes < least:
        raise UserError(
            f"gap: episodes={episodes} cannot show a success rate of {SUCCESS_FLOOR:.0%}; at least"
            f" {least} are needed."
        )
    if levels < 1:
        raise UserError(f"gap: levels={levels}: with no level nothing is tried; 1 or more.")


def neutral_of(robot: Robot) -> Injection:
    """The injection that changes nothing, for a robot."""
    return neutral(robot.model, len(robot.channels))


def _plans(
    robot: Robot, profile: Profile, seed: int, episodes: int, levels: int
) -> tuple[list[_Plan], dict[str, str]]:
    plans, skipped = [], {}
    for name, row in profile.rows.items():
        magnitudes = sweep_levels(row.measured, row.sweep_to, levels)
        try:
            plans.append(
                _Plan(
                    name,
                    magnitudes,
                    [
                        inject(
                            neutral_of(robot),
                            robot,
                            row.injector,
                            m,
                            _rng(seed, e, name),
                            name,
                            **row.options,
                        )
                        for m in magnitudes[1:]
                        for e in range(episodes)
                    ],
                    INJECTORS[row.injector].acts_s(row.options)[1],
                )
            )
        except NotApplicableError as reason:
            skipped[name] = str(reason)
    applied = [plan.name for plan in plans if profile.rows[plan.name].measured is not None]
    multiples = np.array([0.0, 0.5, 1.0, 2.0, 4.0])
    if applied:
        everything = [
            _together(robot, profile, applied, multiple, seed, e)
            for multiple in multiples[1:]
            for e in range(episodes)
        ]
        by_s = max(plan.acts_by_s for plan in plans if plan.name in applied)
        plans.append(_Plan(TOGETHER, multiples, everything, by_s))
    return plans, skipped


def _together(
    robot: Robot, profile: Profile, names: list[str], multiple: float, seed: int, episode: int
) -> Injection:
    """Every measured departure at once, each at a multiple of its measured magnitude."""
    made = neutral_of(robot)
    for name in names:
        row = profile.rows[name]
        magnitude = min(multiple * (row.measured or 0.0), row.sweep_to)
        made = inject(
            made, robot, row.injector, magnitude, _rng(seed, episode, name), name, **row.options
        )
    return made


def sweep_levels(measured: float | None, sweep_to: float, levels: int) -> NDArray[np.float64]:
    """Zero, then `levels` magnitudes, geometric, from the measured one to sweep_to."""
    first = measured if measured is not None else sweep_to / 10.0
    return np.concatenate([[0.0], np.geomspace(first, sweep_to, levels)])


def _rng(seed: int, episode: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, episode, *name.encode()])


def _sweeps(
    plans: list[_Plan],
    profile: Profile,
    success: NDArray[np.bool_],
    returns: NDArray[np.float64],
) -> Iterator[Sweep]:
    """One sweep per plan; rows of the batch lie plan by plan behind the nominal one."""
    at = 1
    for plan in plans:
        rows = [0, *range(at, at + len(plan.magnitudes) - 1)]
        at += len(plan.magnitudes) - 1
        yield _sweep(plan, profile, success[rows], returns[rows])


def _untested(sweep: Sweep, plan: _Plan, env: Environment) -> Sweep:
    """The sweep, UNKNOWN where its episodes were too short for the departure to act."""
    run_s = env.mdp.episode_s
    if plan.acts_by_s < run_s:
        return sweep
    why = f"not tested: it acts {plan.acts_by_s:g} s after the start of {run_s:g} s episodes"
    return sweep._replace(verdict=Grade.UNKNOWN, why=why)


def _too_short(env: Environment, nominal: Environment) -> str:
    """Why episodes shorter than the task show nothing but failures; "" where they are not."""
    run_s, task_s = env.mdp.episode_s, nominal.mdp.episode_s
    if run_s >= task_s:
        return ""
    return f"not tested: the task lasts {task_s:g} s, and episodes lasted {run_s:g} s"


def _only_failures(found: Judged, short: str) -> Judged:
    """The finding; UNKNOWN where it is no failure and the episodes were too short for more."""
    if not short or found.verdict not in (Grade.GREEN, Grade.AMBER):
        return found
    return found._replace(verdict=Grade.UNKNOWN, why=f"{short}; {found.why}")


def _sweep(
    plan: _Plan, profile: Profile, success: NDArray[np.bool_], returns: NDArray[np.float64]
) -> Sweep:
    row = profile.rows.get(plan.name)
    measured = row.measured if row else 1.0
    breaking = breaking_point(plan.magnitudes, success)
    nominal = np.mean(returns[0])
    retention = (
        np.mean(np.where(np.isfinite(returns), returns, 0.0), axis=1) / nominal
        if nominal
        else np.full(len(returns), np.nan)
    )
    margin = None if measured is None else Interval(*(b / measured for b in breaking))
    verdict, why = margin_verdict(margin, plan.magnitudes[-1] / measured if measured else None)
    return Sweep(
        name=plan.name,
        section=row.section if row else "dynamics",
        unit=row.unit if row else "x measured",
        measured=measured,
        source=(
            row.source
            if row
            else "every row of the profile at once, each at a multiple of its measured magnitude"
        ),
        mitigation=row.mitigation if row else "Fix the RED and AMBER rows above first.",
        magnitudes=plan.magnitudes,
        successes=success.sum(axis=1),
        episodes=success.shape[1],
        retention=retention,
        breaking=breaking,
        margin=margin,
        verdict=verdict,
        why=why,
    )


def breaking_point(
    magnitudes: NDArray[np.float64], success: NDArray[np.bool_], floor: float = SUCCESS_FLOOR
) -> Interval:
    """The smallest magnitude whose success rate falls below the floor, with its interval.

    success: [levels, episodes]. Between levels rates are interpolated linearly; a rate never rises
    again with magnitude (running minimum). The lower bound is where the exact lower confidence
    bound of the success rate crosses the floor, the upper one where the upper bound does; both
    one-sided 95 %. inf: not within the sweep (right-censored).
    """
    n = success.shape[1]
    counts = success.sum(axis=1)
    bounds = [rate_bounds(int(c), n) for c in counts]
    rates = (np.array([b[0] for b in bounds]), counts / n, np.array([b[1] for b in bounds]))
    return Interval(*(crossing(magnitudes, np.minimum.accumulate(r), floor) for r in rates))


def crossing(magnitudes: NDArray[np.float64], rates: NDArray[np.float64], floor: float) -> float:
    """Where a falling curve goes below the floor, interpolated.

    0 if it starts there, inf if it never does.
    """
    below = np.flatnonzero(rates < floor)
    if not below.size:
        return math.inf
    k = int(below[0])
    if k == 0:
        return 0.0
    share = (rates[k - 1] - floor) / (rates[k - 1] - rates[k])
    return float(magnitudes[k - 1] + share * (magnitudes[k] - magnitudes[k - 1]))


def margin_verdict(margin: Interval | None, largest: float | None) -> tuple[Grade, str]:
    """GREEN where the margin's lower bound is at least 2, AMBER at least 1, RED below.

    What did not break is known up to the largest multiple that was tried, and no further. UNKNOWN
    where nobody measured the magnitude, or it was not reached.
    """
    if margin is None or largest is None:
        return Grade.UNKNOWN, "the real magnitude has not been measured"
    text = f"breaks at {bounded_text(margin, largest)} times the measured magnitude"
    shown = min(margin.low, largest)
    if shown >= GREEN_MARGIN:
        return Grade.GREEN, text
    if shown >= AMBER_MARGIN:
        return Grade.AMBER, text
    return (Grade.RED if math.isfinite(margin.low) else Grade.UNKNOWN), text


def bounded_text(margin: Interval, largest: float) -> str:
    """A margin with its bounds in words; infinity is "more than" the largest magnitude tried."""
    low, point, high = (
        f"{b:.2g}" if math.isfinite(b) else f"more than {largest:.2g}" for b in margin
    )
    if low == point == high:
        return low
    return f"{point} ({low} to {high})"
