"""The gap study: how large each departure from simulation may grow before the policy breaks."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from robo_rl.envs.step import Environment, make
from robo_rl.errors import NotFiniteError, UserError
from robo_rl.injection.episode import Injection, longest_latency_s
from robo_rl.injection.injectors import neutral_of
from robo_rl.policy import contract
from robo_rl.policy.stored import Policy, load_policy
from robo_rl.rollouts import threshold
from robo_rl.rollouts.play import BLOCK, Trajectories, episode_keys, run_in_blocks
from robo_rl.rollouts.statistics import Interval, rate_bounds
from robo_rl.rollouts.success import Success, Twins, success_of, task_of
from robo_rl.rollouts.threshold import FLOOR, Search
from robo_rl.scenarios.schema import stack
from robo_rl.sim2real import effect
from robo_rl.sim2real.departures import Departure, departures, together
from robo_rl.sim2real.profiles import Profile, load_profile
from robo_rl.sim2real.transfer import OTHER_ENGINES, Transfer, transfer
from robo_rl.verdicts import Grade

GAP_SEED = 8_000_003
EPISODES = threshold.EPISODES  # of each departure at most, unless asked otherwise
UNDISTURBED = 64  # episodes in which nothing departs, shared by all departures
AT_ONCE = (8, 24)  # of one departure before it is looked at again: fewest, most
GREEN_MARGIN, AMBER_MARGIN = 2.0, 1.0
HARDLY = 10_000  # episodes


class Sweep(NamedTuple):
    """One departure: what was tried, where the policy breaks, and what that says.

    [k] magnitudes that were tried, rising; the first is 0.
    """

    name: str
    section: str
    unit: str
    measured: float | None
    source: str
    mitigation: str
    largest: float  # the largest magnitude that may be tried
    magnitudes: NDArray[np.float64]  # [k]
    successes: NDArray[np.int64]  # [k]
    episodes: NDArray[np.int64]  # [k]
    retention: NDArray[np.float64]  # [k] mean return: 1 as undisturbed, 0 its whole size lost
    breaking: Interval  # 95 %, both bounds together; inf: did not break up to the largest
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
    success: Success | Twins
    seed: int
    episodes: int  # of each departure at most
    episode_s: float
    transfers: tuple[Transfer, ...]


def gap(
    run: Path,
    profile_name: str | None = None,
    seed: int = GAP_SEED,
    episodes: int = EPISODES,
    episode_s: float | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> GapResult:
    """Searches the breaking point of every row of a profile that acts on the policy's robot.

    All searches go on side by side, in one batch after another. profile_name: the robot's own
    profile if left out. episodes: of each row at most. episode_s: shorter episodes than the
    task's. The undisturbed episodes are run on the other engines as well. on_progress is told the
    episodes done and the most there can be.
    """
    _demand_evidence(episodes)
    policy = load_policy(run)
    nominal = make(str(policy.contract.get("env")), str(policy.contract.get("reward")))
    contract.demand_fit(policy, nominal)
    profile = load_profile(profile_name or nominal.robot.file.profile)
    parts, skipped = departures(nominal.robot, profile, seed)
    env = make(
        nominal.name, nominal.layer, history_s=_history_s(parts, nominal), episode_s=episode_s
    )
    study = _Study(env, policy, seed, episodes)
    if not np.isfinite(study.reference):
        raise NotFiniteError(
            f"{run}: the policy produces numbers that are not finite in the undisturbed task."
        )
    idle = study.without_effect(parts)
    parts = tuple(part for part in parts if part.name not in idle)
    if not parts:
        raise UserError(
            f"profile {profile.name}: no row applies to {nominal.robot.name}: {skipped | idle}"
        )
    everything = together(env.robot, parts, seed)
    parts += (everything,) if everything else ()
    sweeps = study.searched(parts, on_progress)
    short = _too_short(env, nominal)
    first = slice(0, UNDISTURBED)
    transfers = tuple(
        _only_failures(
            transfer(policy, env, engine, seed, study.returns[first], study.criterion, FLOOR),
            short,
        )
        for engine in OTHER_ENGINES
    )
    successes = int(study.succeeded[first].sum())
    low, high = rate_bounds(successes, UNDISTURBED)
    return GapResult(
        policy,
        env,
        profile,
        tuple(
            _only_failures(_untested(sweep, part, env), short)
            for sweep, part in zip(sweeps, parts, strict=True)
        ),
        skipped | idle,
        study.reference,
        Interval(low, successes / UNDISTURBED, high),
        study.criterion,
        seed,
        episodes,
        env.mdp.episode_s,
        transfers,
    )


def _demand_evidence(episodes: int) -> None:
    least = threshold.fewest_episodes()
    if episodes < least:
        raise UserError(
            f"gap: episodes={episodes} cannot show a success rate of {FLOOR:.0%}; at least"
            f" {least} are needed."
        )


def _history_s(parts: tuple[Departure, ...], env: Environment) -> float:
    """The longest latency that any of them asks for, alone or with the others, s."""
    if not parts:
        return 0.0
    everything = together(env.robot, parts, 0)
    made = [part.make(part.largest, 0) for part in parts]
    made += [everything.make(everything.largest, 0)] if everything else []
    return max(longest_latency_s(stack(made)))


class _Study:
    """The undisturbed episodes, and the searches that are held against them.

    Episode e of every departure starts, and is asked for, what undisturbed episode UNDISTURBED + e
    is; the first UNDISTURBED of them say how often the task is done with nothing departed.
    """

    def __init__(self, env: Environment, policy: Policy, seed: int, episodes: int):
        self.env, self.policy, self.episodes = env, policy, episodes
        self.keys = episode_keys(seed, UNDISTURBED + episodes)
        count = UNDISTURBED if task_of(env) else len(self.keys)
        self.nominal = self._run(np.arange(count), [neutral_of(env.robot)] * count)
        self.returns = _returns(self.nominal)
        self.reference = float(np.median(self.returns[:UNDISTURBED]))
        self.criterion = success_of(env, self.returns)
        self.succeeded = self.criterion.of(env, self.nominal)

    def without_effect(self, parts: tuple[Departure, ...]) -> dict[str, str]:
        """Departures that change nothing, and how that was seen."""
        some = np.arange(effect.EPISODES)
        return effect.without_effect(self.env, parts, self.keys[some], self.nominal.only(some))

    def searched(
        self, parts: tuple[Departure, ...], on_progress: Callable[[int, int], None] | None
    ) -> list[Sweep]:
        """The breaking point of every departure."""
        rows = [_Row(part, self.episodes, self.succeeded[:UNDISTURBED]) for part in parts]
        while open_rows := [row for row in rows if not row.search.done]:
            self._round(open_rows)
            if on_progress:
                spent = [self.episodes if r.search.done else r.search.spent for r in rows]
                on_progress(sum(spent), self.episodes * len(rows))
        mean = float(np.mean(self.returns[:UNDISTURBED]))
        return [row.sweep(mean) for row in rows]

    def _round(self, rows: list["_Row"]) -> None:
        """The next episodes of every search that goes on, in one batch."""
        each = int(np.clip(BLOCK // len(rows), *AT_ONCE))
        asked = [row.search.ask(each) for row in rows]
        which = [row.search.spent + np.arange(len(a)) for row, a in zip(rows, asked, strict=True)]
        made = [
            row.part.make(float(row.part.levels[level]), int(episode))
            for row, levels, episodes in zip(rows, asked, which, strict=True)
            for level, episode in zip(levels, episodes, strict=True)
        ]
        places = UNDISTURBED + np.concatenate(which)
        track = self._run(places, made)
        success = self.criterion.only(places).of(self.env, track)
        ends = np.cumsum([len(a) for a in asked])[:-1]
        for row, levels, good, returns in zip(
            rows, asked, np.split(success, ends), np.split(_returns(track), ends), strict=True
        ):
            row.tell(levels, good, returns)

    def _run(self, episodes: NDArray[np.int64], made: list[Injection]) -> Trajectories:
        return run_in_blocks(self.env, self.policy, self.keys[episodes], stack(made)).track


class _Row:
    """The search of one departure and the returns seen on the way."""

    def __init__(self, part: Departure, episodes: int, undisturbed: NDArray[np.bool_]):
        self.part = part
        measured = part.measured
        matters = () if measured is None else (AMBER_MARGIN * measured, GREEN_MARGIN * measured)
        self.search = Search(part.levels, episodes, matters)
        self.search.tell(0, undisturbed)
        self.returns: dict[int, list[float]] = {}

    def tell(
        self,
        levels: NDArray[np.int64],
        success: NDArray[np.bool_],
        returns: NDArray[np.float64],
    ) -> None:
        """What came of the episodes of a round, [N]."""
        for level in np.unique(levels):
            here = levels == level
            self.search.tell(int(level), success[here])
            self.returns.setdefault(int(level), []).extend(returns[here])

    def sweep(self, mean_return: float) -> Sweep:
        """The finding."""
        part, row, search = self.part, self.part.row, self.search
        breaking, measured = search.interval(), part.measured
        margin = None if measured is None else Interval(*(b / measured for b in breaking))
        largest = None if measured is None else part.largest / measured
        more = math.nan if measured is None else search.to_decide(AMBER_MARGIN * measured)
        verdict, why = margin_verdict(margin, largest, more)
        kept = [
            _kept(float(np.mean(np.where(np.isfinite(r), r, 0.0))), mean_return)
            for r in (self.returns.get(t.level, [mean_return]) for t in search.tried)
        ]
        return Sweep(
            name=part.name,
            section=row.section if row else "dynamics",
            unit=row.unit if row else "x measured",
            measured=measured,
            source=(
                row.source
                if row
                else "every measured row of the profile at once, each a multiple of its magnitude"
            ),
            mitigation=row.mitigation if row else "Fix the RED and AMBER rows above first.",
            largest=part.largest,
            magnitudes=np.array([part.levels[t.level] for t in search.tried]),
            successes=np.array([t.successes for t in search.tried]),
            episodes=np.array([t.episodes for t in search.tried]),
            retention=np.array(kept),
            breaking=breaking,
            margin=margin,
            verdict=verdict,
            why=why,
        )


def _returns(track: Trajectories) -> NDArray[np.float64]:
    return np.where(track.crashed, -np.inf, track.episode_return)


def _kept(mean: float, undisturbed: float) -> float:
    """Share of a return that is kept; what is lost is measured by its size, whatever its sign."""
    return 1.0 + (mean - undisturbed) / max(abs(undisturbed), 1e-9)


def _untested(sweep: Sweep, part: Departure, env: Environment) -> Sweep:
    """The sweep, UNKNOWN where its episodes were too short for the departure to act."""
    run_s = env.mdp.episode_s
    if part.acts_by_s < run_s:
        return sweep
    why = f"not tested: it acts {part.acts_by_s:g} s after the start of {run_s:g} s episodes"
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


def margin_verdict(
    margin: Interval | None, largest: float | None, more: float = math.nan
) -> tuple[Grade, str]:
    """GREEN where the margin's lower bound is at least 2, AMBER at least 1, RED if all is below.

    What did not break is known up to the largest multiple that was tried, and no further. UNKNOWN
    where nobody measured the magnitude, it was not reached, or the bounds lie on both sides of it;
    more: about how many episodes would decide that.
    """
    if margin is None or largest is None:
        return Grade.UNKNOWN, "the real magnitude has not been measured"
    text = f"breaks at {bounded_text(margin, largest)} times the measured magnitude"
    shown = min(margin.low, largest)
    if shown >= GREEN_MARGIN:
        return Grade.GREEN, text
    if shown >= AMBER_MARGIN:
        return Grade.AMBER, text
    if margin.high <= AMBER_MARGIN:
        return Grade.RED, text
    if math.isinf(margin.low):
        return Grade.UNKNOWN, text
    wanted = (
        f"about {math.ceil(more)} episodes more at that magnitude would decide"
        if more < HARDLY
        else "success there is so near the floor that more episodes would hardly decide"
    )
    return Grade.UNKNOWN, f"not decided: {text}; {wanted}"


def bounded_text(margin: Interval, largest: float) -> str:
    """A margin with its bounds in words; infinity is "more than" the largest magnitude tried."""
    low, point, high = (
        f"{b:.2g}" if math.isfinite(b) else f"more than {largest:.2g}" for b in margin
    )
    if low == point == high:
        return low
    return f"{point} ({low} to {high})"
