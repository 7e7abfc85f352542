"""Tasks that a file declares: envs/<robot>/task.yaml makes an MDP of its robot without any code.

The robot offers its signals in its own order and units; what a policy makes of them is the
policy's mapping.
"""

import functools
from dataclasses import replace
from pathlib import Path
from typing import Literal

import jax.numpy as jnp
import mujoco
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

from robo_rl import content, files
from robo_rl.engines.base import Array
from robo_rl.envs.mdp import ENTRIES, Entry, Mdp, ObservationTerm, Termination
from robo_rl.envs.terms import goals, resets
from robo_rl.envs.terms.terminations import base_below, tilted_beyond
from robo_rl.robots import offered
from robo_rl.robots.robot import Robot, load_robot
from robo_rl.robots.signals import Measured, given

TASK = "task.yaml"
Range = tuple[float, float]


class Model(BaseModel):
    """A part of the file: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Ranges(Model):
    """In which ranges commands are drawn, and how often another one is."""

    forward_mps: Range
    sideways_mps: Range
    turn_radps: Range
    every_s: PositiveFloat = 5.0


class Fall(Model):
    """When the episode is over."""

    tilt_rad: PositiveFloat  # from the robot's own stance
    height_m: PositiveFloat  # of the base above the ground


class Noise(Model):
    """How far a start is from home."""

    joint_rad: float = Field(default=0.05, ge=0)
    tilt_rad: float = Field(default=0.02, ge=0)
    speed_mps: float = Field(default=0.05, ge=0)
    rate_radps: float = Field(default=0.05, ge=0)


class TaskFile(Model):
    """envs/<robot>/task.yaml."""

    task: Literal["velocity-tracking", "hold"]
    describe: str
    rewards: str
    control_hz: PositiveFloat
    episode_s: PositiveFloat = 20.0
    tags: tuple[str, ...]  # the first that is the name of a suite judges it
    command: Ranges | None = None
    tolerance: PositiveFloat  # m/s of velocity-tracking, rad of hold
    fall: Fall | None = None
    start: Noise = Noise()
    not_for: dict[str, str] = {}  # criteria and scenarios that do not apply to it, and why


def found() -> dict[str, Entry]:
    """The tasks that files declare, by the name of their robot."""
    paths = {
        path.parent.name: path
        for place in reversed(content.folders("envs"))
        for path in sorted(place.glob(f"*/{TASK}"))
    }
    return {name: _entry(name, path) for name, path in paths.items()}


def digest(name: str) -> str | None:
    """SHA-256 of the files that declare a task and its rewards; None for one in code."""
    path = next(
        (p for place in content.folders("envs") if (p := place / name / TASK).is_file()), None
    )
    if path is None:
        return None
    rewards = path.parents[2] / "rewards" / f"{name}.yaml"
    parts = [p.read_text() for p in (path, rewards) if p.is_file()]
    return files.digest("\0".join(parts).encode())


def _entry(name: str, path: Path) -> Entry:
    file = _read(path)
    return Entry(functools.partial(_mdp, name, path), frozenset(file.tags))


@functools.cache
def _read(path: Path) -> TaskFile:
    problems = content.Problems(path)
    file = content.parse(TaskFile, path, problems)
    if file.task == "velocity-tracking":
        for key in ("command", "fall"):
            if getattr(file, key) is None:
                problems.add((key,), "is missing: velocity-tracking needs it.")
    problems.demand()
    return file


def _mdp(name: str, path: Path) -> Mdp:
    file, robot = _read(path), load_robot(name)
    held = Mdp(
        robot=name,
        control_hz=file.control_hz,
        episode_s=file.episode_s,
        observe=frame(robot),
        rewards=file.rewards,
        terminate=(),
        reset=resets.uniform(file.start.joint_rad, 0.0),
        goal=goals.hold_home(file.tolerance),
        not_for=file.not_for,
    )
    if file.task == "hold":
        return held
    assert file.command and file.fall
    ranges, start = file.command, file.start
    return replace(
        held,
        terminate=_falls(file.fall),
        reset=resets.floating(
            0.0, start.tilt_rad, start.speed_mps, start.rate_radps, joint_rad=start.joint_rad
        ),
        goal=goals.follow_velocity(
            ranges.forward_mps,
            ranges.sideways_mps,
            ranges.turn_radps,
            ranges.every_s,
            file.tolerance,
        ),
    )


def _falls(fall: Fall) -> tuple[Termination, ...]:
    return tilted_beyond(fall.tilt_rad), base_below(fall.height_m)


def joint_names(robot: Robot) -> tuple[str, ...]:
    """The joints of one degree of freedom, in the order of the model."""
    return tuple(robot.model.joint(int(j)).name for j in _joints(robot))


def _joints(robot: Robot) -> np.ndarray:
    kinds = [int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE)]
    return np.flatnonzero(np.isin(robot.model.jnt_type, kinds))


def frame(robot: Robot) -> tuple[ObservationTerm, ...]:
    """What the robot offers a mapping: joints, base, command, the model's own sensors."""
    model, joints = robot.model, _joints(robot)
    qpos, qvel = model.jnt_qposadr[joints], model.jnt_dofadr[joints]
    found = [
        ObservationTerm(offered.POSITION, "rad, m", lambda r, s: s.qpos[qpos]),
        ObservationTerm(offered.VELOCITY, "rad/s, m/s", lambda r, s: s.qvel[qvel]),
    ]
    if model.njnt and int(model.jnt_type[0]) == int(mujoco.mjtJoint.mjJNT_FREE):
        found += [
            ObservationTerm(offered.QUATERNION, "1", lambda r, s: s.qpos[3:7]),
            ObservationTerm(offered.LINEAR, "m/s", lambda r, s: s.qvel[:3]),
            ObservationTerm(offered.ANGULAR, "rad/s", lambda r, s: s.qvel[3:6]),
            ObservationTerm(offered.HEIGHT, "m", lambda r, s: s.qpos[2:3]),
            ObservationTerm(offered.COMMAND, "m/s, rad/s", _command),
        ]
    own = own_sensors(robot)
    if own:
        found.append(ObservationTerm(offered.SENSORS, "as declared", lambda r, s: s.sensors[:own]))
    return tuple(found)


def own_sensors(robot: Robot) -> int:
    """How many numbers the model's own sensors give, before those that the suite adds."""
    model = robot.model
    ends = [
        int(model.sensor_adr[i] + model.sensor_dim[i])
        for i in range(model.nsensor)
        if not model.sensor(i).name.startswith(("force/", "contact/"))
    ]
    return max(ends, default=0)


def _command(robot: Robot, s: Measured) -> Array:
    asked = given(s.command.velocity_b_mps, "a velocity command")
    turn = given(s.command.yaw_rate_radps, "a yaw rate command")
    return jnp.concatenate([asked, jnp.reshape(turn, 1)])


ENTRIES.declared_by(found)
