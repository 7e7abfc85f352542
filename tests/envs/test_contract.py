"""The contract every registered environment keeps; registering one tests it."""

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import robo_rl
from robo_rl import content
from robo_rl.envs import mdp
from robo_rl.envs.step import make
from robo_rl.interop.registration import gymnasium_id

STEPS = 40
_rollouts = {}


def rollout(name, seed):
    """Observations, rewards, terms and costs of a few robots under random actions."""
    if name not in _rollouts:
        env = make(name, "safety")

        def run(key):
            def one(state, key):
                action = jax.random.uniform(key, (4, env.action_size), minval=-1, maxval=1)
                state, outcome = env.step_autoreset(state, action)
                return state, outcome

            start = env.reset_batch(jax.random.split(key, 4))
            _, outcomes = jax.lax.scan(one, start, jax.random.split(key, STEPS))
            return start.observation, outcomes

        _rollouts[name] = jax.jit(run)
    return _rollouts[name](jax.random.key(seed))


SOMETIMES_CONSTANT = {"inverted-double-pendulum": 1}  # the rail pushes only at its ends: last entry


@pytest.mark.parametrize("name", mdp.names())
class TestEveryEnvironment:
    def test_a_seed_fixes_the_trajectory_and_another_seed_changes_it(self, name):
        first, again, other = (np.asarray(rollout(name, s)[1].observation) for s in (0, 0, 1))
        np.testing.assert_array_equal(first, again)
        assert np.isfinite(first).all()
        assert not np.array_equal(first, other)

    def test_observations_vary_and_resets_differ(self, name):
        start, outcomes = rollout(name, 0)
        spread = np.asarray(outcomes.observation).std(axis=(0, 1))
        assert spread[: spread.size - SOMETIMES_CONSTANT.get(name, 0)].min() > 0
        assert len(np.unique(np.asarray(start), axis=0)) == 4

    def test_terms_sum_to_the_reward_and_costs_to_the_cost(self, name):
        _, o = rollout(name, 0)
        np.testing.assert_allclose(sum(o.terms.values()), o.reward, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(sum(o.costs.values()), o.cost, rtol=1e-6)
        assert all((np.asarray(c) >= 0).all() for c in o.costs.values())

    def test_safety_and_energy_terms_never_pay(self, name):
        _, o = rollout(name, 0)
        for w in make(name, "safety").rewards.weighted:
            if w.layer != "task":
                assert (np.asarray(o.terms[w.name]) <= 0).all(), w.name

    def test_gymnasium_and_sb3_accept_it(self, name):
        env = gymnasium.make(gymnasium_id(name), reward="safety")
        check_env(env.unwrapped, skip_render_check=True)
        sb3_check_env(env.unwrapped)


def test_importing_the_package_registers_every_environment_and_no_other():
    ours = {i for i in gymnasium.registry if i.startswith("robo_rl/")}
    assert ours == {gymnasium_id(name) for name in mdp.names()}
    assert robo_rl.__version__


def test_an_unknown_environment_names_the_near_miss():
    with pytest.raises(content.UserError, match="hoper.*Did you mean 'hopper'"):
        make("hoper")


def test_an_unknown_reward_layer_names_what_exists():
    with pytest.raises(content.UserError, match="safty.*Did you mean 'safety'"):
        make("hopper", "safty")


def test_a_name_is_never_registered_twice():
    with pytest.raises(ValueError, match="already registered by robo_rl.envs.locomotion"):
        mdp.register("hopper")(lambda: None)
