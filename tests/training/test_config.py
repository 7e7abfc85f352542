"""Configurations: presets complete, mistakes named with what is close."""

import pytest

from robo_rl import content, errors
from robo_rl.envs import mdp
from robo_rl.training import config


@pytest.mark.parametrize("algo", ["ppo", "sac"])
@pytest.mark.parametrize("env", mdp.names())
def test_every_environment_has_a_complete_preset(algo, env):
    resolved = config.resolve({"env": env, "algo": algo})
    assert resolved.hyper.steps == resolved.steps
    assert env in content.read_yaml(content.find("configs", algo))["envs"]


def test_steps_and_overrides_reach_the_algorithm():
    given = config.parse(
        ["env=hopper", "algo=ppo", "steps=5000", "ppo.learning_rate=1e-4", "seed=3"]
    )
    resolved = config.resolve(given)
    assert resolved.steps == 5000 and resolved.hyper.learning_rate == 1e-4 and resolved.seed == 3
    assert resolved.out == "runs/hopper-ppo-task-s3"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["env=hopper", "algo=ppo", "ppo.learning_rat=1"],
            "ppo.learning_rat.*Did you mean 'ppo.learning_rate'",
        ),
        (["env=hopper", "algo=ppo", "sede=1"], "sede.*Did you mean 'seed'"),
        (["env=hopper", "algo=pop"], "pop.*Did you mean 'ppo'"),
        (["env=hopper"], "algo=... is missing"),
        (["algo=ppo"], "env=... is missing"),
        (["env=hopper", "algo=ppo", "seed=-1"], "seed"),
        (["env=hopper", "algo=ppo", "steps=many"], "steps"),
        (["env=hopper", "algo=ppo", "reward=safty"], "reward"),
        (["hopper"], "key=value expected"),
        (["env=hopper", "algo=ppo", "start=RUN", "trainer=sb3"], "start=RUN needs trainer=jax"),
        (["env=hopper", "algo=ppo", "curriculum=true"], "needs randomize=PROFILE"),
        (["env=hopper", "algo=ppo", "ppo=5"], "ppo=5: hyperparameters are set as ppo.NAME=VALUE"),
        (["env=hopper", "algo=ppo", "sac.steps=5"], "^train: sac.steps=5 has no effect with algo"),
        (["env=hopper", "algo=ppo", "out=${x}"], "a variable that nothing here fills in"),
        (["env=hopper", "algo=ppo", "out="], "out"),
    ],
)
def test_a_mistake_is_named(words, message):
    with pytest.raises(errors.UserError, match=message):
        config.resolve(config.parse(words))


def test_a_run_folder_names_what_is_not_the_default():
    words = {"env": "hopper", "algo": "ppo", "seed": 3}
    assert config.resolve(words).out == "runs/hopper-ppo-task-s3"
    assert config.resolve(words | {"start": "RUN"}).out == "runs/hopper-ppo-task-started-s3"
    other = words | {"randomize": "legged", "engine": "mjx", "trainer": "sb3"}
    assert config.resolve(other).out == "runs/hopper-ppo-task-randomized-mjx-sb3-s3"


def test_everything_that_is_wrong_is_said_at_once():
    words = ["env=hoper", "ppo.learning_rat=1", "seed=-1", "randomize=leged", "rewrad=task"]
    with pytest.raises(errors.UserError) as error:
        config.resolve(config.parse(words))
    for wanted in (
        "no environment named 'hoper'. Did you mean 'hopper'",
        "algo=... is missing",
        "Did you mean 'ppo.learning_rate'",
        "seed=-1",
        "Did you mean 'legged'",
        "Did you mean 'reward'",
    ):
        assert wanted in str(error.value), wanted


def test_a_folder_may_be_called_by_a_number():
    words = ["env=hopper", "algo=ppo", "out=007"]
    assert config.resolve(config.parse(words)).out == "007"


@pytest.mark.parametrize(("robots", "updates"), [(64, 32), (16, 8), (1, 1)])
def test_sac_learns_as_often_per_environment_step_with_any_number_of_robots(robots, updates):
    """The preset: 32 updates after a step of 64 robots, 0.5 a step."""
    given = {"env": "hopper", "algo": "sac", "sac": {"robots": robots}}
    hyper = config.resolve(given).hyper
    assert hyper.updates_per_step == updates
    assert f": {updates / robots:.3g} per environment step" in hyper.in_words()
    both = {**given, "sac": {"robots": robots, "updates_per_step": 7}}
    assert config.resolve(both).hyper.updates_per_step == 7
