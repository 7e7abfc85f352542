"""Drives that a robot.yaml gives its joints, in place of what the model says or lacks."""

from typing import Any, Literal

import mujoco
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

from robo_rl.errors import UserError

INTEGRATORS = {
    "Euler": mujoco.mjtIntegrator.mjINT_EULER,
    "implicit": mujoco.mjtIntegrator.mjINT_IMPLICIT,
    "implicitfast": mujoco.mjtIntegrator.mjINT_IMPLICITFAST,
    "RK4": mujoco.mjtIntegrator.mjINT_RK4,
}


class Drive(BaseModel):
    """One joint's drive: force = stiffness (target - q) - damping qd, at every physics step.

    Of a velocity drive, damping (target - qd); of a torque drive, the target itself. Units: N m and
    rad of a hinge, N and m of a slide. A command of 0 asks for `neutral`, one of +-1 for
    neutral +- span.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    joint: str
    kind: Literal["position", "velocity", "torque"]
    stiffness: float = Field(default=0.0, ge=0)
    damping: float = Field(default=0.0, ge=0)
    neutral: float = 0.0
    span: PositiveFloat
    limit: PositiveFloat | None = None  # largest force; None: that of the model, if it has one
    armature: float | None = Field(default=None, ge=0)  # None: the model's
    armature_is_late: bool = False  # set on the compiled model: contact constants stay the file's
    friction: float | None = Field(
        default=None, ge=0
    )  # dry friction of the joint; None: the model's
    joint_damping: float | None = Field(default=None, ge=0)  # passive; None: the model's


class Physics(BaseModel):
    """Solver settings in place of the model's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timestep_s: PositiveFloat | None = None
    integrator: Literal["Euler", "implicit", "implicitfast", "RK4"] | None = None


def set_physics(spec: Any, physics: Physics) -> None:
    """Change a model's solver settings."""
    if physics.timestep_s is not None:
        spec.option.timestep = physics.timestep_s
    if physics.integrator is not None:
        spec.option.integrator = INTEGRATORS[physics.integrator]


def set_drives(spec: Any, drives: tuple[Drive, ...], where: str) -> None:
    """Give joints of a model their drives; an actuator that is there is changed, else one is added.

    Raises UserError for a joint that the model does not have.
    """
    joints = {joint.name: joint for joint in spec.joints}
    for drive in drives:
        if drive.joint not in joints:
            raise UserError(f"{where}: drives: no joint named {drive.joint!r}.")
        joint = joints[drive.joint]
        for field, value in (
            ("armature", None if drive.armature_is_late else drive.armature),
            ("frictionloss", drive.friction),
            ("damping", drive.joint_damping),
        ):
            if value is not None:
                setattr(joint, field, value)
        own, *more = _actuators_of(spec, drive.joint) or [
            spec.add_actuator(name=drive.joint, target=drive.joint)
        ]
        for other in more:
            spec.delete(other)
        _set_actuator(own, drive)
    _fit_keyframes(spec)


def set_late_armature(model: mujoco.MjModel, drives: tuple[Drive, ...]) -> None:
    """Rotor inertias that deployment code sets on a compiled model and no constant follows.

    MuJoCo derives how stiff a contact is from the inertias that a model is compiled with.
    """
    for drive in drives:
        if drive.armature_is_late and drive.armature is not None:
            model.dof_armature[model.joint(drive.joint).dofadr[0]] = drive.armature


def _actuators_of(spec: Any, joint: str) -> list[Any]:
    return [
        a for a in spec.actuators if a.trntype == mujoco.mjtTrn.mjTRN_JOINT and a.target == joint
    ]


def _set_actuator(actuator: Any, drive: Drive) -> None:
    gain = {"position": drive.stiffness, "velocity": drive.damping, "torque": 1.0}[drive.kind]
    bias = {
        "position": [0.0, -drive.stiffness, -drive.damping],
        "velocity": [0.0, 0.0, -drive.damping],
        "torque": [0.0, 0.0, -drive.damping],
    }[drive.kind]
    actuator.trntype = mujoco.mjtTrn.mjTRN_JOINT
    actuator.dyntype = mujoco.mjtDyn.mjDYN_NONE
    actuator.gaintype, actuator.biastype = mujoco.mjtGain.mjGAIN_FIXED, mujoco.mjtBias.mjBIAS_AFFINE
    actuator.gainprm = [gain] + [0.0] * 9
    actuator.biasprm = bias + [0.0] * 7
    actuator.gear = [1.0] + [0.0] * 5
    actuator.ctrlrange = [drive.neutral - drive.span, drive.neutral + drive.span]
    actuator.inheritrange = 0.0
    actuator.ctrllimited = mujoco.mjtLimited.mjLIMITED_TRUE
    if drive.limit is not None:
        actuator.forcerange = [-drive.limit, drive.limit]
        actuator.forcelimited = mujoco.mjtLimited.mjLIMITED_TRUE


def _fit_keyframes(spec: Any) -> None:
    """A keyframe's control has as many numbers as there are actuators."""
    count = len(list(spec.actuators))
    for key in spec.keys:
        if len(key.ctrl) not in (0, count):
            key.ctrl = []
