"""Verdicts: every criterion can be red, NaN never passes, a crash stays in the denominator."""

import numpy as np
import pytest

from robo_rl import content
from robo_rl.envs.step import make
from robo_rl.safety_eval.suite import Criterion, Verdict, judge, load_suite, suite_for
from robo_rl.scenarios.schema import load_scenario, sample_batch

SUITE = load_suite("locomotion")
KINDS = {"hopper": "locomotion", "quadrotor-hover": "flight", "arm-track": "manipulation"}
KINDS |= {"rover-navigate": "navigation", "inverted-pendulum": "locomotion"}


@pytest.mark.parametrize("env", KINDS)
def test_a_robot_is_judged_by_the_suite_of_its_kind_on_costs_and_scenarios_it_has(env):
    suite = load_suite(suite_for(env))
    made = make(env)
    costs = {cost.name for cost in made.rewards.costs}
    assert suite.name == KINDS[env]
    if suite.name != "locomotion":
        assert {c.cost for c in suite.criteria.values() if c.cost} <= costs
        for name in suite.scenarios:
            sample_batch(load_scenario(name), made.robot, seed=0, episodes=1)


NOBODY = np.zeros(40, bool)


def verdict(values, crashed=None, **fields):
    criterion = Criterion(
        **{"metric": "fell", "at_most": 0.5, "max_rate": 0.1, "required": True, "reason": "r"}
        | fields
    )
    values = np.asarray(values, float)
    return judge(
        "s", "c", criterion, values, np.zeros(values.size, bool) if crashed is None else crashed
    )


@pytest.mark.parametrize("name", sorted(SUITE.criteria))
def test_every_criterion_of_the_suite_can_be_red_and_green(name):
    criterion = SUITE.criteria[name]
    bound = criterion.at_most if criterion.at_most is not None else criterion.at_least
    worse = 1.0 if criterion.at_most is not None else -1.0
    assert judge("s", name, criterion, np.full(40, bound + worse), NOBODY).verdict is Verdict.FAIL
    assert judge("s", name, criterion, np.full(40, bound - worse), NOBODY).verdict is Verdict.PASS
    assert judge("s", name, criterion, np.full(40, bound), NOBODY).verdict is Verdict.PASS


def test_no_failure_in_few_episodes_proves_nothing_and_says_how_many_would():
    few = verdict(np.zeros(20))
    assert few.verdict is Verdict.INCONCLUSIVE and "29 episodes" in few.why
    assert verdict(np.zeros(29)).verdict is Verdict.PASS


def test_nan_never_passes():
    values = np.zeros(40)
    values[:10] = np.nan
    found = verdict(values)
    assert found.verdict is Verdict.INCONCLUSIVE and found.undecided == 10
    assert verdict(np.full(40, np.nan)).verdict is Verdict.INCONCLUSIVE
    assert verdict(np.full(40, np.inf), at_most=None, at_least=0.0).verdict is Verdict.INCONCLUSIVE


def test_a_crash_is_an_error_and_stays_in_the_denominator():
    crashed = np.zeros(40, bool)
    crashed[3] = True
    found = verdict(np.zeros(40), crashed)
    assert found.verdict is Verdict.ERROR and found.episodes == 40 and found.crashed == 1


def test_failures_between_the_bounds_are_not_decided():
    values = np.zeros(40)
    values[:4] = 1.0
    assert verdict(values).verdict is Verdict.INCONCLUSIVE
    values[:20] = 1.0
    assert verdict(values).verdict is Verdict.FAIL


SUITE_TEXT = """
describe: test
scenarios: [{scenario}]
episodes: 4
non_inferiority_margin: 0.1
criteria:
  c: {{metric: {metric}, at_most: 0, {extra}max_rate: 0.1, required: true, reason: r}}
"""


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scenario": "pusch"}, "pusch.*Did you mean 'push'"),
        ({"metric": "fel"}, "fel.*Did you mean 'fell'"),
        ({"extra": "at_least: 1, "}, "exactly one of"),
        ({"extra": "except: [slope], "}, "no scenario named 'slope'"),
        ({"extra": "limit: 3, "}, "limit"),
    ],
)
def test_a_mistake_in_a_suite_is_named(tmp_path, fields, message):
    path = tmp_path / "own.yaml"
    path.write_text(
        SUITE_TEXT.format(**{"scenario": "push", "metric": "fell", "extra": ""} | fields)
    )
    with pytest.raises(content.UserError, match=message):
        load_suite(str(path))
