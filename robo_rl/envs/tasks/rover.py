"""Tasks of the rover: drive to a goal among standing and moving obstacles."""

import jax
import jax.numpy as jnp

from robo_rl.engines.base import Array
from robo_rl.envs.mdp import SETTLED, Goal, Mdp, register
from robo_rl.envs.terms import observations as obs
from robo_rl.envs.terms import resets
from robo_rl.envs.terms.goals import planar_distance_m
from robo_rl.envs.terms.terminations import obstacle_nearer_than, wall_nearer_than
from robo_rl.robots.robot import Robot
from robo_rl.robots.signals import Command
from robo_rl.robots.surroundings import Circles, Surroundings

HALF_WIDTH_M = 4.0
STANDING, MOVING = 5, 2
RADIUS_M = (0.2, 0.4)
MIDDLE_M = (1.7, 3.3)  # half length and half width of the field that holds the obstacles
SWAY_M, SWAY_PERIOD_S = 0.5, (4.0, 12.0)  # of moving obstacles: at most 0.8 m/s, a slow walker
ARRIVED_M = 0.3  # about its own radius
SIDE_M = (3.0, 3.3)  # how far from the middle the goal is


def across() -> Goal:
    """A point on the far side of a field of obstacles."""

    def at(robot: Robot, key: Array, time_s: Array) -> Command:
        ahead, aside = jax.random.uniform(_streams(key)[0], (2,))
        x = SIDE_M[0] + ahead * (SIDE_M[1] - SIDE_M[0])
        return Command(place_w_m=jnp.array([x, 2.8 * (2 * aside - 1)]))

    what = "a point beyond a field of obstacles"
    return Goal(what, at, planar_distance_m, "m", ARRIVED_M, SETTLED)


def obstacles(key: Array, time_s: Array) -> Circles:
    """A field of obstacles, the last MOVING of which sway back and forth."""
    _, field, sizes, sway = _streams(key)
    count = STANDING + MOVING
    centre = jnp.array(MIDDLE_M) * jax.random.uniform(field, (count, 2), minval=-1.0)
    radius = jax.random.uniform(sizes, (count,), minval=RADIUS_M[0], maxval=RADIUS_M[1])
    turn, often, phase = jax.random.uniform(sway, (3, count))
    period_s = SWAY_PERIOD_S[0] + often * (SWAY_PERIOD_S[1] - SWAY_PERIOD_S[0])
    rate = 2 * jnp.pi / period_s
    heading = jnp.stack([jnp.cos(2 * jnp.pi * turn), jnp.sin(2 * jnp.pi * turn)], axis=1)
    reach = jnp.where(jnp.arange(count) < STANDING, 0.0, SWAY_M)[:, None] * heading
    angle = (rate * time_s + 2 * jnp.pi * phase)[:, None]
    return Circles(centre + reach * jnp.sin(angle), reach * rate[:, None] * jnp.cos(angle), radius)


def _streams(key: Array) -> Array:
    """Random keys for the point and for the obstacles' places, sizes and movements."""
    return jax.random.split(key, 4)


@register("rover-navigate", "navigation", "robot")
def rover_navigate() -> Mdp:
    """A 9 kg rover drives across a field of obstacles, two of them moving, to a point."""
    return Mdp(
        robot="rover",
        control_hz=20.0,
        episode_s=20.0,
        observe=(
            obs.proximity("ranges", scale_m=1.0),
            obs.proximity_change("ranges", scale_m=1.0, sectors=12),
            obs.planar_goal(),
            obs.base_velocities(),
            obs.last_action(),
        ),
        rewards="rover-navigate",
        terminate=(obstacle_nearer_than(0.0), wall_nearer_than(0.0)),
        reset=resets.planar((-3.5, -3.0), (-2.8, 2.8), heading_rad=1.5),
        goal=across(),
        surroundings=Surroundings("obstacles within walls", HALF_WIDTH_M, obstacles),
    )
