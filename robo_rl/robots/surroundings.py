"""What a planar robot has around it: round obstacles, walls, and the range scan that sees them.

Obstacles are declared by the task as a function of time, not as bodies: they differ from
episode to episode, move as they like, and cost no physics. They cannot be pushed.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from robo_rl.engines.base import Array
from robo_rl.robots.channels import RANGE, Channel

HORIZON_S = 3.0  # beyond this a collision course does not count
FAR_M = 1e3


class Circles(NamedTuple):
    """Round obstacles in the plane."""

    centre_w_m: Array  # [n, 2]
    velocity_w_mps: Array  # [n, 2]
    radius_m: Array  # [n]


class Surroundings(NamedTuple):
    """Obstacles within a square of walls around the origin."""

    name: str
    half_width_m: float
    circles: Callable[[Array, Array], Circles]  # of an episode's key and the time s


class Around(NamedTuple):
    """The truth about what is around a robot: for rewards, costs and judges, never for a policy."""

    obstacles: Circles
    clearance_m: Array  # [] from the hull to the nearest obstacle, negative inside
    wall_m: Array  # [] from the hull to the nearest wall, negative outside the walls
    time_to_collision_s: Array  # [] at constant velocities, at most HORIZON_S


class Lidar(NamedTuple):
    """A planar scanner at the base's origin, and the circle that must stay free."""

    rays: int
    field_rad: float  # centred on the base's x axis
    reach_m: float
    hull_radius_m: float

    @property
    def angles_rad(self) -> np.ndarray:
        """Direction of every ray in the base frame, counter-clockwise, [rays]."""
        return self.field_rad * ((np.arange(self.rays) + 0.5) / self.rays - 0.5)

    @property
    def sizes(self) -> dict[str, int]:
        """The sensors this adds, in their order, with their number of values."""
        return {"ranges": self.rays}

    def channels(self) -> tuple[Channel, ...]:
        """A channel per ray."""
        return tuple(Channel(f"ranges[{k}]", *RANGE, 1.0) for k in range(self.rays))


def look_around(
    lidar: Lidar, circles: Circles, half_width_m: float, position: Array, velocity: Array
) -> Around:
    """What is true around a hull at a position [2] m with a velocity [2] m/s, world."""
    to_centre = jnp.sqrt(jnp.sum((circles.centre_w_m - position) ** 2, axis=1))
    return Around(
        circles,
        jnp.min(to_centre - circles.radius_m - lidar.hull_radius_m, initial=FAR_M),
        half_width_m - jnp.max(jnp.abs(position)) - lidar.hull_radius_m,
        time_to_collision_s(circles, position, velocity, lidar.hull_radius_m),
    )


def scan(lidar: Lidar, circles: Circles, half_width_m: float, pose: Array) -> Array:
    """Distance along every ray to the nearest obstacle or wall, at most the reach, [rays].

    pose: x, y m and heading rad, world.
    """
    angle = pose[2] + lidar.angles_rad
    ray = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
    to_centre = circles.centre_w_m - pose[:2]
    along = ray @ to_centre.T
    across_squared = jnp.sum(to_centre**2, axis=1) - along**2
    half_chord = circles.radius_m**2 - across_squared
    hit = along - jnp.sqrt(jnp.maximum(half_chord, 0.0))
    obstacle: Array = jnp.where((half_chord > 0) & (hit > 0), hit, FAR_M)
    safe = jnp.where(jnp.abs(ray) > 1e-6, ray, 1e-6)
    wall = (jnp.sign(safe) * half_width_m - pose[:2]) / safe
    nearest = jnp.minimum(jnp.min(obstacle, axis=1, initial=FAR_M), jnp.min(wall, axis=1))
    return jnp.clip(nearest, 0.0, lidar.reach_m)


def time_to_collision_s(
    circles: Circles, position: Array, velocity: Array, radius_m: float
) -> Array:
    """First tau at which the distance is the sum of radii, at constant velocities, s.

    At most HORIZON_S, which also stands for never; 0 in contact.
    """
    apart, closing = circles.centre_w_m - position, circles.velocity_w_mps - velocity
    reach = circles.radius_m + radius_m
    a = jnp.maximum(jnp.sum(closing**2, axis=1), 1e-9)
    b = jnp.sum(apart * closing, axis=1)
    c = jnp.sum(apart**2, axis=1) - reach**2
    root = b**2 - a * c
    first = (-b - jnp.sqrt(jnp.maximum(root, 0.0))) / a
    meets = (root > 0) & (b < 0)
    time_s = jnp.where(c <= 0, 0.0, jnp.where(meets, first, HORIZON_S))
    return jnp.clip(jnp.min(time_s, initial=HORIZON_S), 0.0, HORIZON_S)
