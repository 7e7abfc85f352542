"""The contract every registered environment keeps; registering one tests it."""

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import robo_rl
from robo_rl import errors
from robo_rl.envs import mdp
from robo_rl.envs.authoring import check
from robo_rl.envs.step import make
from robo_rl.interop.registration import gymnasium_id

BULLET_STEPS = 12
ON_MJX = "rover-navigate"  # contacts, a lidar, obstacles; the others: benchmarks/contract.py


@pytest.mark.parametrize("name", mdp.names())
class TestEveryEnvironment:
    def test_it_keeps_the_contract_on_mujoco(self, name):
        check.demand(check.check(name))

    def test_it_keeps_the_contract_on_bullet(self, name):
        check.demand(check.check(name, "bullet", BULLET_STEPS))

    def test_gymnasium_and_sb3_accept_it(self, name):
        env = gymnasium.make(gymnasium_id(name), reward="safety")
        check_env(env.unwrapped, skip_render_check=True)
        sb3_check_env(env.unwrapped)


def test_an_environment_keeps_the_contract_on_mjx():
    check.demand(check.check(ON_MJX, "mjx", BULLET_STEPS))


def test_a_broken_contract_names_its_sentence():
    findings = [check.Finding("resets vary", False, "1 of 4"), check.Finding("fine", True, "")]
    with pytest.raises(errors.UserError, match=r"resets vary \(1 of 4\)\.$"):
        check.demand(findings)


def test_importing_the_package_registers_every_environment_and_no_other():
    ours = {i for i in gymnasium.registry if i.startswith("robo_rl/")}
    assert ours == {gymnasium_id(name) for name in mdp.names()}
    assert robo_rl.__version__


def test_an_unknown_environment_names_the_near_miss():
    with pytest.raises(errors.UserError, match="hoper.*Did you mean 'hopper'"):
        make("hoper")


def test_an_unknown_reward_layer_names_what_exists():
    with pytest.raises(errors.UserError, match="safty.*Did you mean 'safety'"):
        make("hopper", "safty")


def test_a_name_is_never_registered_twice():
    with pytest.raises(ValueError, match="already registered by robo_rl.envs.tasks.locomotion"):
        mdp.register("hopper")(lambda: None)
