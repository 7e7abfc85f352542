"""The mapping of a policy: which signals it sees, in which order and scale, and what it drives.

One format for every source (docs/mapping.md, `robo-rl import --schema`). It is data: read from
YAML, checked, stored in the run folder, and compiled against a robot into the arrays of a Wiring.
"""

import math
from typing import Annotated, Any, Literal, NamedTuple

import mujoco
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from robo_rl.errors import UserError, lookup, suggestion
from robo_rl.policy.stored import Wired
from robo_rl.policy.wiring import Clock, Layout, Mount, Wiring
from robo_rl.robots import offered

FORMAT = "robo_rl.mapping/1"
Pair = tuple[float, float]
PerJoint = float | tuple[float, ...] | dict[str, float]
UNLIMITED = 1e9

SIGNALS = {  # signal -> (size, meaning); -1: one per joint
    "base_linear_velocity": (3, "velocity of the base, m/s; frame: base or world"),
    "base_angular_velocity": (3, "turning rate of the base, rad/s; frame: base or world"),
    "gravity_direction": (3, "the world's down direction as a unit vector; frame: base or world"),
    "base_orientation": (4, "quaternion of the base; order: wxyz or xyzw"),
    "roll_pitch_yaw": (3, "Euler angles of the base, rad"),
    "base_height": (1, "height of the base above the world's origin, m"),
    "joint_position": (-1, "rad or m; minus: default subtracts the default pose"),
    "joint_velocity": (-1, "rad/s or m/s"),
    "last_action": (0, "the network's last output, as clipped by action.clip"),
    "command": (3, "forward m/s, sideways m/s, yaw rate rad/s, in the base's frame"),
    "clock": (0, "sine or cosine of a gait clock; period_s, waves"),
    "sensor": (0, "a sensor of the model by its name; gravity: true reads a quaternion's down"),
    "constant": (0, "fixed numbers; values"),
}


class Model(BaseModel):
    """A part of the mapping: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Wave(Model):
    """One number of a gait clock: function(2 pi (t / period_s + offset))."""

    function: Literal["sin", "cos"]
    offset: float = 0.0  # share of a period, beside that of the term


class Term(Model):
    """One entry of the observation, in the order in which the network takes them.

    value = (clipped(signal - minus)) * scale, and as many past ones as `history` says.
    """

    signal: str
    name: str | None = None  # what the source calls it
    frame: Literal["base", "world"] = "base"
    at: str | None = None  # a site or body on the base: where the sensor sits
    order: Literal["wxyz", "xyzw"] = "wxyz"  # of a quaternion
    sensor: str | None = None
    gravity: bool = False
    joints: tuple[str, ...] | None = None  # in this order; all of `joints` if left out
    axes: tuple[int, ...] | None = None  # these numbers of the signal only
    minus: Literal["default"] | PerJoint | None = None
    scale: float | tuple[float, ...] = 1.0
    clip: Pair | None = None  # before the scale
    history: PositiveInt = 1
    period_s: PositiveFloat | None = None
    phase: float = 0.0  # of the clock at the first observation, share of a period
    waves: tuple[Wave, ...] = ()
    values: tuple[float, ...] = ()


class Observation(Model):
    """All terms, and how their past is stacked."""

    terms: Annotated[tuple[Term, ...], Field(min_length=1)]
    clip: PositiveFloat | None = None  # of every number, at the end
    history: PositiveInt = 1  # frames of all terms, where the whole is stacked
    stacked: Literal["per_term", "whole"] = "per_term"
    newest: Literal["last", "first"] = "last"
    starts: Literal["first", "zero"] = "first"  # the past is the first frame, or zeros


class Action(Model):
    """What the output drives: target = offset + scale * clipped output, joint by joint."""

    drives: Literal["position", "velocity", "torque"] = "position"
    joints: tuple[str, ...] | None = None  # in the order of the output; `joints` if left out
    scale: PerJoint = 1.0
    offset: Literal["default"] | PerJoint = "default"
    clip: Pair | tuple[Pair, ...] | None = None


class Drives(Model):
    """How joints follow: force = stiffness (target - q) - damping qd, at every physics step.

    N m and rad of a hinge, N and m of a slide. What is left out is the model's own.
    """

    stiffness: PerJoint | None = None
    damping: PerJoint | None = None
    limit: PerJoint | None = None  # largest force
    armature: PerJoint | None = None
    armature_is_late: bool = False  # set on the compiled model; its contact constants stay
    friction: PerJoint | None = None
    joint_damping: PerJoint | None = None


class Rates(Model):
    """How often the policy acts, and the physics steps."""

    control_hz: PositiveFloat
    physics_hz: PositiveFloat | None = None  # the model's own timestep if left out
    integrator: Literal["Euler", "implicit", "implicitfast", "RK4"] | None = None


class Start(Model):
    """The pose that episodes start around."""

    pose: Literal["default", "model", "keyframe"] = "default"
    keyframe: str | None = None
    height_m: float | None = None  # of the base; set down on the ground if left out
    hold_s: float = Field(
        default=0.0, ge=0
    )  # the drives hold the default pose so long before the policy


class Command(Model):
    """What the task asks for: where it starts and in which ranges it is drawn."""

    initial: tuple[float, float, float] = (0.0, 0.0, 0.0)
    forward_mps: Pair = (-0.5, 1.0)
    sideways_mps: Pair = (-0.3, 0.3)
    turn_radps: Pair = (-0.5, 0.5)


class Normaliser(Model):
    """(observation - mean) / deviation, clipped at +-clip, in front of the network."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    clip: PositiveFloat | None = None


class NetworkSaid(Model):
    """What a file of weights alone does not say."""

    activation: str | None = None
    normalise: Normaliser | None = None


class Mapping(Model):
    """A policy's wiring as a file says it; see the module."""

    format: Literal["robo_rl.mapping/1"] = FORMAT
    describe: str = ""
    environment: str | None = None  # an environment of the suite, observed and driven as it is
    reward: str = "task"
    task: Literal["velocity-tracking", "hold"] = "velocity-tracking"
    joints: tuple[str, ...] = ()  # the policy's order; lists elsewhere follow it
    default: PerJoint = 0.0  # rad: the pose that actions are relative to
    hold: dict[str, float] = {}  # joints that the policy does not drive, and where they are held
    rates: Rates | None = None
    start: Start = Start()
    observation: Observation | None = None
    action: Action = Action()
    drives: Drives = Drives()
    command: Command = Command()
    network: NetworkSaid = NetworkSaid()
    profile: str | None = None
    suite: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> "Mapping":
        if self.environment is None:
            for key in ("rates", "observation", "joints"):
                if not getattr(self, key):
                    raise ValueError(f"{key} is missing: it is said nowhere and cannot be guessed")
        return self

    @property
    def driven(self) -> tuple[str, ...]:
        """The joints of the output, in its order."""
        return self.action.joints or self.joints


def per_joint(given: PerJoint, joints: tuple[str, ...], where: str) -> dict[str, float]:
    """A value for each joint; UserError where a list has another length or a name is unknown."""
    if isinstance(given, dict):
        for name in given:
            if name not in joints:
                raise UserError(f"{where}: no joint named {name!r}.{suggestion(name, joints)}")
        return {name: float(value) for name, value in given.items()}
    if isinstance(given, tuple | list):
        if len(given) != len(joints):
            raise UserError(f"{where}: {len(given)} values for {len(joints)} joints.")
        return dict(zip(joints, map(float, given), strict=True))
    return dict.fromkeys(joints, float(given))


def default_pose(mapping: Mapping) -> dict[str, float]:
    """The pose that actions are relative to, by joint; rad or m."""
    pose = per_joint(mapping.default, mapping.joints, "default")
    return {name: pose.get(name, 0.0) for name in mapping.joints} | mapping.hold


def targets(mapping: Mapping) -> tuple[dict[str, float], dict[str, float]]:
    """(offset, scale) of each driven joint's target, in the unit of what is driven."""
    names, pose = mapping.driven, default_pose(mapping)
    scale = per_joint(mapping.action.scale, names, "action.scale")
    if mapping.action.offset == "default":
        rests = mapping.action.drives == "position"
        return {n: pose.get(n, 0.0) if rests else 0.0 for n in names}, scale
    return per_joint(mapping.action.offset, names, "action.offset"), scale


class Actuator(NamedTuple):
    """A drive as a mapping needs it; targets in the unit of what is driven."""

    joint: str
    neutral: float  # the target of a command of 0
    span: float  # from there to that of 1
    low: float = -math.inf  # targets that the model's own actuator takes
    high: float = math.inf


def compile_mapping(
    mapping: Mapping,
    model: mujoco.MjModel,
    base_body: int,
    frame: tuple[tuple[str, int], ...],
    joints: tuple[str, ...],
    actuators: tuple[Actuator, ...],
    control_s: float,
) -> Wired:
    """The layout and the wiring of a mapping on a robot.

    frame: what the robot offers; joints: its joints in that order; actuators: as its drives are.
    Raises UserError for a signal, joint, sensor or axis that does not exist.
    """
    assert mapping.observation
    made = _Entries(mapping, model, base_body, frame, joints, control_s)
    layout = made.layout()
    where = layout.features
    rows = [row for term in made.terms for row in term.rows(where)]
    outputs = len(mapping.driven)
    offset, scale = targets(mapping)
    output, gain, rest, lows, highs = [], [], [], [], []
    for joint, neutral, span, bottom, top in actuators:
        driven = joint in mapping.driven
        output.append(mapping.driven.index(joint) if driven else outputs)
        gain.append(scale[joint] / span if driven else 0.0)
        rest.append(((offset[joint] if driven else neutral) - neutral) / span)
        lows.append((bottom - neutral) / span)
        highs.append((top - neutral) / span)
    low, high = _action_clip(mapping, outputs)
    columns = [np.asarray(column, np.float64) for column in zip(*rows, strict=True)]
    return Wired(
        layout,
        Wiring(
            feature=columns[0].astype(np.int32),
            minus=columns[1],
            low=columns[2],
            high=columns[3],
            scale=columns[4],
            place=np.asarray(made.places(len(rows)), np.int32),
            clip=np.float64(mapping.observation.clip or np.inf),
            action_low=low,
            action_high=high,
            output=np.asarray(output, np.int32),
            gain=np.asarray(gain, np.float64),
            offset=np.asarray(rest, np.float64),
            command_low=np.asarray(lows, np.float64),
            command_high=np.asarray(highs, np.float64),
            hold=np.int32(1),
            late=np.int32(0),
        ),
    )


def _action_clip(mapping: Mapping, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    clip = mapping.action.clip
    if clip is None:
        return np.full(outputs, -np.inf, np.float64), np.full(outputs, np.inf, np.float64)
    pairs = np.asarray(clip, np.float64)
    pairs = np.broadcast_to(pairs, (outputs, 2)) if pairs.ndim == 1 else pairs
    if pairs.shape != (outputs, 2):
        raise UserError(f"action.clip: {len(pairs)} pairs for {outputs} outputs.")
    return np.array(pairs[:, 0]), np.array(pairs[:, 1])


Row = tuple[float, float, float, float, float]  # feature, minus, low, high, scale


class _Compiled:
    """One term: the features it reads and what is done with them."""

    def __init__(self, term: Term, reads: list[tuple[str, int]], minus: list[float], at: str):
        self.term, self.reads, self.minus = term, reads, minus
        self.size = len(reads)
        scale = np.asarray(term.scale, float).reshape(-1)
        if scale.size not in (1, self.size):
            raise UserError(f"{at}: scale has {scale.size} values, the term {self.size}.")
        self.scale = np.broadcast_to(scale, self.size)

    def rows(self, where: dict[str, slice]) -> list[Row]:
        low, high = self.term.clip or (-np.inf, np.inf)
        return [
            (where[name].start + k, minus, low, high, float(scale))
            for (name, k), minus, scale in zip(self.reads, self.minus, self.scale, strict=True)
        ]


class _Entries:
    """The terms of a mapping against what a robot has."""

    def __init__(
        self,
        mapping: Mapping,
        model: mujoco.MjModel,
        base_body: int,
        frame: tuple[tuple[str, int], ...],
        joints: tuple[str, ...],
        control_s: float,
    ):
        assert mapping.observation
        self.mapping, self.model, self.base_body = mapping, model, base_body
        self.frame, self.joints, self.control_s = frame, joints, control_s
        self.pose = default_pose(mapping)
        self.mounts: dict[str, Mount] = {}
        self.clocks: list[Clock] = []
        self.gravity: list[int] = []
        self.constants: list[float] = []
        self.terms = [self._term(i, t) for i, t in enumerate(mapping.observation.terms)]

    def layout(self) -> Layout:
        observation = self.mapping.observation
        assert observation
        longest = max(t.history for t in observation.terms)
        return Layout(
            frame=self.frame,
            control_s=self.control_s,
            outputs=len(self.mapping.driven),
            history=max(longest, observation.history),
            history_starts=observation.starts,
            mounts=tuple(self.mounts.values()),
            gravity_sensors=tuple(self.gravity),
            clocks=tuple(self.clocks),
        )

    def places(self, width: int) -> list[int]:
        """Where in the flattened history (oldest frame first) each number of the input lies."""
        observation = self.mapping.observation
        assert observation
        kept = self.layout().history
        backwards = observation.newest == "first"

        def frames(count: int) -> list[int]:
            found = list(range(kept - count, kept))
            return found[::-1] if backwards else found

        if observation.stacked == "whole":
            if any(t.history > 1 for t in observation.terms):
                raise UserError("observation: stacked: whole takes `history` for all terms only.")
            return [f * width + k for f in frames(observation.history) for k in range(width)]
        found, at = [], 0
        for compiled in self.terms:
            count = max(compiled.term.history, observation.history)
            found += [f * width + at + k for f in frames(count) for k in range(compiled.size)]
            at += compiled.size
        return found

    def _term(self, index: int, term: Term) -> _Compiled:
        at = f"observation.terms.{index} ({term.name or term.signal})"
        lookup(SIGNALS, term.signal, kind="signal", where=at)
        reads = self._reads(term, at)
        if term.axes is not None:
            if any(not 0 <= k < len(reads) for k in term.axes):
                raise UserError(f"{at}: axes {list(term.axes)} of {len(reads)} numbers.")
            reads = [reads[k] for k in term.axes]
        return _Compiled(term, reads, self._minus(term, reads, at), at)

    def _minus(self, term: Term, reads: list[tuple[str, int]], at: str) -> list[float]:
        if term.signal == "constant":
            return [-value for value in term.values]
        if term.minus is None:
            return [0.0] * len(reads)
        if term.signal != "joint_position":
            raise UserError(f"{at}: minus is for joint_position.")
        names = tuple(self.joints[k] for _, k in reads)
        if term.minus == "default":
            return [self.pose.get(name, 0.0) for name in names]
        given = per_joint(term.minus, names, f"{at}: minus")
        return [given.get(name, 0.0) for name in names]

    def _reads(self, term: Term, at: str) -> list[tuple[str, int]]:
        signal = term.signal
        if signal in ("joint_position", "joint_velocity"):
            what = offered.POSITION if signal == "joint_position" else offered.VELOCITY
            names = term.joints or self.mapping.joints
            return [(what, self._joint(name, at)) for name in names]
        if signal == "last_action":
            return [("last action", k) for k in range(len(self.mapping.driven))]
        if signal == "command":
            self._offered(offered.COMMAND, at)
            return [(offered.COMMAND, k) for k in range(dict(self.frame)[offered.COMMAND])]
        if signal == "clock":
            return self._clock(term, at)
        if signal == "sensor":
            return self._sensor(term, at)
        if signal == "constant":
            return [("zero", 0)] * len(term.values)
        self._offered(offered.QUATERNION, at)
        if signal == "base_orientation":
            order = (0, 1, 2, 3) if term.order == "wxyz" else (1, 2, 3, 0)
            return [(offered.QUATERNION, k) for k in order]
        return self._of_base(term, at)

    def _of_base(self, term: Term, at: str) -> list[tuple[str, int]]:
        if term.signal == "base_height":
            return [(offered.HEIGHT, 0)]
        if term.signal == "roll_pitch_yaw":
            return [("roll pitch yaw", k) for k in range(3)]
        if term.at is not None:
            self.mounts[term.at] = self._mount(term.at, at)
            what = term.signal.removeprefix("base_").replace("_", " ").replace(" direction", "")
            return [(f"{what} at {term.at}", k) for k in range(3)]
        feature = {
            ("base_linear_velocity", "base"): "base linear velocity in base",
            ("base_linear_velocity", "world"): offered.LINEAR,
            ("base_angular_velocity", "base"): offered.ANGULAR,
            ("base_angular_velocity", "world"): "base angular velocity in world",
            ("gravity_direction", "base"): "gravity in base",
            ("gravity_direction", "world"): "gravity in world",
        }[term.signal, term.frame]
        return [(feature, k) for k in range(3)]

    def _joint(self, name: str, at: str) -> int:
        if name not in self.joints:
            raise UserError(
                f"{at}: the robot has no joint named {name!r}.{suggestion(name, self.joints)}"
            )
        return self.joints.index(name)

    def _offered(self, entry: str, at: str) -> None:
        if entry not in dict(self.frame):
            raise UserError(f"{at}: this robot has no {entry}: its base is fixed.")

    def _clock(self, term: Term, at: str) -> list[tuple[str, int]]:
        if term.period_s is None or not term.waves:
            raise UserError(f"{at}: a clock needs period_s and waves.")
        first = len(self.clocks)
        for wave in term.waves:
            self.clocks.append(Clock(term.period_s, term.phase + wave.offset, wave.function))
        return [("clock", k) for k in range(first, len(self.clocks))]

    def _sensor(self, term: Term, at: str) -> list[tuple[str, int]]:
        table = {self.model.sensor(i).name: i for i in range(self.model.nsensor)}
        if term.sensor is None:
            raise UserError(f"{at}: sensor: NAME is missing.")
        index = lookup(table, term.sensor, kind="sensor of the model", where=at)
        start, size = int(self.model.sensor_adr[index]), int(self.model.sensor_dim[index])
        if not term.gravity:
            return [(offered.SENSORS, start + k) for k in range(size)]
        if size != 4:
            raise UserError(f"{at}: gravity: true needs a sensor of four numbers, a quaternion.")
        if start not in self.gravity:
            self.gravity.append(start)
        return [(f"gravity by sensor {start}", k) for k in range(3)]

    def _mount(self, name: str, at: str) -> Mount:
        """Where a site or body sits on the base and how it is turned."""
        model = self.model
        sites = {model.site(i).name: i for i in range(model.nsite)}
        bodies = {model.body(i).name: i for i in range(model.nbody)}
        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
        if name in sites:
            body, place, turn = model.site_bodyid[sites[name]], data.site_xpos, data.site_xmat
            index = sites[name]
        else:
            index = lookup(bodies | sites, name, kind="site or body", where=at)
            body, place, turn = index, data.xpos, data.xmat
        if model.body_weldid[body] != model.body_weldid[self.base_body]:
            raise UserError(f"{at}: {name!r} does not sit on the base, but on a part that moves.")
        base = data.xmat[self.base_body].reshape(3, 3)
        offset = base.T @ (place[index] - data.xpos[self.base_body])
        rotation = base.T @ turn[index].reshape(3, 3)
        return Mount(name, tuple(offset), tuple(tuple(row) for row in rotation))


def is_finite(values: Any) -> bool:
    """Whether a value per joint holds finite numbers only."""
    flat = values.values() if isinstance(values, dict) else np.ravel(values)
    return all(math.isfinite(float(v)) for v in flat)
