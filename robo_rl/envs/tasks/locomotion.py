"""Locomotion tasks equal to Gymnasium v5: hopper, walker2d, halfcheetah, swimmer, ant."""

from robo_rl.envs.mdp import Mdp, register
from robo_rl.envs.terms import observations as obs
from robo_rl.envs.terms import resets
from robo_rl.envs.terms.terminations import INF, position_outside, state_outside


@register("hopper", "locomotion", "gymnasium")
def hopper() -> Mdp:
    """A one-legged robot hops forward in the plane."""
    return Mdp(
        robot="hopper",
        control_hz=125.0,
        episode_s=8.0,
        observe=(obs.positions(1), obs.velocities(clip=obs.VELOCITY_CLIP)),
        rewards="hopper",
        terminate=(
            state_outside(100.0),
            position_outside(1, 0.7, INF),
            position_outside(2, -0.2, 0.2),
        ),
        reset=resets.uniform(5e-3, 5e-3),
        gymnasium_id="Hopper-v5",
    )


@register("walker2d", "locomotion", "gymnasium")
def walker2d() -> Mdp:
    """A two-legged robot walks forward in the plane."""
    return Mdp(
        robot="walker2d",
        control_hz=125.0,
        episode_s=8.0,
        observe=(obs.positions(1), obs.velocities(clip=obs.VELOCITY_CLIP)),
        rewards="walker2d",
        terminate=(position_outside(1, 0.8, 2.0), position_outside(2, -1.0, 1.0)),
        reset=resets.uniform(5e-3, 5e-3),
        gymnasium_id="Walker2d-v5",
    )


@register("halfcheetah", "locomotion", "gymnasium")
def halfcheetah() -> Mdp:
    """A two-legged cheetah runs forward in the plane; it is never terminated."""
    return Mdp(
        robot="halfcheetah",
        control_hz=20.0,
        episode_s=50.0,
        observe=(obs.positions(1), obs.velocities()),
        rewards="halfcheetah",
        terminate=(),
        reset=resets.uniform_normal(0.1, 0.1),
        gymnasium_id="HalfCheetah-v5",
    )


@register("ant", "locomotion", "gymnasium")
def ant() -> Mdp:
    """A four-legged robot walks along world x; without contact forces in observation and reward."""
    return Mdp(
        robot="ant",
        control_hz=20.0,
        episode_s=50.0,
        observe=(obs.positions(2), obs.velocities()),
        rewards="ant",
        terminate=(position_outside(2, 0.2, 1.0, open_ends=False),),
        reset=resets.uniform_normal(0.1, 0.1),
        gymnasium_id="Ant-v5",
    )


@register("humanoid", "locomotion", "gymnasium")
def humanoid() -> Mdp:
    """A humanoid walks along world x, seeing joint positions and velocities only."""
    return Mdp(
        robot="humanoid",
        control_hz=200.0 / 3.0,
        episode_s=15.0,
        observe=(obs.positions(2), obs.velocities()),
        rewards="humanoid",
        terminate=(position_outside(2, 1.0, 2.0),),
        reset=resets.uniform(1e-2, 1e-2),
        gymnasium_id="Humanoid-v5",
    )


@register("swimmer", "locomotion", "gymnasium")
def swimmer() -> Mdp:
    """A three-link swimmer moves along world x in a viscous plane; it is never terminated."""
    return Mdp(
        robot="swimmer",
        control_hz=25.0,
        episode_s=40.0,
        observe=(obs.positions(2), obs.velocities()),
        rewards="swimmer",
        terminate=(),
        reset=resets.uniform(0.1, 0.1),
        gymnasium_id="Swimmer-v5",
    )
