"""A curriculum starts closed, opens what the policy copes with, closes what it does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from robo_rl.errors import UserError
from robo_rl.policy.stored import load_policy
from robo_rl.robots.robot import load_robot
from robo_rl.sim2real.profiles import load_profile
from robo_rl.training import config, run
from robo_rl.training.curriculum import begin, build, judge, row_under_test

PROFILE = load_profile("joint-driven")


@pytest.fixture(scope="module")
def ladder():
    return build(load_robot("inverted-pendulum"), PROFILE, episode_s=5.0, seed=0)


def same(a, b):
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: np.allclose(x, y, atol=1e-6), a, b)))


def test_a_closed_curriculum_disturbs_nothing(ladder):
    for k in range(10):
        assert same(ladder(jax.random.key(k), ladder.initial_limits), ladder.nominal)


def test_only_the_opened_row_departs_and_within_its_limit(ladder):
    row = ladder.applied.index("mass_error")
    limits = ladder.initial_limits.at[row].set(0.5)
    draws = jax.vmap(lambda key: ladder(key, limits))(jax.random.split(jax.random.key(0), 200))
    masses = np.asarray(draws.plant.mass_scale)[:, 1:]
    nominal = ladder.nominal._replace(plant=ladder.nominal.plant)
    others = draws._replace(
        plant=draws.plant._replace(mass_scale=np.ones_like(draws.plant.mass_scale))
    )
    first = jax.tree.map(lambda x: np.asarray(x)[0], others)
    assert same(first, nominal)
    reach = 0.5 * PROFILE.rows["mass_error"].trained[1]
    assert 0.5 * reach < np.abs(masses - 1).max() <= reach + 1e-3


def test_every_row_is_tested_and_some_episodes_are_undisturbed(ladder):
    rows = len(ladder.applied)
    keys = jax.random.split(jax.random.key(0), 60 * (rows + 1))
    tested = np.asarray(jax.vmap(lambda key: row_under_test(key, rows))(keys))
    assert set(tested) == set(range(rows + 1))
    limits = jnp.ones(rows)
    for key in keys[np.flatnonzero(tested == rows)[:3]]:
        assert same(ladder(key, limits), ladder.nominal)


def test_a_row_opens_at_80_percent_and_closes_below_half():
    scores = begin(3)._replace(limits=jnp.array([0.3, 0.3, 0.3]))
    count = jnp.array([8.0, 8.0, 8.0, 8.0])
    judged = judge(scores, count, count * jnp.array([81.0, 60.0, 40.0, 100.0]))
    np.testing.assert_allclose(judged.limits, [0.4, 0.3, 0.2], atol=1e-6)
    np.testing.assert_allclose(judged.count, [0, 0, 0, 4])


def test_negative_returns_are_judged_alike_and_limits_stay_within_the_range():
    scores = begin(2)._replace(limits=jnp.array([1.0, 0.0]))
    count = jnp.array([8.0, 8.0, 8.0])
    judged = judge(scores, count, count * jnp.array([-10.0, -30.0, -10.0]))
    np.testing.assert_array_equal(judged.limits, [1.0, 0.0])


def test_too_few_episodes_change_nothing_and_are_kept():
    judged = judge(begin(1), jnp.array([7.0, 20.0]), jnp.array([7.0, 20.0]))
    assert float(judged.limits[0]) == 0.0 and float(judged.count[0]) == 7.0


def test_training_opens_rows_and_says_so_in_the_contract(tmp_path):
    words = {"env": "inverted-pendulum", "algo": "ppo", "randomize": "joint-driven"}
    tiny = {"robots": 16, "unroll": 16, "epochs": 1, "hidden": [8], "steps": 8_000}
    made = config.resolve(
        {**words, "curriculum": True, "ppo": tiny, "out": str(tmp_path / "run"), "eval_points": 0}
    )
    run.train(made, Console(quiet=True))
    rows = run.read_rows(tmp_path / "run" / "metrics.csv")
    limits = {k: v for k, v in rows[-1].items() if k.startswith("curriculum/")}
    assert 0.0 < max(limits.values()) <= 1.0
    assert all(v == 0.0 for k, v in rows[0].items() if k.startswith("curriculum/"))
    assert load_policy(tmp_path / "run").contract["randomized"]["curriculum"]


def test_a_curriculum_without_a_profile_is_refused():
    with pytest.raises(UserError, match="curriculum=true needs randomize"):
        config.resolve({"env": "hopper", "algo": "ppo", "curriculum": True})
