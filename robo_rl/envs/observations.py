"""Observation terms: what a policy sees of the measured signals."""

import jax.numpy as jnp
import numpy as np

from robo_rl.envs.mdp import Observe

VELOCITY_CLIP = 10.0  # Gymnasium's hopper, walker2d and double pendulum clip here


def positions(start: int = 0, stop: int | None = None) -> Observe:
    """Joint positions [start:stop], in the unit of each joint."""
    return Observe(_name("qpos", start, stop), "m, rad", lambda robot, s: s.qpos[start:stop])


def velocities(start: int = 0, stop: int | None = None, clip: float = np.inf) -> Observe:
    """Joint velocities [start:stop], clipped at +-clip."""
    name = _name("qvel", start, stop) + (f" clipped at {clip:g}" if np.isfinite(clip) else "")
    return Observe(name, "m/s, rad/s", lambda robot, s: jnp.clip(s.qvel[start:stop], -clip, clip))


def cosines(start: int = 0, stop: int | None = None) -> Observe:
    """Cosine of joint angles [start:stop]."""
    return Observe(
        f"cos {_name('qpos', start, stop)}", "1", lambda robot, s: jnp.cos(s.qpos[start:stop])
    )


def sines(start: int = 0, stop: int | None = None) -> Observe:
    """Sine of joint angles [start:stop]."""
    return Observe(
        f"sin {_name('qpos', start, stop)}", "1", lambda robot, s: jnp.sin(s.qpos[start:stop])
    )


def constraint_forces(stop: int, clip: float) -> Observe:
    """Constraint forces on the first joints, clipped at +-clip."""
    name = f"{_name('qfrc_constraint', 0, stop)} clipped at {clip:g}"
    return Observe(
        name, "N, N m", lambda robot, s: jnp.clip(s.constraint_force[:stop], -clip, clip)
    )


def offset(of: str, to: str, axes: int) -> Observe:
    """Position of one frame sensor relative to another, world frame, first `axes` axes."""

    def read(robot, s):  # noqa: ANN001, ANN202
        return (s.sensors[robot.sensor(of)] - s.sensors[robot.sensor(to)])[:axes]

    return Observe(f"{of} - {to}", "m", read)


def _name(what: str, start: int, stop: int | None) -> str:
    return (
        what if start == 0 and stop is None else f"{what}[{start}:{'' if stop is None else stop}]"
    )
