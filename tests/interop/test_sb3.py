"""SB3's VecEnv, method by method as its documentation has it."""

import copy
import pickle
import warnings

import cloudpickle
import gymnasium
import jax
import numpy as np
import pytest
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecMonitor

from robo_rl.envs.step import make
from robo_rl.errors import UserError
from robo_rl.interop.sb3 import RobotVecEnv, ScaledReward

TILTED = {"qpos": [0.0, 0.15]}
PUSH = np.ones((3, 1), np.float32)


@pytest.fixture()
def robots():
    return RobotVecEnv(make("inverted-pendulum"), 3)


def start(seed):
    return np.asarray(make("inverted-pendulum").reset(jax.random.key(seed)).observation)


def test_seeds_count_up_and_are_used_once(robots):
    assert robots.seed(7) == [7, 8, 9]
    first = robots.reset()
    np.testing.assert_array_equal(first, [start(7), start(8), start(9)])
    assert not np.isin(robots.reset(), first).any()
    robots.seed(7)
    np.testing.assert_array_equal(robots.reset(), first)
    np.testing.assert_array_equal(RobotVecEnv(robots.env, 3, seed=7).reset(), first)


def test_a_missing_attribute_is_an_attribute_error_that_says_what_is_close(robots):
    with pytest.raises(AttributeError, match=r"inverted-pendulum: no attribute 'control_x'.*'cont"):
        robots.get_attr("control_x")
    assert not robots.has_attr("dummy") and robots.has_attr("control_s")
    with pytest.raises(AttributeError, match="'step'"):
        robots.env_method("step", np.zeros(1))


def test_attributes_are_set_and_read_robot_by_robot(robots):
    robots.set_attr("dummy", 1)
    robots.set_attr("dummy", 2, indices=[0, -1])
    assert robots.get_attr("dummy") == [2, 1, 2] and robots.get_attr("dummy", indices=1) == [1]
    assert robots.env_method("set_wrapper_attr", "other", 5, indices=[1]) == [True]
    assert robots.get_attr("other", [1]) == [5] and not robots.has_attr("other")
    assert robots.get_attr("control_s", indices=[0, 2]) == [0.04, 0.04]
    assert robots.get_attr("spec")[0].id == "robo_rl/inverted-pendulum-v1"
    assert robots.get_attr("unwrapped", 0)[0].action_space == robots.action_space


@pytest.mark.parametrize("name", ["mdp", "control_s", "reset", "render_mode", "action_space"])
def test_what_all_robots_share_cannot_be_set(robots, name):
    with pytest.raises(UserError, match=rf"set_attr\('{name}'\)"):
        robots.set_attr(name, 1)


def test_methods_are_called_for_the_robots_asked_for(robots):
    asked = robots.env_method("to_ctrl", np.array([0.5], np.float32), indices=[0, 2])
    np.testing.assert_allclose(asked, [[1.5], [1.5]])  # the motor's range is [-3, 3]
    assert len(robots.env_method("neutral")) == 3
    assert robots.env_is_wrapped(Monitor) == [False] * 3
    assert robots.env_is_wrapped(Monitor, indices=[1]) == [False]


def test_options_put_each_robot_somewhere_for_one_reset(robots):
    robots.set_options([{}, TILTED, {}])
    seen = robots.reset()
    np.testing.assert_allclose(seen[1], [0.0, 0.15, 0.0, 0.0], atol=1e-7)
    np.testing.assert_array_equal(seen[[0, 2]], [start(0), start(2)])
    assert abs(robots.reset()[1, 1]) < 0.02
    robots.set_options(TILTED)
    np.testing.assert_allclose(robots.reset()[:, 1], 0.15, atol=1e-7)
    robots.set_options({"qpso": [0.0, 0.0]})
    with pytest.raises(UserError, match="Did you mean 'qpos'"):
        robots.reset()
    robots.set_options([TILTED])
    with pytest.raises(UserError, match="1 options for 3 robots"):
        robots.reset()


def test_what_comes_out_of_order_or_shape_is_said_in_words(robots):
    with pytest.raises(UserError, match=r"step\(\) was called before reset\(\)"):
        robots.step(PUSH)
    robots.reset()
    with pytest.raises(UserError, match=r"step_wait\(\) was called before step_async\(\)"):
        robots.step_wait()
    with pytest.raises(ValueError, match=r"an action of shape \(3, 1\) is needed, got \(3, 2\)"):
        robots.step(np.zeros((3, 2)))


def test_an_episode_reports_the_rewards_that_were_paid():
    robots = VecMonitor(RobotVecEnv(make("inverted-pendulum", "energy"), 3))
    bare, scaled = robots.venv, ScaledReward(robots.venv, 0.1)
    bare.reset()
    paid, reported = 0.0, None
    while reported is None:
        _, reward, done, infos = scaled.step(PUSH)
        paid += float(reward[0])
        assert all(info["TimeLimit.truncated"] is False for info in infos)
        reported = infos[0]["episode"] if done[0] else None
    assert paid != 0.0 and reward.dtype == np.float32
    assert reported["r"] == pytest.approx(10 * paid, abs=1e-4) and reported["t"] > 0
    bare.seed(0)
    robots.reset()
    paid = 0.0
    for _ in range(reported["l"]):
        _, reward, done, infos = robots.step(PUSH)
        paid += float(reward[0])
    assert done[0] and infos[0]["episode"]["r"] == pytest.approx(paid, abs=1e-4)


def test_a_diverged_robot_is_told_from_a_fallen_one(robots):
    robots.reset()
    actions = PUSH.copy()
    actions[1] = np.nan
    seen, reward, done, infos = robots.step(actions)
    assert done.tolist() == [False, True, False] and np.isfinite(seen).all() and reward[1] == 0
    assert [info["error"] for info in infos] == [False, True, False]
    assert np.isfinite(infos[1]["terminal_observation"]).all()


@pytest.mark.parametrize("copied", [copy.deepcopy, pickle, cloudpickle])
def test_a_copy_goes_on_as_the_original_does(robots, copied):
    robots.reset()
    robots.set_attr("dummy", 3)
    robots.step(PUSH)
    other = copied(robots) if callable(copied) else copied.loads(copied.dumps(robots))
    assert other.get_attr("dummy") == [3] * 3
    for _ in range(8):
        ours, theirs = robots.step(PUSH), other.step(PUSH)
        for mine, yours in zip(ours[:3], theirs[:3], strict=True):
            np.testing.assert_array_equal(mine, yours)


def test_every_robot_has_its_picture_if_it_was_asked_for(robots):
    assert robots.render_mode is None and robots.get_attr("render_mode") == [None] * 3
    with pytest.warns(UserWarning, match="render_mode='rgb_array'"):
        assert robots.get_images() == [None] * 3
    seen = RobotVecEnv(make("inverted-pendulum"), 2, render_mode="rgb_array")
    assert seen.render_mode == "rgb_array" and "rgb_array" in seen.metadata["render_modes"]
    seen.set_options([{"qpos": [0.0, 0.0]}, {"qpos": [0.5, 0.1]}])
    seen.reset()
    try:
        first, second = seen.get_images()
    except UserError as error:
        pytest.skip(str(error))  # no GL library here
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiled = seen.render()
    assert first.shape == (480, 640, 3) and not np.array_equal(first, second)
    assert tiled.shape == (960, 640, 3) and np.array_equal(tiled[:480], first)
    seen.close()
    with pytest.raises(UserError, match="render_mode 'human'"):
        RobotVecEnv(make("inverted-pendulum"), 2, render_mode="human")


def test_a_vec_env_lives_through_the_episodes_of_gymnasiums_vector(robots):
    envs = gymnasium.make_vec("robo_rl/inverted-pendulum-v1", 3, autoreset_mode="SameStep")
    np.testing.assert_array_equal(robots.reset(), envs.reset(seed=0)[0])
    for _ in range(8):
        seen, reward, done, _ = robots.step(PUSH)
        theirs = envs.step(PUSH)
        np.testing.assert_array_equal(seen, theirs[0])
        np.testing.assert_array_equal(reward, theirs[1].astype(np.float32))
        np.testing.assert_array_equal(done, theirs[2] | theirs[3])
