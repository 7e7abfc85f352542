"""The robot folder of an imported policy: the model as published, its drives, its task."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import mujoco
import numpy as np

from robo_rl import content, files
from robo_rl.errors import UserError, lookup, suggestion
from robo_rl.importing.motors import motor_of
from robo_rl.importing.source import Source
from robo_rl.policy.compiling import Actuator
from robo_rl.policy.mapping import Mapping, default_pose, per_joint, targets
from robo_rl.robots import anatomy
from robo_rl.robots.drives import Drive, Physics, set_drives, set_late_armature, set_physics
from robo_rl.robots.published import Published, write_files

TOUCH_M = 0.002  # how far a robot is let into the ground to see on what it stands
FALL_TILT_RAD = np.pi / 3
FALL_HEIGHT_SHARE = 0.5  # of the base's height in its stance
IDLE_SHARE, LARGEST_TOLERANCE_MPS = 0.5, 0.3  # of the error of a robot that stands still
OUTPUTS = 10.0  # the largest output of a network that a drive's span leaves room for
HOLD_TOLERANCE_RAD = 0.1


class Built(NamedTuple):
    """What was made of a robot, for the page and the wiring."""

    name: str
    joints: tuple[str, ...]
    actuators: tuple[Actuator, ...]
    robot: dict[str, Any]
    task: dict[str, Any]


def build(folder: Path, stem: str, published: Published, mapping: Mapping, source: Source) -> Built:
    """Writes envs/NAME/ and rewards/NAME.yaml under a folder. NAME ends in what it was made of.

    Raises UserError for joints that the model does not have, and drives without gains.
    """
    assert mapping.rates
    made = _Robot(published, mapping, source)
    robot = made.robot_file()
    task, rewards = made.task_file(), made.rewards_file()
    parts = [files.plain(x) for x in (robot, task, rewards)]
    sources = {path: files.file_digest(p) for path, p in sorted(published.files.items())}
    digest = files.digest_of({"parts": parts, "files": sources}, {})
    safe = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-") or "robot"
    name = f"{safe}-{digest[:8]}"
    task["rewards"] = name
    place = folder / "envs" / name
    write_files(published, place)
    files.write_yaml(place / "robot.yaml", robot)
    files.write_yaml(place / "task.yaml", task)
    (folder / "rewards").mkdir(parents=True, exist_ok=True)
    files.write_yaml(folder / "rewards" / f"{name}.yaml", rewards)
    return Built(name, made.joints, tuple(made.actuators), robot, task)


class _Robot:
    """A published model with a mapping's drives, pose and task."""

    def __init__(self, published: Published, mapping: Mapping, source: Source):
        self.published, self.mapping, self.source = published, mapping, source
        self.model = published.model
        self.base = self.model.body(published.base_body).id
        self.floats = anatomy.base_joint(self.model, self.base) is not None
        kinds = [int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE)]
        self.joints = tuple(
            self.model.joint(j).name
            for j in range(self.model.njnt)
            if int(self.model.jnt_type[j]) in kinds
        )
        for name in (*mapping.joints, *mapping.driven, *mapping.hold):
            if name not in self.joints:
                raise UserError(
                    f"joints: the model has no joint named {name!r}.{suggestion(name, self.joints)}"
                )
        said = mapping.drives.limit is not None
        self.motors = {n: motor_of(self.model, n, limit_said=said) for n in self.joints}
        self.pose = default_pose(mapping)
        self.home = self._home()
        self.actuators: list[Actuator] = []
        self.drives = self._drives()
        self.moving = np.zeros(self.model.nv)
        if mapping.start.hold_s:
            self._hold(mapping.start.hold_s)

    def robot_file(self) -> dict[str, Any]:
        """robot.yaml of it."""
        published, rates = self.published, self.mapping.rates
        assert rates
        physics: dict[str, Any] = {}
        if rates.physics_hz:
            physics["timestep_s"] = 1.0 / rates.physics_hz
        if rates.integrator:
            physics["integrator"] = rates.integrator
        moving = float(self.model.body_subtreemass[self.base])
        feet, trunk = self._feet(), self._trunk()
        found: dict[str, Any] = {
            "model": published.main,
            "changes": [*published.changes],
            "describe": f"{len(self.joints)} joints, {moving:.4g} kg, from {published.main}.",
            "base_body": published.base_body,
            "ground": published.ground,
            "feet": feet,
            "forbidden_contacts": [g for g in trunk if g not in feet],
            "initial_qpos": [float(x) for x in self.home],
            "initial_qvel": self.moving.tolist() if self.moving.any() else None,
            "initial_ctrl": self._initial_ctrl(),
            "profile": self.mapping.profile or ("legged" if self.floats else "joint-driven"),
            "drives": self.drives,
            "physics": physics or None,
        }
        self.trunk = found["forbidden_contacts"]
        return {k: v for k, v in found.items() if v not in (None, [], {})}

    def task_file(self) -> dict[str, Any]:
        """task.yaml of it; call after robot_file."""
        rates = self.mapping.rates
        assert rates
        if self.mapping.suite and not self.mapping.suite.endswith(".yaml"):
            known = content.files("safety_eval")
            lookup(known, self.mapping.suite, kind="suite", where="mapping")
        common = {
            "task": self.mapping.task,
            "describe": self.mapping.describe or "an imported policy",
            "rewards": "",
            "control_hz": rates.control_hz,
            "tags": [self.mapping.suite or ("locomotion" if self.floats else "manipulation")],
        }
        if self.mapping.task == "hold":
            return {**common, "tolerance": HOLD_TOLERANCE_RAD}
        if not self.floats:
            raise UserError(
                "task: velocity-tracking needs a base that floats: say task: hold, or base=free."
            )
        command = self.mapping.command
        ranges = (command.forward_mps, command.sideways_mps, command.turn_radps)
        tolerance = tolerance_of(ranges)
        self.source.assume(
            "task.tolerance",
            f"{tolerance:.3g} m/s mean error over a second: {100 * IDLE_SHARE:.0f} % of that of a"
            f" robot that stands still, at most {LARGEST_TOLERANCE_MPS:g} m/s",
        )
        self.source.assume(
            "task.fall",
            f"tilt beyond {np.degrees(FALL_TILT_RAD):.0f} degrees, or a base below"
            f" {FALL_HEIGHT_SHARE:g} of its height at the start",
        )
        made = {
            **common,
            "command": dict(
                zip(
                    ("forward_mps", "sideways_mps", "turn_radps"),
                    [[float(a), float(b)] for a, b in ranges],
                    strict=True,
                )
            ),
            "tolerance": round(tolerance, 4),
            "fall": {
                "tilt_rad": round(float(FALL_TILT_RAD), 4),
                "height_m": round(float(self._base_height() * FALL_HEIGHT_SHARE), 4),
            },
        }
        if not self.trunk:
            reason = (
                "the model has no contact shape on its trunk; that it comes down is seen by its"
                " height and tilt, which end the episode"
            )
            made["not_for"] = {"no_collision": reason}
        return made

    def rewards_file(self) -> dict[str, Any]:
        """Reward terms and costs of it; call after robot_file."""
        command = self.mapping.command
        ends = (*command.forward_mps, *command.sideways_mps)
        fastest = max(abs(v) for v in ends)
        costs: dict[str, Any] = {
            "joint_limit": {"term": "joint_limit_violation", "soft_fraction": 1.0},
        }
        if self.mapping.task == "hold":
            return {"task": {"home_offset": {"weight": -1.0}}, "costs": costs}
        costs |= {
            "velocity": {"term": "velocity_violation", "limit_mps": round(1.5 * fastest + 0.5, 3)},
            "tilt": {"term": "tilt_violation", "limit_rad": 0.5},
        }
        if self.trunk:
            costs["contact"] = {"term": "forbidden_contact"}
        return {
            "task": {
                "track": {"term": "goal_tracking_exp", "weight": 1.0, "scale": 0.5},
                "turn": {"term": "yaw_rate_tracking_exp", "weight": 0.5, "scale": 0.5},
            },
            "energy": {"mechanical_power": {"weight": -1.0e-3}},
            "safety": {"tilt_excess": {"weight": -5.0, "limit_rad": 0.3}},
            "costs": costs,
        }

    def _drives(self) -> list[dict[str, Any]]:
        """A drive for each joint, in the order that the compiled model will have actuators in."""
        order = self._actuator_order()
        given = {
            key: per_joint(value, self.mapping.joints, f"drives.{key}") if value is not None else {}
            for key, value in self.mapping.drives
            if key != "armature_is_late"
        }
        offset, scale = targets(self.mapping)
        made = []
        for joint in order:
            driven = joint in self.mapping.driven
            held = joint in self.mapping.hold or (
                not driven and self.motors[joint] is not None and self.motors[joint].servo  # type: ignore[union-attr]
            )
            if not driven and not held:
                if self.motors[joint] is None:
                    continue
                made.append(self._limp(joint))
            else:
                kind = self.mapping.action.drives if driven else "position"
                if not driven and joint not in self.mapping.hold:
                    self.source.assume(f"joint {joint}", "not driven by the policy: held at home")
                size = abs(scale.get(joint, 0.0)) if driven else 0.0
                made.append(self._drive(joint, kind, given, offset.get(joint, 0.0), size))
            servo = self.motors[joint] if made[-1]["kind"] == "position" else None
            clip = (servo.low, servo.high) if servo and servo.servo else ()
            self.actuators.append(Actuator(joint, made[-1]["neutral"], made[-1]["span"], *clip))
        return made

    def _actuator_order(self) -> list[str]:
        """Joints in the order of the model's actuators, then those that have none, tree order."""
        own = [
            self.model.joint(int(self.model.actuator_trnid[i, 0])).name
            for i in range(self.model.nu)
            if self.model.actuator_trntype[i] == int(mujoco.mjtTrn.mjTRN_JOINT)
        ]
        first = list(dict.fromkeys(name for name in own if name in self.joints))
        return first + [name for name in self.joints if name not in first]

    def _limp(self, joint: str) -> dict[str, Any]:
        self.source.assume(f"joint {joint}", "not driven by the policy: no torque")
        return {"joint": joint, "kind": "torque", "neutral": 0.0, "span": 1.0}

    def _drive(
        self,
        joint: str,
        kind: str,
        given: dict[str, dict[str, float]],
        offset: float,
        scale: float,
    ) -> dict[str, Any]:
        motor = self.motors[joint]
        servo = motor if motor and motor.servo else None
        stiffness = given["stiffness"].get(joint, servo.stiffness if servo else 0.0)
        damping = given["damping"].get(joint, servo.damping if servo else 0.0)
        if kind == "position" and not stiffness:
            raise UserError(
                f"drives.stiffness is missing for joint {joint!r}: the model has no position servo"
                " there and the source says no gain."
            )
        limit = given["limit"].get(joint, motor.limit if motor else None)
        index = self.model.joint(joint).id
        neutral = offset if kind == "position" else 0.0
        if kind == "position" and joint not in self.mapping.driven:
            neutral = self.pose.get(joint, self._at_home(joint))
        reach = 0.0
        if kind == "position" and self.model.jnt_limited[index]:
            low, high = self.model.jnt_range[index]
            reach = max(high - neutral, neutral - low, 0.0)
        if kind == "position":
            span = reach + max((limit or 0.0) / stiffness, OUTPUTS * scale, 0.1)
        else:
            span = limit if kind == "torque" and limit else max(OUTPUTS * scale, 1.0)
        if kind == "position":  # a power of two: targets survive single precision
            span = 2.0 ** np.ceil(np.log2(span))
        drive: dict[str, Any] = {
            "joint": joint,
            "kind": kind,
            "stiffness": stiffness if kind == "position" else 0.0,
            "damping": damping,
            "neutral": float(neutral),
            "span": float(span),
            "limit": limit,
            "armature": given["armature"].get(joint),
            "armature_is_late": self.mapping.drives.armature_is_late or None,
            "friction": given["friction"].get(joint),
            "joint_damping": given["joint_damping"].get(joint),
        }
        return {k: v for k, v in drive.items() if v is not None}

    def _initial_ctrl(self) -> list[float] | None:
        """Neutral targets; none where an actuator acts on something else than a joint."""
        own = {int(self.model.actuator_trntype[i]) for i in range(self.model.nu)} - {
            int(mujoco.mjtTrn.mjTRN_JOINT)
        }
        return None if own else [a.neutral for a in self.actuators]

    def _at_home(self, joint: str) -> float:
        return float(self.published.home.qpos[self.model.joint(joint).qposadr[0]])

    def _home(self) -> np.ndarray:
        """Where episodes start, [nq]: the pose asked for, set down unless its height is said."""
        start, model = self.mapping.start, self.model
        if start.pose == "model":
            home = np.array(model.qpos0)
        elif start.pose == "keyframe" or start.keyframe:
            names = [model.key(k).name for k in range(model.nkey)]
            if start.keyframe not in names:
                raise UserError(
                    f"start.keyframe: the model has no keyframe {start.keyframe!r}; it has"
                    f" {', '.join(names) or 'none'}."
                )
            home = np.array(model.key_qpos[names.index(str(start.keyframe))])
        else:
            home = np.array(self.published.home.qpos)
            for name, angle in self.pose.items():
                home[model.joint(name).qposadr[0]] = angle
            home = anatomy.settle(model, home)
            if self.floats and self.published.ground and start.height_m is None:
                home[2] -= anatomy.gap_m(model, home, model.geom(self.published.ground).id)
        if self.floats and start.height_m is not None:
            home[2] = start.height_m
        return home

    def _hold(self, seconds: float) -> None:
        """Lets the drives hold their neutral targets before the policy begins."""
        assert self.mapping.rates
        spec = self.published.spec.copy()
        rates = self.mapping.rates
        timestep = 1.0 / rates.physics_hz if rates.physics_hz else None
        set_physics(spec, Physics(timestep_s=timestep, integrator=rates.integrator))
        drives = tuple(Drive(**drive) for drive in self.drives)
        set_drives(spec, drives, "hold")
        model = spec.compile()
        set_late_armature(model, drives)
        data = mujoco.MjData(model)
        data.qpos[:] = self.home
        neutral = {a.joint: a.neutral for a in self.actuators}
        for i in range(model.nu):
            if int(model.actuator_trntype[i]) == int(mujoco.mjtTrn.mjTRN_JOINT):
                data.ctrl[i] = neutral.get(model.joint(int(model.actuator_trnid[i, 0])).name, 0.0)
        for _ in range(round(seconds / model.opt.timestep)):
            mujoco.mj_step(model, data)
        self.home, self.moving = data.qpos.copy(), data.qvel.copy()

    def _base_height(self) -> float:
        return float(self.home[2]) - self.published.ground_m

    def _standing(self) -> mujoco.MjData:
        """The robot at home, just in touch with the ground."""
        data = mujoco.MjData(self.model)
        data.qpos[:] = self.home
        if self.floats and self.published.ground:
            ground = self.model.geom(self.published.ground).id
            data.qpos[2] -= anatomy.gap_m(self.model, self.home, ground) + TOUCH_M
        mujoco.mj_forward(self.model, data)
        return data

    def _feet(self) -> list[str]:
        """The geoms of the bodies that the robot stands on."""
        if not (self.floats and self.published.ground):
            return []
        ground = self.model.geom(self.published.ground).id
        data, bodies = self._standing(), set()
        for contact in data.contact[: data.ncon]:
            pair = [int(g) for g in contact.geom]
            if ground in pair:
                other = pair[1 - pair.index(ground)]
                bodies.add(int(self.model.geom_bodyid[other]))
        return self._colliding(bodies)

    def _trunk(self) -> list[str]:
        """The contact shapes of the base, and of what is fixed to it."""
        if not self.floats:
            return []
        own = {
            b
            for b in range(1, self.model.nbody)
            if self.model.body_weldid[b] == self.model.body_weldid[self.base]
        }
        heaviest = int(np.argmax(self.model.body_mass))
        return self._colliding(own | {heaviest})

    def _colliding(self, bodies: set[int]) -> list[str]:
        return [
            self.model.geom(g).name
            for g in range(self.model.ngeom)
            if int(self.model.geom_bodyid[g]) in bodies
            and (self.model.geom_contype[g] or self.model.geom_conaffinity[g])
        ]


def tolerance_of(ranges: tuple[tuple[float, float], ...]) -> float:
    """Velocity error, m/s, that a policy may have on average: half of that of standing still."""
    low, high = np.array(ranges).T
    if not np.abs([low, high]).max():
        raise UserError("command: every range is zero: there is nothing that could be tracked.")
    drawn = np.random.default_rng(0).uniform(low, high, (4096, 3))
    idle = float(np.linalg.norm(drawn, axis=1).mean())
    return min(LARGEST_TOLERANCE_MPS, IDLE_SHARE * idle)
