"""Terms against values worked out by hand, and the sign of every penalty."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from robo_rl import content, errors
from robo_rl.rewards import layers, terms
from robo_rl.robots.robot import load_robot
from robo_rl.robots.signals import Command


def transition(robot="hopper", **given):
    found = load_robot(robot)
    model = found.model
    signals = {
        "qpos": jnp.asarray(model.qpos0, jnp.float32),
        "qvel": jnp.zeros(model.nv),
        "qpos_rate": jnp.zeros(model.nq),
        "sensors": jnp.zeros(40),
        "sensors_peak": jnp.zeros(40),
        "base_rotation": jnp.eye(3),
        "up_w": jnp.array([0.0, 0.0, 1.0]),
        "base_velocity_w_mps": jnp.zeros(3),
        "positive_power_w": jnp.zeros(model.nu),
    }
    outer = {
        "action": jnp.zeros(model.nu),
        "previous_action": jnp.zeros(model.nu),
        "terminated": jnp.bool_(False),
    }
    signals |= {k: v for k, v in given.items() if k in signals}
    outer |= {k: v for k, v in given.items() if k in outer}
    command = given.get("command", Command())
    after = SimpleNamespace(**signals)
    return SimpleNamespace(robot=found, command=command, before=None, after=after, **outer)


def test_effort_is_the_sum_of_squares():
    assert float(
        terms.action_effort(transition(action=jnp.array([1.0, -2.0, 0.5])))
    ) == pytest.approx(5.25)


def test_change_is_the_sum_of_squared_differences():
    t = transition(action=jnp.array([1.0, 0.0, 0.0]), previous_action=jnp.array([-1.0, 0.0, 0.5]))
    assert float(terms.action_change(t)) == pytest.approx(4.25)


def test_alive_pays_except_on_the_terminating_step():
    assert float(terms.alive(transition())) == 1.0
    assert float(terms.alive(transition(terminated=jnp.bool_(True)))) == 0.0


def test_speed_is_horizontal_and_excess_starts_at_the_limit():
    t = transition(base_velocity_w_mps=jnp.array([0.6, 0.8, 5.0]))
    assert float(terms.planar_speed_mps(t)) == pytest.approx(1.0)
    assert float(terms.speed_excess(t, limit_mps=0.75)) == pytest.approx(0.25)
    assert float(terms.velocity_violation(t, limit_mps=0.75)) == 1.0
    assert float(terms.velocity_violation(t, limit_mps=1.25)) == 0.0


def test_tilt_is_the_angle_of_the_vertical_axis():
    c, s = np.cos(0.3), np.sin(0.3)
    t = transition(base_rotation=jnp.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]))
    assert float(terms.tilt_excess(t, limit_rad=0.1)) == pytest.approx(0.2, abs=1e-6)
    assert float(terms.tilt_violation(t, limit_rad=0.31)) == 0.0


def test_joint_limits_count_the_share_of_the_half_range():
    """The hopper's thigh may turn from -150 to 0 degrees.

    At 0 it is at its limit, at the middle inside.
    """
    qpos = np.array(load_robot("hopper").model.qpos0, np.float32)
    qpos[3:6] = np.deg2rad([-75, -75, 0])
    inside = transition(qpos=jnp.asarray(qpos))
    assert float(terms.joint_limit_excess(inside, soft_fraction=0.9)) == 0.0
    qpos[3] = np.deg2rad(7.5)  # 1.1 half ranges from the middle
    beyond = transition(qpos=jnp.asarray(qpos))
    assert float(terms.joint_limit_excess(beyond, soft_fraction=0.9)) == pytest.approx(
        0.2, abs=1e-5
    )
    assert float(terms.joint_limit_violation(beyond, soft_fraction=1.0)) == 1.0


def test_foot_force_is_in_body_weights():
    robot = load_robot("hopper")
    peak = np.zeros(40, np.float32)
    peak[robot.sensor("force/foot_geom")] = [3.0, 0.0, 4.0]
    t = transition(sensors_peak=jnp.asarray(peak))
    assert float(terms.foot_force_bodyweights(t)) == pytest.approx(
        5.0 / (robot.mass_kg * 9.81), rel=1e-5
    )


def test_a_forbidden_contact_is_seen():
    robot = load_robot("hopper")
    peak = np.zeros(40, np.float32)
    assert float(terms.forbidden_contact(transition())) == 0.0
    peak[robot.sensor("contact/thigh_geom")] = 1.0
    assert float(terms.forbidden_contact(transition(sensors_peak=jnp.asarray(peak)))) == 1.0


@pytest.mark.parametrize(
    ("clock", "standing", "share"),
    [(0.5, "left", 1.0), (0.5, "right", 0.0), (-0.5, "right", 1.0), (0.5, "both", 0.5)],
)
def test_footfalls_follow_the_clock(clock, standing, share):
    robot = load_robot("biped")
    peak = np.zeros(40, np.float32)
    for side in ("left", "right"):
        loaded = standing in (side, "both")
        peak[robot.sensor(f"force/{side}_foot")] = [0.0, 0.0, 80.0 * loaded]
    command = Command(gait_clock=jnp.array([clock, 0.0]))
    t = transition("biped", sensors_peak=jnp.asarray(peak), command=command)
    assert float(terms.gait_contact(t, force_n=5.0)) == share


@pytest.mark.parametrize(
    ("clock", "lift"),
    [(1.0, 1.0), (0.5, 0.5), (-1.0, 0.25)],  # FL and RR swing first, then FR and RL
)
def test_swinging_feet_are_paid_for_their_height(clock, lift):
    robot = load_robot("quadruped")
    sensors = np.zeros(40, np.float32)
    for foot, height in {"FR": 0.0, "FL": 0.06, "RR": 0.10, "RL": 0.03}.items():
        sensors[robot.sensor(f"{foot}_foot")] = [0.0, 0.0, 0.02 + height]
    command = Command(gait_clock=jnp.array([clock, 0.0]))
    t = transition("quadruped", sensors=jnp.asarray(sensors), command=command)
    found = terms.swing_lift(t, height_m=0.06, radius_m=0.02)
    assert float(found) == pytest.approx(lift, rel=1e-5)


def test_a_turn_is_held_against_the_command_of_the_step():
    turning = transition("quadruped", qvel=jnp.zeros(18).at[5].set(0.5))
    turning.command = Command(yaw_rate_radps=jnp.float32(0.25))
    share = float(terms.yaw_rate_tracking_exp(turning, scale=0.25))
    assert share == pytest.approx(np.exp(-1.0))


@pytest.mark.parametrize(
    ("term", "parameters", "missing"),
    [
        (terms.yaw_rate_tracking_exp, {"scale": 1.0}, "a yaw rate command"),
        (terms.gait_contact, {"force_n": 5.0}, "a gait clock"),
        (terms.obstacle_contact, {}, "a lidar"),
    ],
)
def test_a_term_says_what_its_task_does_not_ask_for(term, parameters, missing):
    t = transition("biped")
    t.after.around = None
    with pytest.raises(errors.UserError, match=missing):
        term(t, **parameters)


def test_a_weighted_term_declares_what_it_pays_per_step():
    lines = {line.name: line for line in layers.load_rewards("hopper").weighted}
    assert lines["alive"].bounds == (0.0, 1.0)
    assert lines["forward"].bounds == (-np.inf, np.inf)
    assert lines["control"].bounds == (-np.inf, 0.0)
    assert lines["forbidden_contact"].bounds == (-1.0, 0.0)


@pytest.mark.parametrize("term", layers.TERMS.values(), ids=layers.TERMS)
def test_every_term_declares_its_range(term):
    line = layers.Weighted("x", term, {}, 2.0, "task")
    low, high = line.bounds
    assert low <= 0.0 < high


@pytest.mark.parametrize("name", sorted(content.files("rewards")))
def test_breaking_safety_and_spending_energy_never_pay(name):
    for line in layers.load_rewards(name).weighted:
        if line.layer != "task":
            assert line.weight < 0, line.name


@pytest.mark.parametrize("name", sorted(content.files("rewards")))
def test_layers_include_those_below_them(name):
    file = layers.load_rewards(name)
    counts = [len(file.terms_through(layer)) for layer in layers.LAYERS]
    assert counts == sorted(counts) and counts[0] > 0 and len(set(counts)) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: {alve: {weight: 1.0}}", "alve.*Did you mean 'alive'"),
        ("taks: {alive: {weight: 1.0}}", "taks.*Did you mean 'task'"),
        ("task: {alive: {}}", "needs a weight"),
        ("costs: {tilt: {term: tilt_violation, weight: 1.0, limit_rad: 0.1}}", "has no weight"),
        ("safety: {tilt_excess: {weight: -1.0, limit: 0.1}}", "limit.*limit_rad.*needed"),
        ("task: {alive: {weight: much}}", "number was expected"),
        ("task: {alive: {weight: 1.0}, alive: {weight: 2.0}}", "given twice"),
    ],
)
def test_a_mistake_in_a_reward_file_is_named(tmp_path, text, message):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(errors.UserError, match=message):
        layers.load_rewards(str(path))
