"""Tasks of the biped: walk as commanded."""

from robo_rl.envs.mdp import Mdp, register
from robo_rl.envs.terms import goals, resets
from robo_rl.envs.terms import observations as obs
from robo_rl.envs.terms.terminations import base_below, tilted_beyond


@register("biped-velocity", "locomotion", "robot")
def biped_velocity() -> Mdp:
    """A 16 kg biped walks at commanded velocities that change every five seconds."""
    return Mdp(
        robot="biped",
        control_hz=50.0,
        episode_s=20.0,
        observe=(
            obs.gravity_in_base(),
            obs.base_velocities(),
            obs.joint_offsets(),
            obs.velocities(6),
            obs.last_action(),
            obs.goal(),
        ),
        rewards="biped-velocity",
        terminate=(tilted_beyond(0.8), base_below(0.35)),
        reset=resets.floating(0.0, 0.05, 0.1, 0.1, joint_rad=0.05),
        goal=goals.walk((-0.1, 0.5), 0.1, 0.4, every_s=5.0, gait_hz=1.5, tolerance_mps=0.2),
    )
