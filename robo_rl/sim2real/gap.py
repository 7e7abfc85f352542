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
from robo_rl.rollouts.statistics import Interval, rate
from robo_rl.rollouts.success import Success, Twins, success_of, task_of
from robo_rl.rollouts.threshold import FLOOR, Search
from robo_rl.scenarios.schema import stack
from robo_rl.sim2real import effect
from robo_rl.sim2real.departures import Departure, departures, together
from robo_rl.sim2real.profiles import Profile, load_profile
from robo_rl.sim2real.transfer import EPISODES as TRANSFERRED
from robo_rl.sim2real.transfer import OTHER_ENGINES, Transfer, transfer
from robo_rl.verdicts import Grade

GAP_SEED = 8_000_003
EPISODES = threshold.EPISODES  # of each departure at most, unless asked otherwise
UNDISTURBED = 128  # episodes in which nothing departs
AT_ONCE = (8, 24)  # of one departure before it is looked at again: fewest, most
GREEN_MARGIN, AMBER_MARGIN = 2.0, 1.0
NOT_KNOWN = "not from a measurement or a data sheet"
HARDLY = 10_000  # episodes


class Sweep(NamedTuple):
    """One departure: what was tried, where the policy breaks, and what that says.

    [k] magnitudes that were tried, rising.
    """

    name: str
    section: str
    unit: str
    measured: float | None
    basis: str  # how that is known
    source: str
    mitigation: str
    largest: float  # the largest magnitude that may be tried
    magnitudes: NDArray[np.float64]  # [k]
    successes: NDArray[np.int64]  # [k]
    episodes: NDArray[np.int64]  # [k]
    retention: NDArray[np.float64]  # [k] mean return: 1 as undisturbed, 0 its whole size lost
    breaking: Interval  # 95 %, both bounds together; inf: did not break up to the largest
    margin: Interval | None  # breaking point / real magnitude
    verdict: Grade
    why: str


class Undisturbed(NamedTuple):
    """How often the policy does its task with nothing departed."""

    successes: int
    episodes: int
    success: Interval  # exact, 95 %
    floor: float  # below which rate a policy has broken
    mean_return: float
    verdict: Grade
    why: str


Judged = TypeVar("Judged", Sweep, Transfer, Undisturbed)


class GapResult(NamedTuple):
    """The study's findings."""

    policy: Policy
    env: Environment
    profile: Profile
    profile_file: str  # its name or path
    sweeps: tuple[Sweep, ...]
    skipped: dict[str, str]
    undisturbed: Undisturbed
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
    profile_file = profile_name or nominal.robot.file.profile
    profile = load_profile(profile_file)
    parts, skipped = departures(nominal.robot, profile, seed)
    if not parts:
        raise UserError(
            f"profile {profile.name}: no row applies to {nominal.robot.name}: {skipped}"
        )
    env = make(
        nominal.name, nominal.layer, history_s=_history_s(parts, nominal), episode_s=episode_s
    )
    study = Study(env, policy, seed, episodes)
    if not np.isfinite(np.median(study.returns)):
        raise NotFiniteError(
            f"{run}: the policy produces numbers that are not finite in the undisturbed task."
        )
    idle = study.without_effect(parts)
    parts = tuple(part for part in parts if part.name not in idle)
    everything = together(env.robot, parts, seed)
    parts += (everything,) if everything else ()
    short = _too_short(env, nominal) or ("" if parts else "not tested: no departure has an effect")
    sweeps = study.searched(parts, on_progress)
    return GapResult(
        policy,
        env,
        profile,
        profile_file,
        tuple(
            _only_failures(_untested(sweep, part, env), short)
            for sweep, part in zip(sweeps, parts, strict=True)
        ),
        skipped | idle,
        _only_failures(study.undisturbed, short),
        study.criterion,
        seed,
        episodes,
        env.mdp.episode_s,
        tuple(_only_failures(study.transferred(engine), short) for engine in OTHER_ENGINES),
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
    everything = together(env.robot, parts, 0)
    made = [part.make(part.largest, 0) for part in parts]
    made += [everything.make(everything.largest, 0)] if everything else []
    return max(longest_latency_s(stack(made)))


class Study:
    """The undisturbed episodes, and the searches that are held against them.

    A policy that does its task in nine of ten episodes has not broken because the tenth fails as
    well: the floor is FLOOR times how often the task is done undisturbed. Every episode is new:
    the first UNDISTURBED of the seed are the undisturbed ones, each departure has those behind.
    """

    def __init__(self, env: Environment, policy: Policy, seed: int, episodes: int):
        self.env, self.policy, self.episodes = env, policy, episodes
        self.keys = episode_keys(seed, UNDISTURBED + episodes)
        count = UNDISTURBED if task_of(env) else len(self.keys)  # else each needs its twin
        self.nominal = self._run(np.arange(count), [neutral_of(env.robot)] * count)
        self.returns = _returns(self.nominal)
        self.criterion = success_of(env, self.returns)
        self.succeeded = self.criterion.of(env, self.nominal)[:UNDISTURBED]
        self.undisturbed = _undisturbed(self.succeeded, self.returns[:UNDISTURBED])

    def without_effect(self, parts: tuple[Departure, ...]) -> dict[str, str]:
        """Departures that change nothing though they had time to act, and how that was seen."""
        some = np.arange(effect.EPISODES)
        seen = self.nominal.only(some)
        seen_s = float(seen.length.max()) * self.env.control_s
        acted = tuple(part for part in parts if part.acts_by_s < seen_s)
        return effect.without_effect(self.env, acted, self.keys[some], seen)

    def transferred(self, engine: str) -> Transfer:
        """The first undisturbed episodes, on another engine."""
        some = np.arange(TRANSFERRED)
        here, criterion = float(np.mean(self.returns[some])), self.criterion.only(some)
        return transfer(self.policy, self.env, engine, self.keys[some], here, criterion, FLOOR)

    def searched(
        self, parts: tuple[Departure, ...], on_progress: Callable[[int, int], None] | None
    ) -> list[Sweep]:
        """The breaking point of every departure; 0 where the task is not done undisturbed."""
        if self.undisturbed.verdict is Grade.RED:
            if on_progress:
                on_progress(1, 1)
            return [_broken(part, self.undisturbed) for part in parts]
        rows = [_Row(part, self.episodes, self.undisturbed.floor, self.succeeded) for part in parts]
        while open_rows := [row for row in rows if not row.search.done]:
            self._round(open_rows)
            if on_progress:
                spent = [self.episodes if r.search.done else r.search.spent for r in rows]
                on_progress(sum(spent), self.episodes * len(rows))
        return [row.sweep(self.undisturbed.mean_return) for row in rows]

    def successes(self, part: Departure, magnitude: float) -> NDArray[np.bool_]:
        """Whether each disturbed episode succeeds at a magnitude, [episodes]."""
        places = UNDISTURBED + np.arange(self.episodes)
        made = [part.make(magnitude, int(e)) for e in places]
        return self.criterion.only(places).of(self.env, self._run(places, made))

    def _round(self, rows: list["_Row"]) -> None:
        """The next episodes of every search that goes on, in one batch."""
        each = int(np.clip(BLOCK // len(rows), *AT_ONCE))
        asked = [row.search.ask(each) for row in rows]
        which = [
            UNDISTURBED + row.search.spent + np.arange(len(a))
            for row, a in zip(rows, asked, strict=True)
        ]
        made = [
            row.part.make(float(row.part.levels[level]), int(episode))
            for row, levels, episodes in zip(rows, asked, which, strict=True)
            for level, episode in zip(levels, episodes, strict=True)
        ]
        places = np.concatenate(which)
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

    def __init__(
        self, part: Departure, episodes: int, floor: float, undisturbed: NDArray[np.bool_]
    ):
        self.part = part
        measured = part.measured
        matters = () if measured is None else (AMBER_MARGIN * measured, GREEN_MARGIN * measured)
        self.search = Search(part.levels, episodes, matters, floor)
        self.search.expect(undisturbed)
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
        part, search = self.part, self.search
        breaking, measured = search.interval(), part.measured
        margin = _margin(breaking, measured)
        largest = None if measured is None else part.largest / measured
        more = math.nan if measured is None else search.to_decide(AMBER_MARGIN * measured)
        verdict, why = margin_verdict(margin, largest, more, part.known)
        kept = [
            _kept(float(np.mean(np.where(np.isfinite(r), r, 0.0))), mean_return)
            for r in (self.returns[t.level] for t in search.tried)
        ]
        return _finding(part, breaking, verdict, why)._replace(
            magnitudes=np.array([part.levels[t.level] for t in search.tried]),
            successes=np.array([t.successes for t in search.tried]),
            episodes=np.array([t.episodes for t in search.tried]),
            retention=np.array(kept),
        )


def _finding(part: Departure, breaking: Interval, verdict: Grade, why: str) -> Sweep:
    """A departure and where it breaks, nothing tried yet."""
    row, measured = part.row, part.measured
    none = np.zeros(0, int)
    return Sweep(
        name=part.name,
        section=row.section if row else "dynamics",
        unit=row.unit if row else "x real",
        measured=measured,
        basis=row.basis if row else "",
        source=row.source
        if row
        else "every measured row at once, each a multiple of its magnitude",
        mitigation=row.mitigation if row else "Fix the RED and AMBER rows above first.",
        largest=part.largest,
        magnitudes=np.zeros(0),
        successes=none,
        episodes=none,
        retention=np.zeros(0),
        breaking=breaking,
        margin=_margin(breaking, measured),
        verdict=verdict,
        why=why,
    )


def _margin(breaking: Interval, measured: float | None) -> Interval | None:
    """Breaking point over real magnitude; None where nobody knows that."""
    return None if measured is None else Interval(*(bound / measured for bound in breaking))


def _broken(part: Departure, undisturbed: Undisturbed) -> Sweep:
    """What can be said of a departure where the policy fails with nothing departed."""
    return _finding(part, Interval(0.0, 0.0, 0.0), Grade.RED, f"undisturbed, {undisturbed.why}")


def _undisturbed(succeeded: NDArray[np.bool_], returns: NDArray[np.float64]) -> Undisturbed:
    """GREEN where the task is shown to be done often enough, RED where it is shown not to be."""
    found = rate(succeeded)
    verdict = (
        Grade.GREEN if found.low >= FLOOR else Grade.RED if found.high < FLOOR else Grade.UNKNOWN
    )
    count, bounds = int(succeeded.sum()), f"{found.low:.0%} to {found.high:.0%}"
    why = f"{count} of {len(succeeded)} episodes succeed ({bounds})"
    if verdict is Grade.UNKNOWN:
        why += f": not decided whether {FLOOR:.0%} do"
    mean = float(np.mean(np.where(np.isfinite(returns), returns, 0.0)))
    return Undisturbed(count, len(succeeded), found, FLOOR * found.point, mean, verdict, why)


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
    margin: Interval | None, largest: float | None, more: float = math.nan, known: bool = True
) -> tuple[Grade, str]:
    """GREEN where the margin's lower bound is at least 2, AMBER at least 1, RED if all is below.

    What did not break is known up to the largest multiple that was tried, and no further. UNKNOWN
    where nobody measured the magnitude, it was not reached, or the bounds lie on both sides of it;
    more: about how many episodes would decide that. AMBER at most where the magnitude is not known
    from a measurement or a data sheet.
    """
    if margin is None or largest is None:
        return Grade.UNKNOWN, "the real magnitude has not been measured"
    text = f"breaks at {bounded_text(margin, largest)} times the real magnitude"
    shown = min(margin.low, largest)
    if shown >= GREEN_MARGIN and known:
        return Grade.GREEN, text
    if shown >= GREEN_MARGIN:
        return Grade.AMBER, f"{text}, which is {NOT_KNOWN}"
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
        _two_digits(b) if math.isfinite(b) else f"more than {_two_digits(largest)}" for b in margin
    )
    if low == point == high:
        return low
    return f"{point} ({low} to {high})"


def _two_digits(value: float) -> str:
    """Two digits, and no exponent where all digits before the point are shown."""
    return f"{value:.2g}" if value < 99.5 else f"{value:.0f}"
