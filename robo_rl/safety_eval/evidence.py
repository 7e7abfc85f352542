"""What a suite judges an environment by, the episodes it ran, and what each of them says."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from robo_rl.envs.step import Environment
from robo_rl.errors import UserError
from robo_rl.injection.injectors import NotApplicableError
from robo_rl.policy.stored import Policy
from robo_rl.rollouts.metrics import METRICS, Episodes
from robo_rl.rollouts.play import Recorded, append, episode_keys, run_in_blocks
from robo_rl.rollouts.success import task_of
from robo_rl.safety_eval.criteria import ROBUSTNESS, TASK, Criterion, applicable, metric_values
from robo_rl.safety_eval.suite import Suite, outcomes
from robo_rl.scenarios.requirements import Trace
from robo_rl.scenarios.schema import Drawn, Scenario, concatenate, load_scenario, sample_batch

Progress = Callable[[int, int], None]


class Coverage(NamedTuple):
    """What of a suite an environment is judged by, and what is left out, each with its reason."""

    scenarios: dict[str, Scenario]
    criteria: dict[str, Criterion]  # with the task's own metric and bound in place of `task`
    excluded: dict[str, str]  # by the suite, on purpose
    not_judged: dict[str, str]  # nobody decided that it may be left out: never an ACCEPT


class Cell(NamedTuple):
    """One policy's episodes of one scenario."""

    scenario: Scenario
    drawn: tuple[Drawn, ...]  # look by look
    recorded: Recorded

    @property
    def values(self) -> tuple[dict[str, float], ...]:
        """What was sampled for each episode, [N]."""
        return tuple(value for drawn in self.drawn for value in drawn.values)

    def tested(self, control_s: float) -> NDArray[np.bool_]:
        """Which episodes lived to see their disturbance, [N].

        One that was terminated must have lived until it began, any other until it had acted.
        """
        track = self.recorded.track
        begins_s = np.concatenate([d.begins_s for d in self.drawn])
        acts_by_s = np.concatenate([d.acts_by_s for d in self.drawn])
        return track.length * control_s + 1e-9 >= np.where(track.fell, begins_s, acts_by_s)


Cells = Mapping[str, Cell]  # by scenario


def cover(suite: Suite, env: Environment) -> Coverage:
    """Which scenarios and criteria of a suite an environment is judged by.

    Raises UserError where no scenario applies.
    """
    excluded = {**env.mdp.not_for, **suite.not_for.get(env.name, {})}
    costs = frozenset(cost.name for cost in env.rewards.costs)
    missing: dict[str, str] = {}
    scenarios = {}
    for name, source in suite.sources.items():
        if name in excluded:
            continue
        scenario = load_scenario(source)
        if reason := _obstacle(scenario, env, costs):
            missing[f"scenario {name}"] = reason
        else:
            scenarios[name] = scenario
    if not scenarios:
        raise UserError(f"suite {suite.name}: no scenario applies to {env.name}: {missing}")
    criteria, task = {}, task_of(env)
    for name, criterion in suite.criteria.items():
        if name in excluded:
            continue
        if criterion.metric == TASK and task is None:
            missing[f"criterion {name}"] = (
                f"neither a goal nor `done` in rewards/{env.rewards.name}.yaml says when the task"
                " is done"
            )
        elif not applicable(criterion, costs):
            missing[f"criterion {name}"] = f"{env.name} declares no cost {criterion.cost!r}"
        elif not (judged := set(scenarios) - set(criterion.exempt)):
            missing[f"criterion {name}"] = "every scenario is exempt"
        elif reason := _cannot_fail(
            asked := criterion.of_task(task) if task else criterion,
            env,
            [scenarios[s] for s in judged],
        ):
            missing[f"criterion {name}"] = f"it cannot fail: {reason}"
        else:
            criteria[name] = asked
    decided = {name: c for name, c in suite.criteria.items() if name in {*criteria, *excluded}}
    missing |= _unjudged(scenarios, criteria, decided)
    if env.mdp.goal and env.mdp.goal.met_by_drives:
        missing["the task"] = f"{env.mdp.goal.name}: its drives do it without a policy"
    for cost in sorted(costs - _read_costs(scenarios, decided)):
        missing[f"cost {cost}"] = f"{env.name} declares it and the suite does not read it"
    return Coverage(scenarios, criteria, excluded, missing)


def _unjudged(
    scenarios: Mapping[str, Scenario],
    criteria: Mapping[str, Criterion],
    decided: Mapping[str, Criterion],
) -> dict[str, str]:
    """What of the scenarios no criterion judges, with the reason.

    criteria: those that apply; decided: those and what the suite leaves out on purpose.
    """
    missing = {}
    for name, scenario in scenarios.items():
        if not any(c.required and name not in c.exempt for c in criteria.values()):
            missing[f"scenario {name}"] = "no required criterion judges it"
        if scenario.require and not _judges_claim(decided, name):
            missing[f"what scenario {name} requires"] = (
                f"no criterion with metric: {ROBUSTNESS} judges it"
            )
    return missing


def _judges_claim(criteria: Mapping[str, Criterion], scenario: str) -> bool:
    """Whether one of the criteria is the scenario's own claim."""
    return any(c.metric == ROBUSTNESS and scenario not in c.exempt for c in criteria.values())


def _read_costs(
    scenarios: Mapping[str, Scenario], criteria: Mapping[str, Criterion]
) -> set[str | None]:
    """The costs that criteria read, themselves or through the claims that they judge."""
    judged = [one for name, one in scenarios.items() if _judges_claim(criteria, name)]
    signals = {signal for one in judged for signal in one.signals()}
    return {c.cost for c in criteria.values()} | {s.removeprefix("cost/") for s in signals}


def _cannot_fail(criterion: Criterion, env: Environment, scenarios: list[Scenario]) -> str:
    """Why no episode of an environment can be beyond a criterion's threshold; "" where one can."""
    never = "" if env.mdp.terminate else f"{env.name} never ends an episode early"
    if criterion.metric == ROBUSTNESS:
        read = {signal for scenario in scenarios for signal in scenario.signals()}
        return never if read <= {"alive"} else ""
    metric = METRICS[criterion.metric]
    low, high = metric.range(env.mdp.episode_s, not never)
    if not criterion.allows(low, high):
        return ""
    if never and metric.unended is not None:
        return never
    side, edge = ("above", high) if criterion.sign > 0 else ("below", low)
    return f"{criterion.metric} is never {side} {edge:g}"


def _obstacle(scenario: Scenario, env: Environment, costs: frozenset[str]) -> str:
    """Why a scenario does not apply to an environment; "" where it does."""
    wanted = {s.removeprefix("cost/") for s in scenario.signals() if s.startswith("cost/")}
    if wanted - costs:
        return f"{env.name} declares no cost {', '.join(sorted(wanted - costs))}"
    try:
        sample_batch(scenario, env.robot, 0, range(1))
    except NotApplicableError as reason:
        return str(reason)
    return ""


def extend(
    cells: Cells,
    env: Environment,
    policy: Policy,
    scenarios: Mapping[str, Scenario],
    seed: int,
    count: int,
    on_progress: Progress | None = None,
) -> dict[str, Cell]:
    """The cells with these scenarios' episodes run up to `count` each, the others as they are."""
    drawn, keys = {}, []
    for name, scenario in scenarios.items():
        begin = len(cells[name].values) if name in cells else 0
        drawn[name] = sample_batch(scenario, env.robot, seed, range(begin, count))
        keys.append(episode_keys(seed, count)[begin:])
    recorded = run_in_blocks(
        env,
        policy,
        jnp.concatenate(keys),
        concatenate([d.injection for d in drawn.values()]),
        on_progress,
    )
    grown, at = dict(cells), 0
    for name, more in drawn.items():
        part = recorded.only(slice(at, at + len(more.values)))
        at += len(more.values)
        old = cells.get(name)
        grown[name] = (
            Cell(old.scenario, (*old.drawn, more), append(old.recorded, part))
            if old
            else Cell(scenarios[name], (more,), part)
        )
    return grown


def criterion_values(
    env: Environment, coverage: Coverage, cell: Cell
) -> dict[str, NDArray[np.float64]]:
    """Every criterion that applies to a scenario, with its metric of each episode, [N]."""
    episodes = Episodes.of(env, cell.recorded.track)
    margins = robustness(episodes, cell)
    return {
        name: metric_values(criterion, episodes, margins)
        for name, criterion in coverage.criteria.items()
        if cell.scenario.name not in criterion.exempt
    }


def said(
    env: Environment, coverage: Coverage, cell: Cell, values: dict[str, NDArray[np.float64]]
) -> dict[str, NDArray[np.int8]]:
    """What each episode says about every criterion, [N] of Outcome; values: criterion_values()."""
    tested, crashed = cell.tested(env.control_s), cell.recorded.track.crashed
    return {
        name: outcomes(coverage.criteria[name], of_episode, tested, crashed)
        for name, of_episode in values.items()
    }


def robustness(episodes: Episodes, cell: Cell) -> NDArray[np.float64]:
    """The smallest margin of the scenario's requirements in each episode, [N]; NaN is kept."""
    margins = []
    for n, drawn in enumerate(cell.values):
        trace = trace_of(episodes, n)
        found = [check(trace) for check in cell.scenario.requirements(drawn).values()]
        margins.append(float(np.min(found)) if found else np.nan)
    return np.asarray(margins, float)


def trace_of(episodes: Episodes, n: int) -> Trace:
    """One episode's signals as requirements read them."""
    track = episodes.track
    steps = slice(0, int(track.length[n]))
    signals = {
        "alive": 1.0 - track.terminated[steps, n],
        "tilt_rad": track.tilt_rad[steps, n],
        "height_m": track.base_position_w_m[steps, n, 2],
        "speed_mps": np.linalg.norm(track.base_velocity_w_mps[steps, n, :2], axis=-1),
        "power_w": track.positive_power_w[steps, n],
        **{f"cost/{name}": cost[steps, n] for name, cost in track.costs.items()},
    }
    as_float = {name: np.asarray(values, float) for name, values in signals.items()}
    return Trace(as_float, episodes.control_s, bool(track.fell[n]))
