"""Comparisons: which arms there are, and what they are called."""

from robo_rl.compare import Variant, variants


def test_arms_are_every_algorithm_under_every_layer_in_every_trainer():
    arms = variants(["ppo", "sac"], ["task", "safety"], ["jax", "sb3"])
    assert len(arms) == len(set(arms)) == 8
    assert Variant("sac", "safety", "sb3") in arms


def test_our_trainer_needs_no_name_and_another_one_is_named():
    assert str(Variant("ppo", "task")) == "PPO task"
    assert str(Variant("ppo", "task", "sb3")) == "PPO task (sb3)"
