"""The mapping of a policy: which signals it sees, in which order and scale, and what it drives.

One format for every source (docs/mapping.md, `robo-rl import --schema`). It is data: read from
YAML, checked, stored in the run folder, and compiled against a robot into the arrays of a Wiring.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from robo_rl.errors import UserError, suggestion

FORMAT = "robo_rl.mapping/1"
Pair = tuple[float, float]
PerJoint = float | tuple[float, ...] | dict[str, float]

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

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
    """What the output drives: target = offset + scale * clipped output, within limits."""

    drives: Literal["position", "velocity", "torque"] = "position"
    joints: tuple[str, ...] | None = None  # in the order of the output; `joints` if left out
    scale: PerJoint = 1.0
    offset: Literal["default"] | PerJoint = "default"
    clip: Pair | tuple[Pair, ...] | None = None  # of the output; last_action sees it
    limits: Pair | tuple[Pair, ...] | None = None  # of the target; last_action sees none of it


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
        default=0.0, ge=0, le=10
    )  # the drives hold the default pose so long before the policy


class Command(Model):
    """What the task asks for: where it starts and in which ranges it is drawn."""

    initial: tuple[float, float, float] = (0.0, 0.0, 0.0)
    forward_mps: Pair = (-0.5, 1.0)
    sideways_mps: Pair = (-0.3, 0.3)
    turn_radps: Pair = (-0.5, 0.5)

    @model_validator(mode="after")
    def _ordered(self) -> "Command":
        for key in ("forward_mps", "sideways_mps", "turn_radps"):
            low, high = getattr(self, key)
            if low > high:
                raise ValueError(f"{key} {[low, high]}: the lower end comes first")
        return self


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
        for where, names in self._listed().items():
            if len(set(names)) < len(names):
                twice = sorted({n for n in names if names.count(n) > 1})
                raise ValueError(f"{where}: {', '.join(twice)} is listed twice")
        if both := sorted(set(self.hold) & set(self.driven)):
            raise ValueError(f"hold: {', '.join(both)} is driven by the policy")
        for where, clips in self._clips().items():
            if any(low >= high for low, high in clips):
                raise ValueError(f"{where}: the lower end comes first")
        return self

    def _listed(self) -> dict[str, tuple[str, ...]]:
        """Every list of joints, by where it stands."""
        terms = self.observation.terms if self.observation else ()
        own = {f"observation.terms.{i}.joints": t.joints for i, t in enumerate(terms) if t.joints}
        return {"joints": self.joints, "action.joints": self.action.joints or (), **own}

    def _clips(self) -> dict[str, list[tuple[float, float]]]:
        """Every clip, by where it stands."""
        terms = self.observation.terms if self.observation else ()
        found = {f"observation.terms.{i}.clip": [t.clip] for i, t in enumerate(terms) if t.clip}
        clip = self.action.clip
        if clip is not None:
            pairs = clip if isinstance(clip[0], tuple) else (clip,)
            found["action.clip"] = [(float(a), float(b)) for a, b in pairs]  # type: ignore[misc]
        return found

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


def _of_all(given: PerJoint, joints: tuple[str, ...], where: str) -> dict[str, float]:
    """per_joint(), for what every joint needs."""
    found = per_joint(given, joints, where)
    if missing := [name for name in joints if name not in found]:
        raise UserError(f"{where}: nothing is said for {', '.join(missing)}.")
    return found


def targets(mapping: Mapping) -> tuple[dict[str, float], dict[str, float]]:
    """(offset, scale) of each driven joint's target, in the unit of what is driven."""
    names, pose = mapping.driven, default_pose(mapping)
    scale = _of_all(mapping.action.scale, names, "action.scale")
    if mapping.action.offset == "default":
        rests = mapping.action.drives == "position"
        return {n: pose.get(n, 0.0) if rests else 0.0 for n in names}, scale
    return _of_all(mapping.action.offset, names, "action.offset"), scale
