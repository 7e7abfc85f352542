"""Gymnasium's interface: one robot, many in every autoreset mode, workers, pickles, pictures."""

import copy
import pickle
import subprocess
import sys

import cloudpickle
import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import TimeAwareObservation
from gymnasium.wrappers.vector import DtypeObservation, NormalizeObservation, RescaleObservation

from robo_rl.envs import mdp
from robo_rl.envs.step import make
from robo_rl.errors import UserError
from robo_rl.interop.registration import gymnasium_id

ID = "robo_rl/inverted-pendulum-v1"
NEVER_ENDS = "robo_rl/reacher-v1"  # but for its time limit of 50 steps


@pytest.fixture(scope="module")
def single():
    return gymnasium.make(ID)


@pytest.fixture()
def pair():
    return gymnasium.make_vec(ID, num_envs=2)


FALLING = np.array([[1.0], [0.0]], np.float32)  # robot 0 falls after 3 steps, robot 1 after many


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_native_and_sync_vectors_are_equal_in_every_autoreset_mode(mode):
    native = gymnasium.make_vec(ID, num_envs=2, autoreset_mode=mode, max_episode_steps=8)
    sync = gymnasium.make_vec(
        ID,
        num_envs=2,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode},
        max_episode_steps=8,
    )
    assert native.metadata["autoreset_mode"] is mode is sync.metadata["autoreset_mode"]
    assert data_equivalence(native.reset(seed=7), sync.reset(seed=7), exact=True)
    ended, cut = 0, 0
    for _ in range(40):
        ours, theirs = native.step(FALLING), sync.step(FALLING)
        assert data_equivalence(ours, theirs, exact=True), (ours, theirs)
        done = ours[2] | ours[3]
        ended, cut = ended + done[0], cut + ours[3][1]
        if mode is AutoresetMode.DISABLED and done.any():
            again = {"reset_mask": done}
            assert data_equivalence(
                native.reset(options=again), sync.reset(options={**again}), exact=True
            )
    assert ended >= 2 and cut >= 2


def test_a_seed_means_the_same_start_everywhere(single, pair):
    env = make("inverted-pendulum")
    starts = [np.asarray(env.reset(jax.random.key(s)).observation) for s in (7, 8)]
    np.testing.assert_array_equal(single.reset(seed=7)[0], starts[0])
    np.testing.assert_array_equal(pair.reset(seed=7)[0], starts)
    np.testing.assert_array_equal(pair.reset(seed=[8, 7])[0], starts[::-1])
    again = pair.reset(seed=[8, None])[0]
    np.testing.assert_array_equal(again[0], starts[1])
    assert not np.array_equal(again[1], starts[0])
    with pytest.raises(ValueError, match="3 seeds for 2 robots"):
        pair.reset(seed=[1, 2, 3])


def test_large_seeds_differ_though_their_low_words_are_equal(single):
    first, second = single.reset(seed=5)[0], single.reset(seed=5 + 2**32)[0]
    assert not np.array_equal(first, second)


def test_a_reset_mask_restarts_those_in_it_and_no_other():
    envs = gymnasium.make_vec(ID, num_envs=2, autoreset_mode="Disabled")
    begun, _ = envs.reset(seed=0)
    stepped, *_ = envs.step(FALLING)
    options = {"reset_mask": np.array([True, False])}
    seen, _ = envs.reset(seed=0, options=options)
    np.testing.assert_array_equal(seen, [begun[0], stepped[1]])
    assert list(options) == ["reset_mask"]


@pytest.mark.parametrize(
    ("mask", "kind"),
    [
        (np.array([1, 0]), TypeError),
        ([True, False], TypeError),
        (np.array([True]), ValueError),
        (np.array([False, False]), ValueError),
    ],
)
def test_a_reset_mask_that_is_none_is_refused(pair, mask, kind):
    pair.reset(seed=0)
    with pytest.raises(kind, match="reset_mask") as caught:
        pair.reset(options={"reset_mask": mask})
    assert isinstance(caught.value, UserError)


def test_vector_options_put_all_robots_or_each_somewhere(pair):
    seen, _ = pair.reset(options={"qpos": [0.1, 0.05]})
    np.testing.assert_allclose(seen, [[0.1, 0.05, 0, 0]] * 2, atol=1e-7)
    seen, _ = pair.reset(options={"qpos": [[0.1, 0.05], [0.2, 0.0]], "qvel": [0.0, 0.3]})
    np.testing.assert_allclose(seen, [[0.1, 0.05, 0, 0.3], [0.2, 0, 0, 0.3]], atol=1e-7)
    with pytest.raises(UserError, match=r"'qpso'. Did you mean 'qpos'\? Known: qpos, qvel"):
        pair.reset(options={"qpso": [0, 0]})
    with pytest.raises(UserError, match=r"qpos must be 2 finite numbers, or 2 rows"):
        pair.reset(options={"qpos": np.zeros((3, 2))})


def test_a_finished_robot_is_not_stepped_on_where_autoreset_is_disabled():
    envs = gymnasium.make_vec(ID, num_envs=2, autoreset_mode="Disabled")
    envs.reset(options={"qpos": [[0.0, 0.0], [0.0, 0.25]]})
    assert envs.step(np.zeros((2, 1)))[2].tolist() == [False, True]
    with pytest.raises(UserError, match=r"episodes of \[1\] are over.*reset_mask"):
        envs.step(np.zeros((2, 1)))


@pytest.mark.parametrize("wrap", [NormalizeObservation, DtypeObservation, RescaleObservation])
def test_gymnasiums_vector_wrappers_take_the_native_vector(pair, wrap):
    bounds = np.full(4, np.inf, np.float32)
    given = {"dtype": np.float64} if wrap is DtypeObservation else {}
    given = {"min_obs": -bounds, "max_obs": bounds} if wrap is RescaleObservation else given
    envs = wrap(pair, **given)
    seen, _ = envs.reset(seed=0)
    assert seen.shape == (2, 4)


def test_an_autoreset_mode_that_does_not_exist_names_those_that_do():
    with pytest.raises(UserError, match="NextStep, SameStep, Disabled"):
        gymnasium.make_vec(ID, autoreset_mode="always")


@pytest.mark.parametrize("copied", [copy.deepcopy, pickle, cloudpickle])
@pytest.mark.parametrize("built", ["single", "pair"])
def test_a_copy_goes_on_as_the_original_does(request, built, copied):
    env = request.getfixturevalue(built)
    shape = env.action_space.shape
    env.reset(seed=1)
    env.step(np.full(shape, 0.5, np.float32))
    other = copied(env) if callable(copied) else copied.loads(copied.dumps(env))
    for _ in range(12):  # long enough for a fall and what follows it
        action = np.full(shape, 1.0, np.float32)
        ours, theirs = env.step(action), other.step(action)
        assert data_equivalence(ours, theirs, exact=True)
        if built == "single" and ours[2]:
            assert data_equivalence(env.reset(), other.reset(), exact=True)


@pytest.mark.parametrize("name", mdp.names())
def test_every_environment_can_be_sent_to_another_process(name):
    env = gymnasium.make(gymnasium_id(name))
    other = pickle.loads(pickle.dumps(env))
    assert other.spec == env.spec and other.observation_space == env.observation_space


@pytest.mark.parametrize("name", mdp.names())
def test_every_spec_says_the_time_limit_of_its_mdp(name):
    assert gymnasium.spec(gymnasium_id(name)).max_episode_steps == mdp.get(name).episode_steps


def test_made_and_registered_specs_are_equal_but_for_what_was_given(single):
    assert single.spec.max_episode_steps == 1000
    assert gymnasium.make_vec(ID).spec.max_episode_steps == 1000
    assert gymnasium.spec(ID) == copy.deepcopy(gymnasium.spec(ID))
    assert gymnasium.spec(ID) != gymnasium.spec("robo_rl/hopper-v1")
    assert TimeAwareObservation(single).reset(seed=0)[0].shape == (5,)


def test_registering_loads_no_jax():
    code = (
        "import sys, gymnasium, robo_rl; gymnasium.pprint_registry(disable_print=True);"
        "assert 'jax' not in sys.modules;"
        f"assert gymnasium.spec({ID!r}).max_episode_steps == 1000"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def cut_after(env, most):
    """Steps until every robot is truncated; None where that takes more than `most`."""
    env.reset(seed=0)
    for step in range(1, most + 1):
        *_, terminated, truncated, _ = env.step(np.zeros(env.action_space.shape, np.float32))
        assert not np.any(terminated) and np.all(truncated) == np.any(truncated)
        if np.all(truncated):
            return step
    return None


@pytest.mark.parametrize(("limit", "steps"), [(5, 5), (60, 60), (None, 50), (-1, None)])
def test_a_time_limit_is_honoured_shorter_or_longer_than_the_tasks_own(limit, steps):
    assert cut_after(gymnasium.make(NEVER_ENDS, max_episode_steps=limit), 65) == steps
    envs = gymnasium.make_vec(NEVER_ENDS, num_envs=2, max_episode_steps=limit)
    assert cut_after(envs, 65) == steps


def test_a_senseless_time_limit_is_refused():
    with pytest.raises(UserError, match="max_episode_steps must be 1 or more, or -1"):
        gymnasium.make_vec(ID, max_episode_steps=0)


@pytest.mark.parametrize("action", [0.5, [0.5, 0.5], [[0.5]], ["far"], None])
def test_one_robot_refuses_an_action_of_another_shape(single, action):
    single.reset(seed=0)
    with pytest.raises(ValueError, match=r"inverted-pendulum: an action .*\(1,\)"):
        single.unwrapped.step(action)


@pytest.mark.parametrize("action", [0.5, [0.5], np.zeros((2, 2)), np.zeros((1, 1))])
def test_many_robots_refuse_actions_of_another_shape(pair, action):
    pair.reset(seed=0)
    with pytest.raises(ValueError, match=r"inverted-pendulum: an action of shape \(2, 1\)"):
        pair.step(action)


def test_an_action_beyond_the_box_is_the_one_at_its_edge(single):
    outcomes = []
    for action in ([1.0], [7.0]):
        single.reset(seed=0)
        outcomes.append(single.step(np.array(action, np.float32)))
    assert data_equivalence(*outcomes, exact=True)


def test_observations_belong_to_the_caller(single, pair):
    for env in (single, pair):
        first, _ = env.reset(seed=0)
        kept = first.copy()
        second = env.step(np.zeros(env.action_space.shape, np.float32))[0]
        second[:] = 99.0
        np.testing.assert_array_equal(first, kept)
        assert env.step(np.zeros(env.action_space.shape, np.float32))[0].max() < 99.0


def test_info_is_arrays_that_readers_of_dtype_can_read(single):
    single.reset(seed=0)
    info = single.step(np.zeros(1, np.float32))[4]
    assert info["cost"].dtype == np.float32 and info["error"].dtype == bool
    assert all(value.shape == () for value in info.values())


def test_a_diverged_robot_does_not_look_like_a_fall(single):
    single.reset(seed=0)
    seen, reward, terminated, _, info = single.step(np.array([np.nan], np.float32))
    assert info["error"] and terminated and reward == 0.0 and np.isfinite(seen).all()
    envs = gymnasium.make_vec(ID, num_envs=3, autoreset_mode=AutoresetMode.SAME_STEP)
    envs.reset(seed=0, options={"qpos": [[0.0, 0.0], [0.0, 0.0], [0.0, 0.25]]})
    seen, reward, terminated, _, info = envs.step(np.array([[0.0], [np.nan], [0.0]]))
    assert terminated.tolist() == [False, True, True] and np.isfinite(seen).all()
    assert info["final_info"]["error"].tolist() == [False, True, False]
    assert info["_final_info"].tolist() == [False, True, True] == info["_final_obs"].tolist()
    assert info["_error"].tolist() == [True, False, False] and info["final_obs"][0] is None


def test_workers_forked_from_a_process_that_used_jax_do_not_hang(pair):
    start, _ = pair.reset(seed=3)  # JAX and its threads run in this process
    workers = gymnasium.make_vec(ID, num_envs=2, vectorization_mode="async")
    try:
        workers.reset_async(seed=3)
        seen, _ = workers.reset_wait(timeout=120)
        np.testing.assert_array_equal(seen, start)
        for _ in range(12):
            workers.step_async(FALLING)
            ours, theirs = pair.step(FALLING), workers.step_wait(timeout=120)
            assert data_equivalence(ours, theirs, exact=True)
        assert workers.get_attr("np_random_seed") == (3, 4)
    finally:
        workers.close(terminate=True)


def test_a_worker_reports_what_went_wrong_and_goes_on():
    from robo_rl.interop.apart import Apart
    from robo_rl.interop.gym import robots_of

    robots = Apart(robots_of, "inverted-pendulum", "task", 1, None)
    assert robots.size == (4, 1) and not robots.started
    with pytest.raises(UserError, match="step\\(\\) was called before reset"):
        robots.step(np.zeros((1, 1)))
    seen = robots.restart(np.ones(1, bool), [3], robots.starts({}))
    copied = pickle.loads(pickle.dumps(robots))
    outcome, expected = robots.step(np.ones((1, 1))), copied.step(np.ones((1, 1)))
    np.testing.assert_array_equal(outcome.observation, expected.observation)
    assert not np.array_equal(outcome.observation, seen)
    robots.close()


def test_every_robot_of_a_vector_has_its_picture():
    envs = gymnasium.make_vec(ID, num_envs=2, render_mode="rgb_array")
    assert envs.render_mode == "rgb_array" and envs.metadata["render_modes"] == ["rgb_array"]
    assert gymnasium.make_vec(ID, num_envs=2, render_mode=None).render() is None
    with pytest.raises(UserError, match="render_mode 'human'"):
        gymnasium.make_vec(ID, render_mode="human")
    with pytest.raises(UserError, match=r"render\(\) was called before reset\(\)"):
        envs.render()
    envs.reset(options={"qpos": [[0.0, 0.0], [0.5, 0.1]]})
    try:
        first, second = envs.render()
    except UserError as error:
        pytest.skip(str(error))  # no GL library here
    assert first.shape == (480, 640, 3) and first.dtype == np.uint8 and first.std() > 1
    assert not np.array_equal(first, second)
    envs.close()
