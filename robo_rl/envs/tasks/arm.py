"""Tasks of the six-joint servo arm: reach a point, follow a joint trajectory."""

from robo_rl.envs.mdp import Mdp, register
from robo_rl.envs.terms import goals, resets
from robo_rl.envs.terms import observations as obs

CONTROL_HZ = 50.0  # what the servo bus carries


@register("arm-reach", "manipulation", "robot")
def arm_reach() -> Mdp:
    """A six-joint servo arm moves its gripper's tip to a point and holds it there."""
    return Mdp(
        robot="arm",
        control_hz=CONTROL_HZ,
        episode_s=4.0,
        observe=(
            obs.positions(),
            obs.velocities(),
            obs.last_action(),
            obs.goal(),
            obs.to_goal("tip"),
        ),
        rewards="arm-reach",
        terminate=(),
        reset=resets.joints_anywhere(0.3),
        goal=goals.reach("tip", 1.2, (0.16, 0.32), (0.05, 0.30), (0.039, 0.0), 0.02),
    )


@register("arm-track", "manipulation", "robot")
def arm_track() -> Mdp:
    """A six-joint servo arm follows smooth trajectories of all its joints."""
    return Mdp(
        robot="arm",
        control_hz=CONTROL_HZ,
        episode_s=8.0,
        observe=(obs.positions(), obs.velocities(), obs.last_action(), obs.goal()),
        rewards="arm-track",
        terminate=(),
        reset=resets.joints_anywhere(0.3),
        goal=goals.joint_waves(
            share=0.35,
            slowest_s=8.0,
            fastest_s=2.0,
            ahead_s=0.1,
            tolerance_rad=0.1,
            lean_rad={"shoulder_lift": -0.6},  # the trajectory itself stays clear of the table
        ),
    )
