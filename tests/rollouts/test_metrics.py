"""Metrics against small episodes worked out by hand."""

import numpy as np
import pytest

from robo_rl.envs import mdp
from robo_rl.envs.step import make
from robo_rl.robots.robot import load_robot
from robo_rl.rollouts import metrics
from robo_rl.rollouts.play import Trajectories

DT = 0.1


def episodes(steps=10, lengths=(10,), ahead=1.0, **given):
    n = len(lengths)
    alive = np.arange(steps)[:, None] < np.array(lengths)
    zeros = np.zeros((steps, n))
    fields = {
        "alive": alive,
        "reward": zeros,
        "terms": {},
        "costs": {"velocity": zeros},
        "terminated": zeros.astype(bool),
        "truncated": zeros.astype(bool),
        "error": zeros.astype(bool),
        "action": np.zeros((steps, n, 2)),
        "base_position_w_m": np.zeros((steps, n, 3)),
        "base_velocity_w_mps": np.zeros((steps, n, 3)),
        "tilt_rad": zeros,
        "goal_error": zeros,
        "velocity_error": np.zeros((steps, n, 3)),
        "positive_power_w": zeros,
        "absolute_power_w": zeros,
        "finish": None,
    }
    goal = mdp.get("arm-reach").goal
    return metrics.Episodes(
        Trajectories(**{**fields, **given}), load_robot("hopper"), DT, steps * DT, goal, ahead
    )


def test_steps_after_the_end_do_not_count():
    e = episodes(lengths=(4, 10), reward=np.ones((10, 2)), positive_power_w=np.full((10, 2), 5.0))
    np.testing.assert_allclose(metrics.episode_return(e), [4.0, 10.0])
    np.testing.assert_allclose(metrics.energy_j(e), [2.0, 5.0])
    np.testing.assert_allclose(metrics.survival_s(e), [0.4, 1.0])


def test_a_goal_is_missed_by_the_mean_and_by_the_worst_of_the_last_second():
    error = np.linspace(2.0, 0.2, 20)[:, None]  # 10 steps are one second
    e = episodes(steps=20, lengths=(20,), goal_error=error)
    assert metrics.mean_goal_error(e)[0] == pytest.approx(1.1)
    assert metrics.settled_goal_error(e)[0] == pytest.approx(error[10, 0])


def test_without_a_goal_no_distance_from_it_is_known():
    e = episodes()._replace(goal=None)
    assert (
        np.isnan(metrics.mean_goal_error(e)).all() and np.isnan(metrics.settled_goal_error(e)).all()
    )


def test_forward_speed_has_a_sign_and_is_measured_over_the_time_limit():
    """0.5 m/s backwards for the second of the limit, and 1 m/s forwards for 0.4 s of it."""
    velocity = np.zeros((10, 2, 3))
    velocity[:, 0, 0], velocity[:, 1, 0] = -0.5, 1.0
    e = episodes(lengths=(10, 4), base_velocity_w_mps=velocity)
    np.testing.assert_allclose(metrics.forward_speed_mps(e), [-0.5, 0.4])


def test_an_episode_that_fell_never_met_its_goal():
    fell = np.zeros((10, 1), bool)
    fell[3] = True
    e = episodes(lengths=(4,), terminated=fell)
    assert metrics.mean_goal_error(e)[0] == np.inf
    assert metrics.settled_goal_error(e)[0] == np.inf


def test_cost_of_transport_is_energy_over_weight_and_distance():
    velocity = np.zeros((10, 1, 3))
    velocity[..., 0] = 2.0
    e = episodes(base_velocity_w_mps=velocity, positive_power_w=np.full((10, 1), 100.0))
    expected = 100.0 * 1.0 / (load_robot("hopper").mass_kg * 9.81 * 2.0)
    assert metrics.cost_of_transport(e)[0] == pytest.approx(expected)


def test_cost_of_transport_of_standing_still_is_not_known():
    assert np.isnan(metrics.cost_of_transport(episodes(positive_power_w=np.ones((10, 1))))[0])


def test_going_and_coming_back_is_no_distance():
    velocity = np.zeros((10, 1, 3))
    velocity[:5, :, 0], velocity[5:, :, 0] = 1.0, -1.0
    assert metrics.distance_m(episodes(base_velocity_w_mps=velocity))[0] == pytest.approx(
        0.0, abs=1e-9
    )


def test_speed_is_along_the_tasks_direction():
    """Backwards is negative, sideways is nothing, and a task without a direction has none."""
    velocity = np.zeros((10, 3, 3))
    velocity[:, 0, 0], velocity[:, 1, 0], velocity[:, 2, 1] = 0.5, -0.5, 2.0
    moving = {"lengths": (10, 10, 5), "base_velocity_w_mps": velocity}
    np.testing.assert_allclose(metrics.METRICS["speed"].of(episodes(**moving)), [0.5, -0.5, 0.0])
    np.testing.assert_allclose(
        metrics.speed_ahead_mps(episodes(ahead=-1.0, **moving))[:2], [-0.5, 0.5]
    )
    assert np.isnan(metrics.speed_ahead_mps(episodes(ahead=None, **moving))).all()


@pytest.mark.parametrize(
    ("name", "direction"),
    [("hopper", 1.0), ("ant", 1.0), ("inverted-pendulum", None), ("arm-reach", None)],
)
def test_a_task_has_the_direction_its_reward_pays_for(name, direction):
    assert metrics.direction_of(make(name)) == direction


def test_violations_by_rate_by_longest_run_and_debounced():
    flags = np.array([0, 1, 1, 0, 0, 0, 0, 0, 0, 1], float)[:, None]
    e = episodes(costs={"velocity": flags})
    assert metrics.violation_rate(e, "velocity")[0] == pytest.approx(0.3)
    assert metrics.longest_violation_s(e, "velocity")[0] == pytest.approx(0.2)
    assert metrics.violation_events(e, "velocity")[0] == 2
    close = np.array([0, 1, 0, 0, 1, 0, 0, 0, 0, 0], float)[:, None]
    assert metrics.violation_events(episodes(costs={"velocity": close}), "velocity")[0] == 1


def test_longest_run_and_debounce_of_edges():
    flags = np.array([[1, 0], [1, 0], [1, 0]], bool)
    np.testing.assert_array_equal(metrics.longest_run(flags), [3, 0])
    np.testing.assert_array_equal(metrics.debounced_events(flags, 1), [1, 0])


def test_peak_acceleration_of_a_ramp_is_its_slope_and_its_jerk_zero():
    velocity = np.zeros((10, 1, 3))
    velocity[:, 0, 0] = 3.0 * DT * np.arange(10)
    e = episodes(base_velocity_w_mps=velocity)
    assert metrics.peak_acceleration_mps2(e)[0] == pytest.approx(3.0)
    assert metrics.peak_jerk_mps3(e)[0] == pytest.approx(0.0, abs=1e-9)


def test_an_episode_too_short_to_filter_is_not_known():
    assert np.isnan(metrics.peak_jerk_mps3(episodes(lengths=(3,)))[0])


def test_roughness_is_the_rms_change_as_a_share_of_full_range():
    action = np.zeros((10, 1, 2))
    action[::2] = 1.0
    assert metrics.action_roughness(episodes(action=action))[0] == pytest.approx(0.5)


def test_a_crash_is_no_fall_and_its_return_is_not_known():
    error = np.zeros((10, 1), bool)
    error[5] = True
    e = episodes(lengths=(6,), error=error, terminated=error)
    assert e.track.crashed[0] and not e.track.fell[0] and np.isnan(e.track.episode_return[0])


@pytest.mark.parametrize("name", sorted(metrics.METRICS))
@pytest.mark.parametrize("size", [0.0, 1e6])
def test_no_value_is_beyond_the_range_that_a_metric_declares(name, size):
    """Nothing happens, or everything does as much as it can."""
    many = np.full((10, 1), size)
    given = {"costs": {"velocity": many}, "positive_power_w": many, "terminated": many > 0}
    given |= {"base_velocity_w_mps": np.full((10, 1, 3), size), "tilt_rad": np.minimum(many, np.pi)}
    e = episodes(goal_error=many, reward=-many, **given)
    metric = metrics.METRICS[name]
    low, high = metric.range(e.limit_s, ends=True)
    value = e.measure(name, "velocity" if metric.takes_cost else None)[0]
    assert np.isnan(value) or low - 1e-9 <= value <= high + 1e-9


def test_a_task_that_never_ends_an_episode_fixes_what_tells_its_end():
    assert metrics.METRICS["fell"].range(5.0, ends=False) == (0, 0)
    assert metrics.METRICS["survival"].range(5.0, ends=False) == (5.0, 5.0)
    assert metrics.METRICS["survival"].range(5.0, ends=True) == (0, 5.0)
    assert metrics.METRICS["violation_rate"].range(5.0, ends=False) == (0, 1)


def test_a_velocity_that_sways_within_a_step_of_the_gait_is_kept_up_and_one_that_lags_is_not():
    steps = round(4.0 / DT)
    time = np.arange(steps) * DT
    error = np.zeros((steps, 2, 3))
    error[:, 0, 1] = np.sin(2 * np.pi * 2.0 * time)  # sways at 2 Hz: a whole number of periods
    error[:, 1, 0], error[:, 1, 2] = -0.3, 0.4  # 0.3 m/s too slow, 0.4 rad/s too much: 0.5 m/s
    e = episodes(steps=steps, lengths=(steps, steps), velocity_error=error)
    swaying, lagging = metrics.kept_up_velocity_error(e)
    assert lagging == pytest.approx(0.5)
    assert swaying < 0.1  # only the first second, before a whole one has passed, counts
    assert np.isnan(metrics.kept_up_velocity_error(episodes(velocity_error=np.zeros((10, 1, 0)))))
