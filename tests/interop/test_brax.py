"""Under Brax's own training wrappers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brax.envs.wrappers import training

from robo_rl.envs.step import EPISODE, make
from robo_rl.errors import UserError
from robo_rl.interop.brax import BraxEnv

LENGTH = 6


@pytest.fixture(scope="module")
def wrapped():
    env = training.wrap(BraxEnv(make("reacher")), episode_length=LENGTH)
    return jax.jit(env.reset), jax.jit(env.step)


def test_no_auto_reset_repeats_an_episode(wrapped):
    reset, step = wrapped
    keys = jax.random.split(jax.random.key(0), 2)
    state = reset(jax.vmap(jax.random.key_data)(keys))
    episodes = []
    for _ in range(4):
        seen = []
        for k in range(LENGTH):
            seen.append(np.asarray(state.obs))
            state = step(state, jnp.full((2, 2), 0.3))
            assert state.done.tolist() == [float(k == LENGTH - 1)] * 2
        episodes.append(np.stack(seen))
    for robot in range(2):
        for k in range(LENGTH):  # no observation of an episode comes again in another one
            rows = np.stack([episode[k, robot] for episode in episodes])
            assert len(np.unique(rows, axis=0)) == 4

    ours = make("reacher").reset_batch
    following = jax.vmap(lambda key: jax.random.fold_in(key, EPISODE))
    for episode in episodes[:3]:  # the episodes that our own vectors live through
        np.testing.assert_array_equal(episode[0], jax.jit(ours)(keys).observation)
        keys = following(keys)


def test_a_diverged_robot_is_told_from_a_fallen_one(wrapped):
    reset, step = wrapped
    state = reset(jnp.zeros((2, 2), jnp.uint32))
    assert state.metrics["error"].tolist() == [0.0, 0.0]
    state = step(state, jnp.array([[0.1, 0.1], [jnp.nan, 0.1]]))
    assert state.metrics["error"].tolist() == [0.0, 1.0] == state.done.tolist()
    assert state.info["episode_metrics"]["error"].tolist() == [0.0, 1.0]
    assert state.reward[1] == 0.0
    for leaf in (state.obs, state.reward, state.done, *state.metrics.values()):
        assert np.isfinite(leaf).all()
    state = step(state, jnp.zeros((2, 2)))
    assert state.done.tolist() == [0.0, 0.0] == state.metrics["error"].tolist()


def test_actions_of_another_width_are_refused():
    env = BraxEnv(make("reacher"))
    state = jax.eval_shape(env.reset, jax.random.PRNGKey(0))
    with pytest.raises(UserError, match="reacher: 2 actions are needed, got shape"):
        jax.eval_shape(env.step, state, jnp.zeros(1))
    assert env.dt == pytest.approx(0.02)
