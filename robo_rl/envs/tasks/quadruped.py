"""Tasks of the quadruped: walk as commanded, on flat and on rough ground."""

from dataclasses import replace

from robo_rl.envs.mdp import Mdp, register
from robo_rl.envs.terms import goals, resets
from robo_rl.envs.terms import observations as obs
from robo_rl.envs.terms.terminations import base_below, tilted_beyond, touched_down
from robo_rl.robots.terrain import Terrain


@register("quadruped-velocity", "locomotion", "robot")
def quadruped_velocity() -> Mdp:
    """A 13 kg quadruped walks at commanded velocities that change every five seconds."""
    return Mdp(
        robot="quadruped",
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
        rewards="quadruped-velocity",
        terminate=(tilted_beyond(1.0), base_below(0.12)),
        reset=resets.floating(0.0, 0.05, 0.2, 0.2, joint_rad=0.1),
        goal=goals.walk((-0.3, 0.8), 0.25, 0.5, every_s=5.0, gait_hz=2.0, tolerance_mps=0.2),
    )


@register("quadruped-rough", "locomotion", "robot")
def quadruped_rough() -> Mdp:
    """The quadruped walks as commanded, without seeing it, over ground of 4 cm bumps."""
    return replace(
        quadruped_velocity(),
        rewards="quadruped-rough",
        terminate=(tilted_beyond(1.0), base_below(0.12), touched_down()),
        goal=goals.walk((-0.3, 0.5), 0.2, 0.5, every_s=5.0, gait_hz=2.0, tolerance_mps=0.2),
        terrain=Terrain(bump_m=0.04, grain_m=0.2, half_width_m=20.0),
        reset=resets.floating(0.0, 0.05, 0.2, 0.2, joint_rad=0.1, anywhere_m=6.0),
    )
