"""Rough ground: a height field in place of a model's ground plane."""

import functools
from dataclasses import dataclass

import jax.numpy as jnp
import mujoco
import numpy as np

from robo_rl.engines.base import Array

BELOW_M = 0.2  # thickness of the ground under its lowest point


@dataclass(frozen=True)
class Terrain:
    """Bumps of random height on a square grid around the origin, joined by plane facets.

    The ground is the same in every episode; what differs is where on it an episode starts.
    """

    bump_m: float  # from the lowest to the highest point
    grain_m: float  # distance between grid points
    half_width_m: float
    seed: int = 0

    @functools.cached_property
    def heights_m(self) -> np.ndarray:
        """Height of every grid point above the plane it replaces, [y, x], uniform, float32."""
        points = round(2 * self.half_width_m / self.grain_m) + 1
        drawn = np.random.default_rng(self.seed).uniform(size=(points, points))
        share = (drawn - drawn.min()) / (drawn.max() - drawn.min())
        return (self.bump_m * share).astype(np.float32)

    def replace_plane(self, spec: mujoco.MjSpec, ground: str) -> None:
        """Makes the geom `ground` of a model this terrain; its friction and contacts stay."""
        rows, columns = self.heights_m.shape
        spec.add_hfield(
            name="terrain",
            nrow=rows,
            ncol=columns,
            size=[self.half_width_m, self.half_width_m, self.bump_m, BELOW_M],
            userdata=(self.heights_m / self.bump_m).ravel().tolist(),
        )
        geom = spec.geom(ground)
        geom.type, geom.hfieldname = mujoco.mjtGeom.mjGEOM_HFIELD, "terrain"

    def height_m(self, at_m: Array) -> Array:
        """Height of the ground at x, y [..., 2], bilinear between grid points, m, [...]."""
        heights = jnp.asarray(self.heights_m)
        place = jnp.clip(self._grid(at_m), 0.0, len(heights) - 1)
        low = jnp.clip(jnp.floor(place).astype(jnp.int32), 0, len(heights) - 2)
        x, y = jnp.moveaxis(place - low, -1, 0)
        column, row = jnp.moveaxis(low, -1, 0)
        near = heights[row, column] * (1 - x) + heights[row, column + 1] * x
        far = heights[row + 1, column] * (1 - x) + heights[row + 1, column + 1] * x
        return near * (1 - y) + far * y

    def highest_m(self, at_m: Array, reach_m: float) -> Array:
        """Upper bound (m) of the ground height in the square of this half width around at_m."""
        heights, steps = jnp.asarray(self.heights_m), int(np.ceil(reach_m / self.grain_m + 0.5))
        nearest = jnp.rint(self._grid(at_m)).astype(jnp.int32)[:, None]
        column, row = jnp.clip(nearest + np.arange(-steps, steps + 1), 0, len(heights) - 1)
        return jnp.max(heights[row[:, None], column])

    def _grid(self, at_m: Array) -> Array:
        return (at_m + self.half_width_m) / self.grain_m
