"""Every named injector: zero is nothing, more is more, and the plan behind it is what it says."""

import jax
import numpy as np
import pytest

from robo_rl import errors
from robo_rl.injection.episode import plant_at, wrench_over
from robo_rl.injection.injectors import INJECTORS, NotApplicableError, inject, neutral_of
from robo_rl.robots.robot import load_robot

ROBOT = load_robot("hopper")
FLYING = load_robot("quadrotor")
OPTIONS = {
    name: {"channel": "joint_position rad"}
    for name in INJECTORS
    if "channel" in INJECTORS[name].options
}


def robot_for(name):
    return FLYING if name == "wind" else ROBOT


def made(name, magnitude, seed=0, robot=None, **options):
    robot = robot or robot_for(name)
    options = {**OPTIONS.get(name, {}), **options}
    return inject(
        neutral_of(robot), robot, name, magnitude, np.random.default_rng(seed), "test", **options
    )


def leaves(injection):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(injection)]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(leaves(a), leaves(b), strict=True))


def active(injection):
    """An injection without the fields that only matter beside a nonzero force or fault."""
    return injection._replace(push=injection.push.force_w_n, fault=injection.fault.gain_scale)


@pytest.mark.parametrize("name", sorted(INJECTORS))
def test_zero_changes_nothing_and_more_changes_something(name):
    nothing = active(neutral_of(robot_for(name)))
    assert same(active(made(name, 0.0)), nothing)
    assert not same(active(made(name, 0.2)), nothing)


@pytest.mark.parametrize("name", sorted(INJECTORS))
def test_a_seed_fixes_the_draw(name):
    assert same(made(name, 0.2, seed=1), made(name, 0.2, seed=1))


@pytest.mark.parametrize(
    "name",
    ["mass_error", "gain_error", "damping_error", "com_offset", "initial_pose", "armature_error"],
)
def test_what_is_drawn_is_two_sided_and_differs_between_elements(name):
    draws = np.array(
        [
            np.concatenate([leaf.ravel() for leaf in leaves(made(name, 0.2, seed=s))])
            for s in range(60)
        ]
    )
    nominal = np.concatenate([leaf.ravel() for leaf in leaves(neutral_of(ROBOT))])
    moved = draws - nominal
    varying = moved[:, moved.std(axis=0) > 0]
    assert varying.shape[1] > 1 and varying.min() < -0.1 and varying.max() > 0.1
    assert abs(np.corrcoef(varying[:, 0], varying[:, 1])[0, 1]) < 0.5


@pytest.mark.parametrize(("at_s", "duration_s"), [(1.0, 0.1), (1.003, 0.1), (1.001, 0.001)])
def test_a_push_changes_the_robots_velocity_by_its_magnitude_wherever_its_times_lie(
    at_s, duration_s
):
    control_s, injection = 0.008, made("push", 0.5, at_s=at_s, duration_s=duration_s)
    impulse_ns, times_s = np.zeros(6), control_s * np.arange(200)
    for time_s in times_s:
        wrench = wrench_over(injection, time_s, control_s, ROBOT.model.nbody)
        impulse_ns += control_s * np.asarray(wrench)[ROBOT.base_body]
    assert np.abs(impulse_ns[0]) == pytest.approx(0.5 * ROBOT.mass_kg, rel=1e-3)
    assert not impulse_ns[1:].any()
    for time_s in (at_s - control_s, at_s + duration_s):
        wrench = wrench_over(injection, time_s, control_s, ROBOT.model.nbody)
        assert np.abs(wrench).max() < 1e-2 * 0.5 * ROBOT.mass_kg / duration_s


def test_a_push_of_no_time_is_refused():
    with pytest.raises(errors.UserError, match="it would push for no time"):
        made("push", 1.0, duration_s=0.0)


def test_a_motor_at_half_strength_has_half_its_gain_and_half_its_torque_limit():
    injection = made("motor_fault", 0.5, at_s=2.0, actuator=1)
    before, after = (plant_at(injection, t) for t in (1.9, 2.0))
    for field in ("gain_scale", "force_limit_scale"):
        np.testing.assert_array_equal(getattr(before, field), 1.0)
        np.testing.assert_array_equal(getattr(after, field), [1.0, 0.5, 1.0])


def test_a_fault_strikes_one_motor_at_its_moment():
    injection = made("motor_fault", 1.0, at_s=2.0, actuator=1)
    np.testing.assert_array_equal(plant_at(injection, 1.99).gain_scale, [1, 1, 1])
    np.testing.assert_array_equal(plant_at(injection, 2.0).gain_scale, [1, 0, 1])


def test_a_slope_turns_gravity_and_keeps_its_size():
    total = ROBOT.model.opt.gravity + made("slope", 0.1).plant.gravity_offset_mps2
    assert np.linalg.norm(total) == pytest.approx(9.81, rel=1e-6)
    assert abs(total[0]) == pytest.approx(9.81 * np.sin(0.1), rel=1e-6)
    signs = {np.sign(made("slope", 0.1, seed=s).plant.gravity_offset_mps2[0]) for s in range(20)}
    assert signs == {-1.0, 1.0}


def test_payload_adds_its_share_of_the_mass_to_the_base():
    added = made("payload", 0.2).plant.mass_offset_kg
    assert added.sum() == pytest.approx(0.2 * ROBOT.mass_kg, rel=1e-6)
    assert np.flatnonzero(added) == [ROBOT.base_body]


def test_noise_reaches_only_the_channels_named():
    std = made("sensor_noise", 0.1, channel="joint_velocity rad/s").sensors.noise_std
    named = [c.name for c, s in zip(ROBOT.channels, std, strict=True) if s > 0]
    assert named == ["thigh_joint.vel", "leg_joint.vel", "foot_joint.vel"]


def test_mistakes_are_named():
    with pytest.raises(errors.UserError, match="motor_weaknes.*Did you mean 'motor_weakness'"):
        made("motor_weaknes", 0.1)
    with pytest.raises(errors.UserError, match="magnitude: a finite number >= 0"):
        made("slope", -0.1)
    with pytest.raises(errors.UserError, match="magnitude: a finite number >= 0"):
        made("slope", float("nan"))
    with pytest.raises(errors.UserError, match="no option of push named 'when'"):
        made("push", 0.1, when=2)
    with pytest.raises(NotApplicableError, match="no channel"):
        made("sensor_noise", 0.1, channel="joint_position m")
    with pytest.raises(NotApplicableError, match="no ground"):
        made("slope", 0.1, robot=load_robot("reacher"))


def test_a_weak_servo_gives_less_at_its_limit_too_and_a_torque_motor_needs_no_limit():
    servo, motor = (
        made("motor_weakness", 0.4, robot=load_robot(name)).plant for name in ("arm", "hopper")
    )
    np.testing.assert_allclose(servo.gain_scale, 0.6, rtol=1e-6)
    np.testing.assert_allclose(servo.force_limit_scale, 0.6, rtol=1e-6)
    np.testing.assert_allclose(motor.gain_scale, 0.6, rtol=1e-6)
    np.testing.assert_allclose(motor.force_limit_scale, 1.0)


def both(name, one, other, one_options=None, other_options=None):
    """Two departures of a kind in one episode."""
    robot, rng = robot_for(name), np.random.default_rng(0)
    shared, injection = OPTIONS.get(name, {}), neutral_of(robot_for(name))
    for magnitude, options in ((one, one_options), (other, other_options)):
        given = {**shared, **(options or {})}
        injection = inject(injection, robot, name, magnitude, rng, "test", **given)
    return injection


@pytest.mark.parametrize(
    ("name", "one", "other", "alone"),
    [
        ("sensor_noise", 3.0, 4.0, 5.0),  # squares add
        ("action_noise", 0.3, 0.4, 0.5),
        ("sensor_bias", 0.1, 0.2, 0.3),
        ("sensor_resolution", 0.1, 0.2, 0.2),  # the coarser one
        ("observation_latency", 5.0, 7.0, 12.0),
        ("observation_jitter", 5.0, 7.0, 12.0),
        ("observation_loss", 0.5, 0.5, 0.75),  # lost by either of two independent causes
        ("action_latency", 5.0, 7.0, 12.0),
        ("action_jitter", 5.0, 7.0, 12.0),
        ("action_loss", 0.5, 0.5, 0.75),
        ("actuator_lag", 10.0, 20.0, 30.0),
        ("torque_limit", 0.5, 0.5, 0.75),  # factors multiply
        ("actuator_saturation", 0.2, 0.3, 0.3),  # the tighter one
        ("actuator_slew", 100.0, 50.0, 100.0),  # the slower one
    ],
)
def test_two_of_a_kind_compose_as_their_causes_would(name, one, other, alone):
    pairs = zip(leaves(both(name, one, other)), leaves(made(name, alone)), strict=True)
    for found, expected in pairs:
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_two_pushes_happen_each_at_its_time_and_a_third_is_refused():
    found = both("push", 1.0, 2.0, {"at_s": 1.0}, {"at_s": 3.0}).push
    assert found.at_s.tolist() == [1.0, 3.0]
    force_n = np.linalg.norm(found.force_w_n, axis=1)
    np.testing.assert_allclose(force_n, ROBOT.mass_kg * np.array([1.0, 2.0]) / 0.1, rtol=1e-5)
    with pytest.raises(errors.UserError, match="an episode takes 2 pushes"):
        inject(both("push", 1.0, 2.0), ROBOT, "push", 1.0, np.random.default_rng(0), "test")


def test_two_motors_fail_at_one_moment_or_not_at_all():
    at_s = {"at_s": 1.0}
    found = both("motor_fault", 0.5, 0.25, at_s | {"actuator": 0}, at_s | {"actuator": 1}).fault
    assert found.gain_scale.tolist() == [0.5, 0.75, 1.0]
    with pytest.raises(errors.UserError, match="one motor fails at 1 s and another at 2 s"):
        both("motor_fault", 0.5, 0.5, at_s, {"at_s": 2.0})


SHARES = {"observation_loss", "action_loss", "actuator_saturation", "motor_weakness"}
SHARES |= {"torque_limit", "motor_fault", "slippery"}


def test_a_share_of_more_than_all_is_refused():
    assert {name for name, part in INJECTORS.items() if part.most == 1.0} == SHARES
    for name in SHARES:
        made(name, 1.0)
        with pytest.raises(errors.UserError, match=f"{name}: magnitude: .*at most 1.*found 1.5"):
            made(name, 1.5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("motor_fault", {"actuator": 99}, "no actuator 99: hopper has 3 motors"),
        ("motor_fault", {"actuator": 0.5}, "actuator: a whole number was expected, found 0.5"),
        ("motor_fault", {"actuator": -1}, "actuator: a finite number >= 0"),
        ("motor_fault", {"actuator": "hip"}, "actuator: a number was expected, found 'hip'"),
        ("motor_fault", {"at_s": float("nan")}, "at_s: a finite number >= 0"),
        ("push", {"duration_s": 0.0}, "duration_s: a time above 0 s .*push for no time.* found 0"),
        ("push", {"at_s": "soon"}, "at_s: a number was expected, found 'soon'"),
        ("sensor_noise", {"channel": 5}, "channel: a text was expected, found 5"),
    ],
)
def test_a_mistake_in_an_option_is_named(name, options, message):
    with pytest.raises(errors.UserError, match=message):
        made(name, 0.5, **options)
