"""Termination terms: conditions on the true signals under which an episode is over."""

import jax.numpy as jnp

from robo_rl.envs.mdp import End

INF = float("inf")


def position_outside(joint: int, low: float, high: float, *, open_ends: bool = True) -> End:
    """One joint position leaves its interval; with open_ends the borders themselves are outside."""

    def met(robot, s):  # noqa: ANN001, ANN202
        q = s.qpos[joint]
        return ~((q > low) & (q < high)) if open_ends else ~((q >= low) & (q <= high))

    return End(f"qpos[{joint}] outside [{low:g}, {high:g}]", met)


def state_outside(limit: float) -> End:
    """Any entry of (qpos, qvel), the first two left out, reaches +-limit."""

    def met(robot, s):  # noqa: ANN001, ANN202
        return jnp.any(jnp.abs(jnp.concatenate([s.qpos, s.qvel])[2:]) >= limit)

    return End(f"|state[2:]| >= {limit:g}", met)


def below(sensor: str, height_m: float) -> End:
    """A frame sensor's height is at or under a limit."""
    return End(
        f"{sensor} height <= {height_m:g} m",
        lambda robot, s: s.sensors[robot.sensor(sensor)][2] <= height_m,
    )
