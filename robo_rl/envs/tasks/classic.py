"""Small control tasks equal to Gymnasium v5: reacher and the two inverted pendulums."""

from robo_rl.envs.mdp import Mdp, register
from robo_rl.envs.terms import goals, resets
from robo_rl.envs.terms import observations as obs
from robo_rl.envs.terms.terminations import below, position_outside


@register("reacher", "manipulation", "gymnasium")
def reacher() -> Mdp:
    """A two-joint arm in the plane moves its fingertip to a target."""
    return Mdp(
        robot="reacher",
        control_hz=50.0,
        episode_s=1.0,
        observe=(
            obs.cosines(0, 2),
            obs.sines(0, 2),
            obs.positions(2),
            obs.velocities(0, 2),
            obs.offset("fingertip", "target", axes=2),
        ),
        rewards="reacher",
        terminate=(),
        reset=resets.reaching(0.1, 0.005, target_radius_m=0.2),
        gymnasium_id="Reacher-v5",
        goal=goals.touch("fingertip", "target", tolerance_m=0.05, settled_s=0.2),
    )


@register("inverted-pendulum", "balance", "gymnasium")
def inverted_pendulum() -> Mdp:
    """A cart balances a pole."""
    return Mdp(
        robot="inverted-pendulum",
        control_hz=25.0,
        episode_s=40.0,
        observe=(obs.positions(), obs.velocities()),
        rewards="inverted-pendulum",
        terminate=(position_outside(1, -0.2, 0.2, open_ends=False),),
        reset=resets.uniform(0.01, 0.01),
        gymnasium_id="InvertedPendulum-v5",
    )


@register("inverted-double-pendulum", "balance", "gymnasium")
def inverted_double_pendulum() -> Mdp:
    """A cart balances two poles, one on top of the other."""
    return Mdp(
        robot="inverted-double-pendulum",
        control_hz=20.0,
        episode_s=50.0,
        observe=(
            obs.positions(0, 1),
            obs.sines(1),
            obs.cosines(1),
            obs.velocities(clip=obs.VELOCITY_CLIP),
            obs.constraint_forces(1, clip=10.0),
        ),
        rewards="inverted-double-pendulum",
        terminate=(below("tip", 1.0),),
        reset=resets.uniform_normal(0.1, 0.1),
        gymnasium_id="InvertedDoublePendulum-v5",
    )
