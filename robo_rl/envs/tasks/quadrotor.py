"""Tasks of the small quadrotor: hold a point, fly from point to point."""

from dataclasses import replace

from robo_rl.envs.mdp import Mdp, register
from robo_rl.envs.terms import goals, resets
from robo_rl.envs.terms import observations as obs
from robo_rl.envs.terms.terminations import goal_error_above, tilted_beyond


@register("quadrotor-hover", "flight", "robot")
def quadrotor_hover() -> Mdp:
    """A 27 g quadrotor recovers from a tilted, moving start and holds a point."""
    return Mdp(
        robot="quadrotor",
        control_hz=100.0,
        episode_s=8.0,
        observe=(
            obs.base_to_goal(),
            obs.base_rotation(),
            obs.velocities(),
            obs.last_action(),
        ),
        rewards="quadrotor",
        terminate=(goal_error_above(1.0), tilted_beyond(1.5)),
        reset=resets.floating(0.3, 0.3, 0.3, 0.5),
        goal=goals.hold(1.0, tolerance_m=0.1),
    )


@register("quadrotor-waypoint", "flight", "robot")
def quadrotor_waypoint() -> Mdp:
    """A 27 g quadrotor flies to a new point every three seconds."""
    return replace(
        quadrotor_hover(),
        episode_s=12.0,
        terminate=(goal_error_above(3.0), tilted_beyond(1.5)),
        goal=goals.waypoints(0.6, (0.7, 1.3), every_s=3.0, tolerance_m=0.15),
    )
