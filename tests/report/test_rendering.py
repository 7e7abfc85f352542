"""What is drawn beside the robot: where it should go, as large as its tolerance, and obstacles."""

import jax
import numpy as np
import pytest

from robo_rl.envs import mdp
from robo_rl.envs.step import make
from robo_rl.report.rendering import marks
from robo_rl.robots.signals import Command


def test_a_rover_is_drawn_among_its_obstacles_and_its_goal():
    env = make("rover-navigate")
    start = env.reset(jax.random.key(0))
    place, *obstacles = marks(env.mdp, start.command, start.signals.around)
    assert place.position_w_m == pytest.approx((*np.asarray(start.command.place_w_m), 0.0))
    assert place.size_m == (0.3, 0.3, 0.3)
    circles = start.signals.around.obstacles
    assert [o.size_m[0] for o in obstacles] == pytest.approx(np.asarray(circles.radius_m).tolist())
    found = [o.position_w_m[:2] for o in obstacles]
    np.testing.assert_allclose(found, circles.centre_w_m, atol=1e-6)


def test_a_command_that_is_no_place_is_not_drawn():
    walk = Command(velocity_b_mps=np.zeros(2), yaw_rate_radps=np.zeros(()))
    assert marks(mdp.get("quadruped-velocity"), walk, None) == []
    assert marks(mdp.get("hopper"), Command(), None) == []
