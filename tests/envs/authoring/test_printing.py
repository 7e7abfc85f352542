"""`robo-rl envs` says the whole MDP."""

import pytest
from rich.console import Console

from robo_rl.envs import mdp
from robo_rl.envs.authoring.printing import list_table, mdp_table


def text(made):
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(made)
    return console.export_text()


@pytest.mark.parametrize("name", ["hopper", "arm-reach", "quadruped-rough"])
def test_every_part_of_an_mdp_is_printed(name):
    declared, shown = mdp.get(name), text(mdp_table(name))
    for word in ("observation", "action in [-1, 1]", "reward layer", "constraint (cost)", "Reset:"):
        assert word in shown
    for entry in declared.observe:
        assert entry.name in shown
    for end in declared.terminate:
        assert end.name in shown
    assert f"{declared.episode_s:g} s = {declared.episode_steps} steps" in shown


def test_a_goal_is_printed_with_its_tolerance():
    assert "met when the settled goal error is at most 0.02 m" in text(mdp_table("arm-reach"))


def test_a_term_is_printed_with_what_it_pays():
    shown = text(mdp_table("hopper"))
    assert "[0, 1]" in shown and "(-inf, 0]" in shown and "(-inf, inf)" in shown


def test_all_environments_are_listed():
    shown = text(list_table())
    assert all(name in shown for name in mdp.names())
