"""Scenario files and their requirements: margins by hand, NaN, empty windows, mistakes named."""

import numpy as np
import pytest

from robo_rl import content, errors
from robo_rl.robots.robot import load_robot
from robo_rl.scenarios.requirements import LOST, Trace, parse_requirement
from robo_rl.scenarios.schema import load_scenario, sample_batch


def margin(body, values, terminated=False):
    return parse_requirement(body, "test")(
        Trace({"tilt_rad": np.asarray(values, float)}, 0.1, terminated)
    )


def test_always_is_the_smallest_margin_over_its_scale():
    assert margin({"always": {"tilt_rad": {"below": 0.5}}}, [0.1, 0.4, 0.2]) == pytest.approx(0.2)
    assert margin(
        {"always": {"tilt_rad": {"below": 0.5, "scale": 1.0}}}, [0.1, 0.7]
    ) == pytest.approx(-0.2)
    assert margin(
        {"always": {"tilt_rad": {"above": 0.0, "below": 1.0, "scale": 1.0}}}, [0.3, 0.9]
    ) == pytest.approx(0.1)


def test_nan_makes_the_margin_nan():
    """A known monitor gives +0.8 for [1, NaN, 0.1, 1] with always >= 0.2."""
    assert np.isnan(margin({"always": {"tilt_rad": {"above": 0.2}}}, [1.0, np.nan, 0.1, 1.0]))


def test_a_terminated_episode_loses_even_if_every_sample_was_fine():
    assert margin({"always": {"tilt_rad": {"below": 0.5}}}, [0.1, 0.1], terminated=True) == LOST


def test_eventually_is_the_largest_margin():
    assert margin({"eventually": {"tilt_rad": {"below": 0.5}}}, [0.9, 0.4, 0.9]) == pytest.approx(
        0.2
    )


RECOVERS = {
    "recovers": {
        "after_s": 0.2,
        "within_s": 0.5,
        "holds_s": 0.2,
        "tilt_rad": {"below": 0.2, "scale": 1.0},
    }
}


def test_recovery_needs_the_hold_and_not_a_glimpse():
    assert margin(RECOVERS, [0, 0, 0.9, 0.9, 0.1, 0.1, 0.9, 0.9, 0.9]) == pytest.approx(0.1)
    assert margin(RECOVERS, [0, 0, 0.9, 0.1, 0.9, 0.1, 0.9, 0.1, 0.9]) < 0


def test_a_hold_of_less_than_a_step_is_a_step():
    brief = {"recovers": {**RECOVERS["recovers"], "holds_s": 0.001}}
    assert margin(brief, [0, 0, 0.9, 0.1, 0.9, 0.9, 0.9, 0.9]) == pytest.approx(0.1)


def test_a_fall_before_the_window_is_a_failure_and_a_short_episode_is_undecided():
    assert margin(RECOVERS, [0, 0], terminated=True) == LOST
    assert np.isnan(margin(RECOVERS, [0, 0]))
    assert np.isnan(margin(RECOVERS, [0, 0, 0.9, 0.9, 0.9]))  # the time limit cut it short
    assert margin(RECOVERS, [0, 0, 0.9, 0.1, 0.1]) == pytest.approx(0.1)  # it had recovered


def test_who_falls_after_the_disturbance_has_not_recovered_however_long_it_stood_before():
    assert margin(RECOVERS, [0.1] * 8, terminated=True) == LOST
    assert margin(RECOVERS, [0.1] * 9, terminated=True) == pytest.approx(0.1)  # window of 7 over


AIR = ("gust", "noisy-state")  # scenarios that act on what flies


@pytest.mark.parametrize("name", sorted(content.files("scenarios")))
def test_every_scenario_is_a_claim_with_a_source_that_samples_within_its_range(name):
    scenario = load_scenario(name)
    assert scenario.claim.endswith(".") and scenario.source and scenario.require
    robot = load_robot({"noisy-scan": "rover"}.get(name, "quadrotor" if name in AIR else "hopper"))
    drawn = sample_batch(scenario, robot, 0, range(30)).values
    for key, variable in scenario.sample.items():
        values = np.array([d[key] for d in drawn])
        low, high = variable.range
        assert low <= values.min() and values.max() <= high and values.std() > 0.2 * (high - low)


def test_an_episode_is_the_same_however_many_are_drawn_and_differs_by_seed():
    scenario, robot = load_scenario("push"), load_robot("hopper")
    asked = ((0, range(3)), (0, range(9)), (0, range(3, 9)), (1, range(3)))
    few, many, rest, other = (sample_batch(scenario, robot, s, n).values for s, n in asked)
    assert few == many[:3] and rest == many[3:] and few != other


def test_a_scenario_says_when_its_disturbance_begins_and_has_acted():
    robot = load_robot("hopper")
    push = sample_batch(load_scenario("push"), robot, 0, range(5))
    at_s = [values["at_s"] for values in push.values]
    np.testing.assert_allclose(push.begins_s, at_s)
    np.testing.assert_allclose(push.acts_by_s, np.array(at_s) + 0.1)
    assert (sample_batch(load_scenario("slippery"), robot, 0, range(5)).acts_by_s == 0.0).all()


def test_an_injection_that_changes_nothing_never_acts(tmp_path):
    path = tmp_path / "nothing.yaml"
    path.write_text("claim: c.\nsource: s\ninject: [{injector: payload, magnitude: 0}]\n")
    drawn = sample_batch(load_scenario(str(path)), load_robot("hopper"), 0, range(2))
    assert np.isinf(drawn.begins_s).all() and np.isinf(drawn.acts_by_s).all()


RECOVERY = "require: {{a: {{recovers: {{after_s: {}, within_s: {}, holds_s: {}, "
RECOVERY += "tilt_rad: {{below: 1}}}}}}}}"
TIMES = (
    ((".nan", 1, 1), "after_s: nan"),
    ((-1, 1, 1), "after_s: -1"),
    (("abc", 1, 1), "after_s: 'abc'"),
    (("[1]", 1, 1), r"after_s: \[1\]"),
    ((0, ".inf", 0), "within_s: inf, holds_s: 0"),
    ((0, 0, 1), "within_s: 0"),
    ((0, 1, -1), "holds_s: -1"),
)
SAMPLED = "sample: {{a: {{range: [{}, {}], unit: {}}}}}\ninject: [{{injector: push, "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inject: [{injector: puch, magnitude: 1}]", "puch.*Did you mean 'push'"),
        ("inject: [{injector: push, magnitude: $speed}]", "no variable named 'speed'"),
        ("inject: [{injector: push, magnitude: 1, when: 3}]", "when"),
        ("require: {a: {allways: {tilt_rad: {below: 1}}}}", "allways.*Did you mean 'always'"),
        ("require: {a: {always: {tilt_rad: {under: 1}}}}", "below and/or above"),
        (
            "require: {a: {recovers: {after_s: 1, tilt_rad: {below: 1}}}}",
            "within_s, holds_s missing",
        ),
        ("clame: x", "clame"),
        ("inject: [{injector: push, magnitude: 1, options: {at: 3}}]", "Did you mean 'at_s'"),
        ("inject: [{injector: push, magnitude: .nan}]", "finite number"),
        ("inject: [{injector: sensor_noise, magnitude: 1}]", "needs the option channel"),
        (
            "inject: [{injector: sensor_bias, magnitude: 1, options: {channel: joint_positn rad}}]",
            "Did you mean 'joint_position rad'",
        ),
        ("require: {a: {always: {tilt: {below: 1}}}}", "no signal named 'tilt'.*'tilt_rad'"),
        ("require: {a: {always: {cost/velocty: {below: 1}}}}", "Did you mean 'cost/velocity'"),
        ("require: {a: {always: {tilt_rad: {below: .nan}}}}", "finite numbers"),
        ("sample: {a: {range: [0, .inf], unit: m}}", "no finite range"),
        (
            "sample: {a: {range: [0, 1], unit: kg}}\ninject: [{injector: push, magnitude: $a}]",
            "is in 'kg', push takes 'm/s'",
        ),
        ("require: {a: {always: 5}}", "always: a mapping was expected, found 5"),
        ("require: {a: {always: [a]}}", "always: a mapping was expected"),
        ("require: {a: {always: {5: {below: 1}}}}", "no signal named '5'"),
        ("require: {a: {always: {5: {below: 1}, b: 2}}}", "one signal expected"),
        ("require: {a: 5}", "own.yaml:3: require.a"),
        ("require: {a: {}}", "one operator expected"),
        ("require: {a: {always: {tilt_rad: {below: true}}}}", "finite numbers"),
        ("require: {a: {always: {tilt_rad: {below: 0, above: 1}}}}", "above 1 and below 0"),
        ("require: {a: {always: {tilt_rad: {below: 1, above: 1}}}}", "above 1 and below 1"),
        *((RECOVERY.format(*times), f"finite times .*found {found}") for times, found in TIMES),
        (
            "sample: {h: {range: [0, 1], unit: s}}\n" + RECOVERY.format(1, 1, "$h"),
            "finite times .*found holds_s: 0",
        ),
        ("source: [", "not valid YAML"),
        ("sample: {a: {range: [0, 1], unit: m}}", "own.yaml:3: sample.a: nothing varies with it"),
        (f"{SAMPLED.format(-0.5, 0.5, 'm/s')}magnitude: $a}}]", "number >= 0 .*-0.5 to 0.5"),
        (
            f"{SAMPLED.format(-1, 3, 's')}magnitude: 1, options: {{at_s: $a}}}}]",
            "own.yaml:4: inject.0.options.at_s: .*>= 0.*found -1 to 3",
        ),
        ("inject: [{injector: push, magnitude: 1, options: {duration_s: 0}}]", "above 0 s"),
        (
            f"{SAMPLED.format(0, 1, 's')}magnitude: 1, options: {{duration_s: $a}}}}]",
            "own.yaml:4: .*duration_s: a time above 0 s .*found 0 to 1",
        ),
        ("inject: [{injector: motor_weakness, magnitude: 30}]", "magnitude: .*at most 1"),
        (
            "inject: [{injector: motor_fault, magnitude: 1, options: {actuator: 1.5}}]",
            "own.yaml:3: inject.0.options.actuator: a whole number was expected, found 1.5",
        ),
        (
            "inject: [{injector: sensor_noise, magnitude: 1, options: {channel: 5}}]",
            "options.channel: a text was expected, found 5",
        ),
    ],
)
def test_a_mistake_in_a_scenario_is_named(tmp_path, text, message):
    path = tmp_path / "own.yaml"
    path.write_text(
        f"claim: c.\nsource: s\n{text}\n" if not text.startswith(("source", "claim")) else text
    )
    with pytest.raises(errors.UserError, match=message):
        load_scenario(str(path))


def test_a_variable_may_vary_what_is_injected_or_what_must_hold(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(
        "claim: c.\nsource: s\nsample:\n  a: {range: [0, 1], unit: s}\n"
        "  b: {range: [-1, 1], unit: rad}\n"
        "inject: [{injector: push, magnitude: 1, options: {at_s: $a}}]\n"
        "require: {r: {always: {tilt_rad: {above: $b}}}}\n"
    )
    assert set(load_scenario(str(path)).sample) == {"a", "b"}


def test_everything_that_is_wrong_in_a_scenario_is_said_at_once_with_its_line(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(
        "claim: c.\nsource: s\ninject:\n  - {injector: puch, magnitude: 1}\n"
        "require:\n  a: {allways: {tilt_rad: {below: 1}}}\n"
    )
    with pytest.raises(errors.UserError) as raised:
        load_scenario(str(path))
    first, second = str(raised.value).splitlines()
    assert first.startswith(f"{path}:4: ") and "puch" in first
    assert second.startswith(f"{path}:6: ") and "allways" in second
