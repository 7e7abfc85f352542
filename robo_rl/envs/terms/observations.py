"""Observation terms: what a policy sees of the measured signals."""

import jax.numpy as jnp
import numpy as np

from robo_rl.envs.mdp import ObservationTerm
from robo_rl.robots.signals import given, rotation_matrix

CHANGE_CLIP = 0.2  # what a walker at arm's length brings in the time of the lag
PLACE = "a place to be at"
VELOCITY_CLIP = 10.0  # Gymnasium's hopper, walker2d and double pendulum clip here


def positions(start: int = 0, stop: int | None = None) -> ObservationTerm:
    """Joint positions [start:stop], in the unit of each joint."""
    return ObservationTerm(
        _name("qpos", start, stop), "m, rad", lambda robot, s: s.qpos[start:stop]
    )


def velocities(start: int = 0, stop: int | None = None, clip: float = np.inf) -> ObservationTerm:
    """Joint velocities [start:stop], clipped at +-clip."""
    name = _name("qvel", start, stop) + (f" clipped at {clip:g}" if np.isfinite(clip) else "")
    return ObservationTerm(
        name, "m/s, rad/s", lambda robot, s: jnp.clip(s.qvel[start:stop], -clip, clip)
    )


def cosines(start: int = 0, stop: int | None = None) -> ObservationTerm:
    """Cosine of joint angles [start:stop]."""
    return ObservationTerm(
        f"cos {_name('qpos', start, stop)}", "1", lambda robot, s: jnp.cos(s.qpos[start:stop])
    )


def sines(start: int = 0, stop: int | None = None) -> ObservationTerm:
    """Sine of joint angles [start:stop]."""
    return ObservationTerm(
        f"sin {_name('qpos', start, stop)}", "1", lambda robot, s: jnp.sin(s.qpos[start:stop])
    )


def constraint_forces(stop: int, clip: float) -> ObservationTerm:
    """Constraint forces on the first joints, clipped at +-clip."""
    name = f"{_name('qfrc_constraint', 0, stop)} clipped at {clip:g}"
    return ObservationTerm(
        name, "N, N m", lambda robot, s: jnp.clip(s.constraint_force[:stop], -clip, clip)
    )


def offset(of: str, to: str, axes: int) -> ObservationTerm:
    """Position of one frame sensor relative to another, world frame, first `axes` axes."""

    def read(robot, s):  # noqa: ANN001, ANN202
        return (s.sensors[robot.sensor(of)] - s.sensors[robot.sensor(to)])[:axes]

    return ObservationTerm(f"{of} - {to}", "m", read)


def last_action() -> ObservationTerm:
    """The action of the last step, in [-1, 1]."""
    return ObservationTerm("last action", "1", lambda robot, s: s.action)


def goal() -> ObservationTerm:
    """What the task asks for now, every part of its command in a row."""
    return ObservationTerm("goal", "as the goal", lambda robot, s: s.command.vector)


def to_goal(frame: str) -> ObservationTerm:
    """Goal position minus the position of a frame sensor, world frame."""

    def read(robot, s):  # noqa: ANN001, ANN202
        return given(s.command.place_w_m, PLACE) - s.sensors[robot.sensor(frame)]

    return ObservationTerm(f"goal - {frame}", "m", read)


def base_to_goal() -> ObservationTerm:
    """Goal position minus the position of a free-floating base, world frame."""
    return ObservationTerm(
        "goal - base", "m", lambda robot, s: given(s.command.place_w_m, PLACE) - s.qpos[:3]
    )


def base_rotation() -> ObservationTerm:
    """Rotation matrix of a free-floating base to the world, row by row, from its quaternion."""
    return ObservationTerm(
        "base rotation", "1", lambda robot, s: rotation_matrix(s.qpos[3:7]).reshape(9)
    )


def gravity_in_base() -> ObservationTerm:
    """Unit vector of gravity in the frame of a free-floating base: what a resting IMU senses."""
    return ObservationTerm(
        "gravity direction", "1", lambda robot, s: -rotation_matrix(s.qpos[3:7])[2]
    )


def base_velocities() -> ObservationTerm:
    """Linear and angular velocity of a free-floating base, both in its own frame."""

    def read(robot, s):  # noqa: ANN001, ANN202
        linear = rotation_matrix(s.qpos[3:7]).T @ s.qvel[:3]
        return jnp.concatenate([linear, s.qvel[3:6]])

    return ObservationTerm("base velocity in base", "m/s, rad/s", read)


def joint_offsets() -> ObservationTerm:
    """Joint positions minus the home pose, behind a free-floating base; no ball, no loose part."""

    def read(robot, s):  # noqa: ANN001, ANN202
        home = robot.qpos0.astype(np.float32)
        at = robot.model.jnt_qposadr[robot.scalar_joints]
        if len(at) == robot.model.nq - 7:  # these are all there is
            return s.qpos[7:] - home[7:]
        return s.qpos[at] - home[at]

    return ObservationTerm("qpos[7:] - home", "rad", read)


def joint_velocities() -> ObservationTerm:
    """Speeds of hinges and slides, rad/s and m/s; no base that floats, no ball, no loose part."""

    def read(robot, s):  # noqa: ANN001, ANN202
        return s.qvel[robot.model.jnt_dofadr[robot.scalar_joints]]

    return ObservationTerm("joint velocities", "rad/s, m/s", read)


def proximity(ranges: str, scale_m: float) -> ObservationTerm:
    """How near what a range sensor sees is: exp(-range / scale), in (0, 1]."""
    name = f"exp(-{ranges} / {scale_m:g} m)"
    return ObservationTerm(
        name, "1", lambda robot, s: jnp.exp(-s.sensors[robot.sensor(ranges)] / scale_m)
    )


def proximity_change(ranges: str, scale_m: float, sectors: int) -> ObservationTerm:
    """By sector, proximity of the nearest now less that of the lagged ranges.

    Above zero where something comes nearer; within +-CHANGE_CLIP, as an edge that enters a sector
    is no speed.
    """

    def read(robot, s):  # noqa: ANN001, ANN202
        rays = robot.sensor(ranges)
        now, before = (
            jnp.exp(-jnp.min(scan[rays].reshape(sectors, -1), axis=1) / scale_m)
            for scan in (s.sensors, s.sensors_lagged)
        )
        return jnp.clip(now - before, -CHANGE_CLIP, CHANGE_CLIP)

    return ObservationTerm(
        f"change of exp(-{ranges} / {scale_m:g} m), {sectors} sectors", "1", read
    )


def planar_goal() -> ObservationTerm:
    """Goal minus the position of a free-floating base, in the base's frame, x and y."""

    def read(robot, s):  # noqa: ANN001, ANN202
        offset = jnp.append(given(s.command.place_w_m, PLACE)[:2] - s.qpos[:2], 0.0)
        return (rotation_matrix(s.qpos[3:7]).T @ offset)[:2]

    return ObservationTerm("goal in base", "m", read)


def _name(what: str, start: int, stop: int | None) -> str:
    return (
        what if start == 0 and stop is None else f"{what}[{start}:{'' if stop is None else stop}]"
    )
