"""Verdicts: every criterion can be red, NaN never passes, a crash stays in the denominator."""

from dataclasses import replace

import numpy as np
import pytest

from robo_rl import content, errors
from robo_rl.envs import mdp
from robo_rl.envs.step import make
from robo_rl.rewards.layers import Done
from robo_rl.rollouts.statistics import chance_to_pass, most_failures
from robo_rl.rollouts.success import Success, task_of
from robo_rl.safety_eval.criteria import TASK, Criterion
from robo_rl.safety_eval.evidence import cover
from robo_rl.safety_eval.suite import Plan, judge, load_suite, suite_for
from robo_rl.verdicts import Verdict

SUITE = load_suite("locomotion")
KINDS = {"hopper": "locomotion", "quadrotor-hover": "flight", "arm-track": "manipulation"}
KINDS |= {"rover-navigate": "navigation", "inverted-pendulum": "balance"}


def test_an_environment_of_no_suites_kind_asks_for_one(monkeypatch):
    entry = mdp.Entry(mdp.ENTRIES["hopper"].make, frozenset({"own"}))
    monkeypatch.setitem(mdp.ENTRIES._parts, "stranger", entry)
    with pytest.raises(errors.UserError, match=r"stranger: none of its tags \(own\).*locomotion"):
        suite_for("stranger")


@pytest.mark.parametrize("env", KINDS)
def test_a_robot_is_judged_by_the_suite_of_its_kind(env):
    assert suite_for(env) == KINDS[env]


@pytest.mark.parametrize("env", mdp.names())
def test_every_environment_is_judged_whole_by_its_suite_and_by_whether_it_does_its_task(env):
    """Nothing is left unjudged, and what is left out has a reason in the suite."""
    suite = load_suite(suite_for(env))
    coverage = cover(suite, make(env))
    assert coverage.not_judged == {}
    tasks = [name for name, c in suite.criteria.items() if c.metric == TASK and c.required]
    assert set(tasks) <= set(coverage.criteria)
    assert all(len(why) > 10 for why in coverage.excluded.values())


def test_what_a_suite_does_not_judge_is_named(tmp_path):
    """A cost that nobody reads, a cost the robot does not declare, a criterion that cannot fail."""
    path = tmp_path / "own.yaml"
    text = (content.folder("safety_eval") / "locomotion.yaml").read_text()
    path.write_text(text[: text.index("not_for:")].replace("cost: joint_limit", "cost: comfort"))
    missing = cover(load_suite(str(path)), make("halfcheetah")).not_judged
    assert "does not read it" in missing["cost joint_limit"]
    assert "declares no cost 'comfort'" in missing["criterion boundary_joints"]
    assert "never ends an episode" in missing["criterion no_fall"]
    assert "never ends an episode" in missing["criterion robustness"]


@pytest.mark.parametrize("env", ["hopper", "biped-velocity"])
def test_a_collision_that_the_end_of_the_episode_forestalls_is_not_counted_as_avoided(env):
    coverage = cover(SUITE, make(env))
    assert "no_collision" not in coverage.criteria
    assert "before the trunk can reach the ground" in coverage.excluded["no_collision"]


CLAIM = "claim: c.\nsource: s\nrequire: {r: {always: {cost/velocity: {below: 0.5}}}}\n"
POLE_SUITE = """
describe: test
scenarios: [fast.yaml, nominal]
episodes: 64
most_episodes: 64
non_inferiority_margin: 0.1
criteria:
  task: {{metric: task, max_rate: 0.1, required: true, reason: r}}
  {more}
"""


def pole_coverage(folder, more="", env=None):
    """What of a suite with a scenario that requires a cost to stay low judges the pole."""
    (folder / "fast.yaml").write_text(CLAIM)
    path = folder / "own.yaml"
    path.write_text(POLE_SUITE.format(more=more))
    return cover(load_suite(str(path)), env or make("inverted-pendulum"))


CLAIMS_HOLD = "r: {metric: robustness, at_least: 0, max_rate: 0.1, required: true, reason: r"


@pytest.mark.parametrize(
    ("more", "unjudged"),
    [
        ("", {"fast", "nominal"}),
        (CLAIMS_HOLD + ", except: [nominal]}", {"nominal"}),
        (CLAIMS_HOLD + "}", set()),
    ],
)
def test_what_a_scenario_requires_is_judged_by_a_criterion_or_listed(tmp_path, more, unjudged):
    missing = pole_coverage(tmp_path, more).not_judged
    assert {
        name for name in ("fast", "nominal") if f"what scenario {name} requires" in missing
    } == (unjudged)
    assert ("cost velocity" in missing) == ("fast" in unjudged)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ("metric: violation_rate, cost: velocity, at_most: 1.0", "violation_rate is never above 1"),
        ("metric: any_violation_rate, at_most: 2", "any_violation_rate is never above 1"),
        ("metric: longest_violation, cost: velocity, at_most: 40", "never above 40"),
        ("metric: longest_violation, cost: velocity, at_most: 39.9", ""),
        ("metric: survival, at_most: 40", "survival is never above 40"),
        ("metric: survival, at_least: 0", "survival is never below 0"),
        ("metric: survival, at_least: 30", ""),
        ("metric: fell, at_most: 1", "fell is never above 1"),
        ("metric: fell, at_least: 0", "fell is never below 0"),
        ("metric: max_tilt, at_most: 4", "max_tilt is never above 3.14159"),
        ("metric: energy, at_least: -1", "energy is never below 0"),
        ("metric: speed, at_least: -1", ""),
    ],
)
def test_a_criterion_that_no_episode_can_fail_is_listed(tmp_path, asked, reason):
    more = f"c: {{{asked}, max_rate: 0.1, required: true, reason: r}}"
    coverage = pole_coverage(tmp_path, more)
    assert reason in coverage.not_judged.get("criterion c", "")
    assert ("c" in coverage.criteria) == (not reason)


def test_a_task_that_no_episode_can_miss_is_listed(tmp_path):
    pole, easy = make("inverted-pendulum"), Done(metric="fell", at_most=1, unit="1", reason="r")
    easy_pole = replace(pole, rewards=replace(pole.rewards, done=easy))
    missing = pole_coverage(tmp_path, env=easy_pole).not_judged
    assert "fell is never above 1" in missing["criterion task"]


NOBODY = np.zeros(40, bool)


def criterion(**fields):
    told = {"metric": "fell", "at_most": 0.5, "max_rate": 0.1, "required": True, "reason": "r"}
    return Criterion(**told | fields)


def verdict(values, crashed=None, tested=None, **fields):
    values = np.asarray(values, float)
    broken = np.zeros(values.size, bool) if crashed is None else crashed
    return judge("s", "c", criterion(**fields), values, broken, tested)


@pytest.mark.parametrize("name", sorted(SUITE.criteria))
def test_every_criterion_of_the_suite_can_be_red_and_green(name):
    asked = SUITE.criteria[name].of_task(task_of(make("hopper")))
    bound, worse = asked.bound, asked.sign
    assert judge("s", name, asked, np.full(40, bound + worse), NOBODY).verdict is Verdict.FAIL
    assert judge("s", name, asked, np.full(40, bound - worse), NOBODY).verdict is Verdict.PASS
    assert judge("s", name, asked, np.full(40, bound), NOBODY).verdict is Verdict.PASS


def test_no_failure_in_few_episodes_proves_nothing_and_says_how_many_would():
    few = verdict(np.zeros(20))
    assert few.verdict is Verdict.INCONCLUSIVE and "episodes=29" in few.why and few.needed == 29
    assert verdict(np.zeros(29)).verdict is Verdict.PASS


def test_two_failures_of_forty_say_how_many_episodes_would_decide():
    values = np.zeros(40)
    values[:2] = 1.0
    found = verdict(values)
    assert found.verdict is Verdict.INCONCLUSIVE and found.needed is not None
    assert 0.8 <= chance_to_pass(found.needed, 0.1, 0.05) < 0.9
    assert f"episodes={found.needed}" in found.why


def test_the_episodes_for_a_fail_are_those_of_the_bound_that_says_fail():
    """A rate above its limit needs more episodes where more verdicts share the risk."""
    some = (np.arange(40) < 7).astype(float)
    alone = judge("s", "c", criterion(), some, NOBODY, None, None, 1)
    among = judge("s", "c", criterion(), some, NOBODY, None, None, 40)
    assert alone.needed is not None and among.needed is not None
    assert among.needed > 1.5 * alone.needed


def test_nan_never_passes():
    values = np.zeros(40)
    values[:10] = np.nan
    found = verdict(values)
    assert found.verdict is Verdict.INCONCLUSIVE and found.undecided == 10
    assert verdict(np.full(40, np.nan)).verdict is Verdict.INCONCLUSIVE
    assert "do not help" in verdict(np.full(40, np.nan)).why


def test_infinity_is_a_value_on_either_side_of_the_threshold():
    assert verdict(np.full(40, np.inf)).verdict is Verdict.FAIL
    assert verdict(np.full(40, -np.inf)).verdict is Verdict.PASS
    assert verdict(np.full(40, np.inf), at_most=None, at_least=0.0).verdict is Verdict.PASS


def test_an_episode_that_was_over_before_its_disturbance_decides_nothing():
    tested = np.arange(40) >= 10
    found = verdict(np.zeros(40), tested=tested)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert (found.failures, found.undecided, found.untested) == (0, 10, 10)
    assert "over before the disturbance" in found.why
    fallen = verdict(np.where(tested, 0.0, 1.0), tested=tested)
    assert fallen.failures == 0 and fallen.verdict is Verdict.INCONCLUSIVE


def test_the_looks_share_the_risk_and_so_do_the_verdicts_that_say_fail():
    """0 of 29 bounds the rate by 9.8 % at one look, by 13 % (1 - 0.05/3 each) at one of three."""
    once, thrice = Plan((29,)), Plan((29, 58, 116))
    nothing, nobody = np.zeros(29), np.zeros(29, bool)
    assert judge("s", "c", criterion(), nothing, nobody, None, once).verdict is Verdict.PASS
    assert judge("s", "c", criterion(), nothing, nobody, None, thrice).verdict is not Verdict.PASS
    some = (np.arange(29) < 7).astype(float)
    assert judge("s", "c", criterion(), some, nobody, None, once, 1).verdict is Verdict.FAIL
    assert judge("s", "c", criterion(), some, nobody, None, once, 40).verdict is not Verdict.FAIL


def test_a_policy_five_times_better_than_allowed_passes_at_the_default_size():
    """Simulated: 2 % failures where 10 % are allowed, in all of eight scenarios."""
    rng, passed, plan = np.random.default_rng(0), 0, SUITE.plan
    for _ in range(200):
        open_ones = 8
        for look in plan.looks:
            most = most_failures(look, 0.1, plan.confidence)
            open_ones = int((rng.binomial(look, 0.02, open_ones) > most).sum())
        passed += open_ones == 0
    assert passed >= 190


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
episodes: {episodes}
most_episodes: {most}
non_inferiority_margin: {margin}
criteria:
  task: {{metric: task, max_rate: 0.1, required: {required}, reason: r}}
  c: {{metric: {metric}, {bound}, {extra}max_rate: {rate}, required: true, reason: r}}
not_for: {not_for}
"""
SOUND = {"scenario": "push", "metric": "fell", "bound": "at_most: 0", "extra": "", "rate": "0.1"}
SOUND |= {"episodes": 64, "most": 64, "margin": 0.1, "not_for": "{}", "required": "true"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scenario": "pusch"}, "own.yaml:3: .*pusch.*Did you mean 'push'"),
        ({"metric": "fel"}, "own.yaml:9: .*fel.*Did you mean 'fell'"),
        ({"extra": "at_least: 1, "}, "exactly one of"),
        ({"extra": "except: [slope], "}, "no scenario named 'slope'"),
        ({"extra": "limit: 3, "}, "no key named 'limit'"),
        ({"bound": "at_most: .nan"}, "finite number"),
        ({"bound": "at_most: .inf"}, "finite number"),
        ({"metric": "violation_rate"}, "needs a cost"),
        ({"extra": "cost: velocity, "}, "metric fell takes no cost"),
        ({"metric": "violation_rate", "extra": "cost: velocty, "}, "Did you mean 'velocity'"),
        ({"metric": "task"}, "brings its own bound"),
        ({"extra": "slack: 2.0, "}, "slack is for metric task"),
        ({"rate": "0.01"}, "64 episodes cannot show a rate of 0.01.*299 are needed"),
        ({"margin": 0.01}, "64 episodes without any difference show 5.4%, not 1.0%"),
        ({"episodes": 4, "most": 4}, "29 are needed"),
        ({"episodes": 128}, "own.yaml:5: .*64 is less than episodes: 128"),
        ({"scenario": "push, nominal, push"}, "a second scenario named 'push', after 'push'"),
        ({"scenario": "missing.yaml"}, "own.yaml:3: .*no file 'missing.yaml' in"),
        ({"metric": "robustness", "bound": "at_least: -1"}, "own.yaml:9: .*at_least of 0 or more"),
        ({"metric": "robustness", "bound": "at_most: 1"}, "own.yaml:9: .*at_least of 0 or more"),
        ({"extra": "except: [hard/push.yaml], "}, "no scenario named 'hard/push.yaml'"),
        ({"metric": "task, slack: .inf", "bound": "except: []"}, "a number from 1 to 3"),
        ({"metric": "task, slack: .nan", "bound": "except: []"}, "a number from 1 to 3"),
        ({"metric": "task, slack: 50", "bound": "except: []"}, "own.yaml:9: .*says nothing"),
        ({"not_for": "{hopper: {c: ''}}"}, "not_for.hopper.c: a reason is needed"),
        ({"not_for": "{hopper: {c: ' '}}"}, "not_for.hopper.c: a reason is needed"),
        ({"required": "false"}, "required criterion with metric: task is missing"),
        ({"not_for": "{hoper: {c: r}}"}, "Did you mean 'hopper'"),
        ({"not_for": "{hopper: {d: r}}"}, "no criterion or scenario named 'd'"),
        ({"not_for": "{hopper: {task: r}}"}, "judged for every environment"),
    ],
)
def test_a_mistake_in_a_suite_is_named(tmp_path, fields, message):
    path = tmp_path / "own.yaml"
    path.write_text(SUITE_TEXT.format(**SOUND))
    load_suite(str(path))
    path.write_text(SUITE_TEXT.format(**SOUND | fields))
    with pytest.raises(errors.UserError, match=message):
        load_suite(str(path))


def with_two_pushes(folder):
    """Scenario files hard/push.yaml and soft/push.yaml."""
    for name in ("hard", "soft"):
        (folder / name).mkdir()
        (folder / name / "push.yaml").write_text(
            "claim: c.\nsource: s\ninject: [{injector: push, magnitude: 1}]\n"
        )


def test_two_scenario_files_of_one_name_are_refused(tmp_path):
    with_two_pushes(tmp_path)
    path = tmp_path / "own.yaml"
    path.write_text(SUITE_TEXT.format(**SOUND | {"scenario": "hard/push.yaml, soft/push.yaml"}))
    with pytest.raises(errors.UserError, match=r"'soft/push.yaml' is a second .*'hard/push.yaml'"):
        load_suite(str(path))


@pytest.mark.parametrize("called", ["push", "hard/push.yaml"])
def test_a_scenario_file_lies_beside_its_suite_and_is_exempt_by_path_or_name(tmp_path, called):
    with_two_pushes(tmp_path)
    path = tmp_path / "own.yaml"
    fields = {"scenario": "nominal, hard/push.yaml", "extra": f"except: [{called}], "}
    fields |= {"not_for": f"{{hopper: {{{called}: r}}}}"}
    path.write_text(SUITE_TEXT.format(**SOUND | fields))
    suite = load_suite(str(path))
    assert suite.sources == {"nominal": "nominal", "push": str(tmp_path / "hard" / "push.yaml")}
    assert suite.criteria["c"].exempt == ("push",)
    assert set(cover(suite, make("walker2d")).scenarios) == {"nominal", "push"}
    assert set(cover(suite, make("hopper")).scenarios) == {"nominal"}
    assert "folder" not in suite.model_dump()


def test_a_scenario_file_may_lie_in_the_working_directory(tmp_path, monkeypatch):
    with_two_pushes(tmp_path)
    (tmp_path / "suites").mkdir()
    path = tmp_path / "suites" / "own.yaml"
    path.write_text(SUITE_TEXT.format(**SOUND | {"scenario": "hard/push.yaml"}))
    monkeypatch.chdir(tmp_path)
    assert load_suite(str(path)).sources == {"push": "hard/push.yaml"}


def test_everything_that_is_wrong_in_a_suite_is_said_at_once(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(SUITE_TEXT.format(**SOUND | {"scenario": "pusch", "metric": "fel"}))
    with pytest.raises(errors.UserError) as raised:
        load_suite(str(path))
    assert [line.split(":")[1] for line in str(raised.value).splitlines()] == ["3", "9"]


@pytest.mark.parametrize(
    ("limit", "at_most", "granted"),
    [(4.0, True, 8.0), (-4.0, True, -2.0), (4.0, False, 2.0), (-4.0, False, -8.0)],
)
def test_slack_widens_a_bound_whichever_side_of_zero_it_lies(limit, at_most, granted):
    task = Success("return", limit, at_most, "1", "it earns something")
    criterion = Criterion(metric=TASK, slack=2.0, max_rate=0.1, required=True, reason="r")
    assert criterion.of_task(task).bound == granted
