"""Metrics of recorded episodes: pure functions of Trajectories, one value per episode.

A value that cannot be known is NaN, and a criterion on NaN is an ERROR or
INCONCLUSIVE, never a pass.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from robo_rl.envs.mdp import Goal
from robo_rl.envs.step import Environment
from robo_rl.envs.terms.goals import TURN_ARM_M
from robo_rl.errors import UserError, lookup
from robo_rl.registry import Registry
from robo_rl.rewards import terms
from robo_rl.robots.robot import Robot
from robo_rl.rollouts.play import Trajectories

GRAVITY_MPS2 = 9.81
LEAST_DISTANCE_M = 0.5  # below it a cost of transport says nothing
FILTER_WINDOW = 5  # samples, Savitzky-Golay of degree 2
FILTER_DEGREE = 2
SUSTAINED_S = 1.0  # longer than a step of a gait, shorter than a command holds
DEBOUNCE_S = 0.5
AHEAD = (terms.forward_velocity, terms.forward_velocity_of_base)  # terms that pay for world x

Values: TypeAlias = NDArray[np.floating[Any]]
Limit: TypeAlias = float | Literal["time limit"]  # in the metric's unit; or that of the task
TIME_LIMIT: Literal["time limit"] = "time limit"


class Episodes(NamedTuple):
    """Recorded episodes with what a metric needs to know of their environment."""

    track: Trajectories
    robot: Robot
    control_s: float
    limit_s: float  # the time limit of the task
    goal: Goal | None = None
    ahead: float | None = None  # sign of world x in which the task goes; None without a direction

    @classmethod
    def of(cls, env: Environment, track: Trajectories) -> "Episodes":
        """Episodes recorded in an environment."""
        return cls(
            track, env.robot, env.control_s, env.mdp.episode_s, env.mdp.goal, direction_of(env)
        )

    def measure(self, metric: str, cost: str | None = None) -> Values:
        """A metric of every episode, [N], in the metric's unit; NaN where it cannot be known.

        cost: the cost that it is about, where it is about one. Raises UserError for a metric or a
        cost that does not exist.
        """
        found = METRICS.lookup(metric, "measure")
        if found.takes_cost != (cost is not None):
            needs = "needs" if found.takes_cost else "takes no"
            raise UserError(f"measure: metric {metric!r} {needs} cost=...")
        if cost is None:
            return np.asarray(found.of(self), float)
        lookup(self.track.costs, cost, kind="cost", where="measure")
        return np.asarray(found.of(self, cost), float)


def direction_of(env: Environment) -> float | None:
    """1 where the task's reward pays for velocity along world x, -1 where it charges for it.

    None where it does neither: a task of balance, or one whose goal moves.
    """
    paid = sum(w.weight for w in env.rewards.terms_through("task") if w.term in AHEAD)
    return float(np.sign(paid)) or None


class Metric(NamedTuple):
    """A metric: what it says, its unit, the function from episodes to [N] values, their range."""

    meaning: str
    unit: str
    of: Callable[..., Values]
    takes_cost: bool = False  # takes a cost's name
    least: Limit = -math.inf
    most: Limit = math.inf
    unended: Limit | None = None  # its one value where the task never ends an episode early

    def range(self, limit_s: float, ends: bool) -> tuple[float, float]:
        """The least and the largest value in episodes of a task.

        limit_s: its time limit; ends: whether it may end an episode before that.
        """
        fixed = not ends and self.unended is not None
        low, high = (self.unended, self.unended) if fixed else (self.least, self.most)
        return _seconds(low, limit_s), _seconds(high, limit_s)


def _seconds(limit: Limit | None, limit_s: float) -> float:
    assert limit is not None
    return limit_s if limit == TIME_LIMIT else limit


METRICS: Registry[Metric] = Registry("metric")


def metric(
    name: str,
    unit: str,
    meaning: str,
    *,
    takes_cost: bool = False,
    least: Limit = -math.inf,
    most: Limit = math.inf,
    unended: Limit | None = None,
) -> Callable[[Callable[..., Values]], Callable[..., Values]]:
    """Add a function of episodes to one value each, [N], as a metric.

    takes_cost: it takes the name of a cost as well. least, most: no value is beyond them, so that a
    criterion which allows them cannot fail; TIME_LIMIT stands for the task's. unended: the one
    value that it has where the task never ends an episode early.
    """

    def add(of: Callable[..., Values]) -> Callable[..., Values]:
        made = Metric(meaning, unit, of, takes_cost, least, most, unended)
        METRICS.add(name, made, of.__module__)
        return of

    return add


@metric("return", "1", "sum of rewards")
def episode_return(e: Episodes) -> Values:
    """Sum of rewards."""
    return e.track.episode_return


@metric("survival", "s", "time until termination", least=0, most=TIME_LIMIT, unended=TIME_LIMIT)
def survival_s(e: Episodes) -> Values:
    """Time until termination or the time limit, s."""
    return e.track.length * e.control_s


@metric("fell", "1", "1 if terminated", least=0, most=1, unended=0)
def fell(e: Episodes) -> Values:
    """1 if the MDP terminated the episode."""
    return e.track.fell.astype(float)


@metric("distance", "m", "net displacement", least=0)
def distance_m(e: Episodes) -> Values:
    """Net horizontal displacement of the base over the episode, m."""
    moved = (_masked(e, e.track.base_velocity_w_mps[..., :2]) * e.control_s).sum(axis=0)
    return np.asarray(np.linalg.norm(moved, axis=-1), float)


@metric("speed", "m/s", "displacement along the task's direction per time")
def speed_ahead_mps(e: Episodes) -> Values:
    """Displacement along the task's direction per time, m/s; NaN where the task has none.

    Backwards is negative, and going sideways is no speed.
    """
    if e.ahead is None:
        return np.full(e.track.episodes, np.nan)
    moved_m = (_masked(e, e.track.base_velocity_w_mps[..., 0]) * e.control_s).sum(axis=0)
    return e.ahead * moved_m / np.maximum(survival_s(e), e.control_s)


@metric("forward_speed", "m/s", "net displacement along world x / time limit")
def forward_speed_mps(e: Episodes) -> Values:
    """Net displacement of the base along world +x / the task's time limit, m/s.

    Backwards is negative, and an episode that ends early has covered no more than it has.
    """
    moved = (_masked(e, e.track.base_velocity_w_mps[..., :1]) * e.control_s).sum(axis=0)[:, 0]
    return np.asarray(moved / e.limit_s, float)


@metric("energy", "J", "integral of positive joint power", least=0)
def energy_j(e: Episodes) -> Values:
    """Integral of the sum of positive joint power, J; braking is not credited."""
    return _masked(e, e.track.positive_power_w).sum(axis=0) * e.control_s


@metric("power", "W", "energy per time", least=0)
def mean_power_w(e: Episodes) -> Values:
    """Energy per time, W."""
    return energy_j(e) / np.maximum(survival_s(e), e.control_s)


@metric("cost_of_transport", "1", "energy / (weight * distance)", least=0)
def cost_of_transport(e: Episodes) -> Values:
    """E / (m g d); NaN below a distance of 0.5 m."""
    travelled = distance_m(e)
    enough = travelled >= LEAST_DISTANCE_M
    safe = np.where(enough, travelled, 1.0)
    return np.where(enough, energy_j(e) / (e.robot.mass_kg * GRAVITY_MPS2 * safe), np.nan)


@metric("violation_rate", "1", "violating steps / steps", takes_cost=True, least=0, most=1)
def violation_rate(e: Episodes, cost: str) -> Values:
    """Steps with cost > 0 / steps."""
    return (_cost(e, cost) > 0).sum(axis=0) / np.maximum(e.track.length, 1)


@metric(
    "longest_violation",
    "s",
    "longest run of violating steps",
    takes_cost=True,
    least=0,
    most=TIME_LIMIT,
)
def longest_violation_s(e: Episodes, cost: str) -> Values:
    """Longest run of consecutive violating steps, s."""
    return longest_run(_cost(e, cost) > 0) * e.control_s


@metric("violation_events", "1", "violations, debounced 0.5 s", takes_cost=True, least=0)
def violation_events(e: Episodes, cost: str) -> Values:
    """Number of violations, those less than 0.5 s after the last one counted with it."""
    return debounced_events(_cost(e, cost) > 0, round(DEBOUNCE_S / e.control_s)).astype(float)


@metric("any_violation_rate", "1", "steps with any violation / steps", least=0, most=1)
def any_violation_rate(e: Episodes) -> Values:
    """Steps on which any cost is > 0 / steps."""
    any_cost = np.any([_cost(e, name) > 0 for name in e.track.costs], axis=0)
    return any_cost.sum(axis=0) / np.maximum(e.track.length, 1)


@metric("max_tilt", "rad", "largest tilt", least=0, most=math.pi)
def max_tilt_rad(e: Episodes) -> Values:
    """Largest tilt of the base, rad."""
    return np.where(e.track.alive, e.track.tilt_rad, 0.0).max(axis=0)


@metric("max_speed", "m/s", "largest speed", least=0)
def max_speed_mps(e: Episodes) -> Values:
    """Largest horizontal speed of the base, m/s."""
    return np.linalg.norm(_masked(e, e.track.base_velocity_w_mps[..., :2]), axis=-1).max(axis=0)


@metric("peak_acceleration", "m/s2", "peak acceleration (sg2-5)", least=0)
def peak_acceleration_mps2(e: Episodes) -> Values:
    """Peak of the base's filtered acceleration, m/s2: Savitzky-Golay, degree 2, 5 samples."""
    return _peak_derivative(e, order=1)


@metric("peak_jerk", "m/s3", "peak jerk (sg2-5)", least=0)
def peak_jerk_mps3(e: Episodes) -> Values:
    """Peak of the base's filtered jerk, m/s3: Savitzky-Golay, degree 2, 5 samples."""
    return _peak_derivative(e, order=2)


@metric("action_roughness", "1", "rms change of action per step", least=0)
def action_roughness(e: Episodes) -> Values:
    """Root mean square change of the action per control step, share of full range.

    NaN for a robot whose commands have no full scale.
    """
    if not e.robot.full_scale:
        return np.full(e.track.episodes, np.nan)
    change = np.diff(e.track.action, axis=0) / 2.0
    counted = e.track.alive[1:, :, None]
    count = np.maximum(e.track.alive[1:].sum(axis=0), 1) * e.track.action.shape[-1]
    return np.sqrt(np.where(counted, change**2, 0.0).sum(axis=(0, 2)) / count)


@metric("mean_goal_error", "as the goal", "mean distance from the goal", least=0)
def mean_goal_error(e: Episodes) -> Values:
    """Mean distance from the goal; infinite where it was terminated, NaN without a goal."""
    steps = np.maximum(e.track.length, 1)
    mean = np.where(e.track.alive, e.track.goal_error, 0.0).sum(axis=0) / steps
    return _pursued(e, mean)


@metric("sustained_velocity_error", "m/s", "mean velocity error, averaged over 1 s", least=0)
def sustained_velocity_error(e: Episodes) -> Values:
    """Mean distance between the commanded velocity and the one kept up over a second, m/s.

    Of a point TURN_ARM_M away from the base, so that turning counts: the norm of forward, sideways
    and TURN_ARM_M times yaw error, each a moving average over SUSTAINED_S up to the step. Infinite
    where it was terminated, NaN where the task asks for no velocity.
    """
    return _pursued(e, kept_up_velocity_error(e))


def kept_up_velocity_error(e: Episodes) -> Values:
    """As sustained_velocity_error, of the time that an episode lasted, however it ended."""
    errors, alive = e.track.velocity_error, e.track.alive
    if not errors.shape[-1]:
        return np.full(e.track.episodes, np.nan)
    arm = np.array([1.0, 1.0, TURN_ARM_M])
    known = np.where(alive[..., None], errors, 0.0) * arm
    width = max(1, round(SUSTAINED_S / e.control_s))
    total = np.cumsum(np.concatenate([np.zeros_like(known[:1]), known]), axis=0)
    ends = np.arange(1, len(known) + 1)
    begins = np.maximum(ends - width, 0)
    kept_up = np.linalg.norm(
        (total[ends] - total[begins]) / (ends - begins)[:, None, None], axis=-1
    )
    return np.where(alive, kept_up, 0.0).sum(axis=0) / np.maximum(e.track.length, 1)


@metric("settled_goal_error", "as the goal", "largest distance from the goal at the end", least=0)
def settled_goal_error(e: Episodes) -> Values:
    """Largest distance from the goal at the end, over the goal's `settled_s`.

    Infinite where the episode was terminated, NaN where the task has no goal.
    """
    window = max(1, round((e.goal.settled_s if e.goal else 0.0) / e.control_s))
    step = np.arange(len(e.track.alive))[:, None]
    counted = e.track.alive & (step >= e.track.length - window)
    return _pursued(e, np.where(counted, e.track.goal_error, 0.0).max(axis=0))


def _pursued(e: Episodes, error: Values) -> Values:
    if e.goal is None:
        return np.full(e.track.episodes, np.nan)
    return np.where(e.track.fell, np.inf, error)


def longest_run(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Longest run of True along the first axis, [T, N] to [N]."""
    longest = np.zeros(flags.shape[1], int)
    current = np.zeros(flags.shape[1], int)
    for row in flags:
        current = np.where(row, current + 1, 0)
        longest = np.maximum(longest, current)
    return longest


def debounced_events(flags: NDArray[np.bool_], gap: int) -> NDArray[np.int64]:
    """Runs of True along the first axis, [T, N] to [N]; those at most `gap` apart count once."""
    events = np.zeros(flags.shape[1], int)
    since = np.full(flags.shape[1], gap + 1)
    for row in flags:
        events += row & (since > gap)
        since = np.where(row, 0, since + 1)
    return events


def _cost(e: Episodes, name: str) -> Values:
    return np.where(e.track.alive, e.track.costs[name], 0.0)


def _masked(e: Episodes, values: NDArray[np.floating]) -> Values:
    mask = e.track.alive.reshape(*e.track.alive.shape, *[1] * (values.ndim - 2))
    return np.where(mask, values, 0.0).astype(float)


def _peak_derivative(e: Episodes, order: int) -> Values:
    peaks = np.zeros(e.track.episodes)
    for n in range(e.track.episodes):
        velocity = e.track.base_velocity_w_mps[: e.track.length[n], n].astype(float)
        if len(velocity) < FILTER_WINDOW:
            peaks[n] = np.nan
            continue
        rate = scipy.signal.savgol_filter(
            velocity, FILTER_WINDOW, FILTER_DEGREE, deriv=order, delta=e.control_s, axis=0
        )
        peaks[n] = np.linalg.norm(np.asarray(rate), axis=1).max()
    return peaks
