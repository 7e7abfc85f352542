"""A mapping compiled against a robot: the arrays of a Wiring."""

import math
from typing import Any, NamedTuple

import mujoco
import numpy as np

from robo_rl.errors import UserError, lookup, suggestion
from robo_rl.policy.mapping import SIGNALS, Mapping, Term, default_pose, per_joint, targets
from robo_rl.policy.stored import Wired
from robo_rl.policy.wiring import Clock, Layout, Mount, Wiring
from robo_rl.robots import offered


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
    limits = _limits(mapping)
    output, gain, rest, lows, highs = [], [], [], [], []
    for joint, neutral, span, bottom, top in actuators:
        driven = joint in mapping.driven
        output.append(mapping.driven.index(joint) if driven else outputs)
        gain.append(scale[joint] / span if driven else 0.0)
        rest.append(((offset[joint] if driven else neutral) - neutral) / span)
        least, most = limits.get(joint, (-np.inf, np.inf))
        lows.append((max(bottom, least) - neutral) / span)
        highs.append((min(top, most) - neutral) / span)
    low, high = _pairs(mapping.action.clip, outputs, "action.clip")
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


def _limits(mapping: Mapping) -> dict[str, tuple[float, float]]:
    """Between which values the target of each driven joint stays."""
    names = mapping.driven
    low, high = _pairs(mapping.action.limits, len(names), "action.limits")
    return {n: (float(a), float(b)) for n, a, b in zip(names, low, high, strict=True)}


def _pairs(given: Any, count: int, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends [count] of one pair for all or a pair each."""
    if given is None:
        return np.full(count, -np.inf, np.float64), np.full(count, np.inf, np.float64)
    pairs = np.asarray(given, np.float64)
    pairs = np.broadcast_to(pairs, (count, 2)) if pairs.ndim == 1 else pairs
    if pairs.shape != (count, 2):
        raise UserError(f"{what}: {len(pairs)} pairs for {count} outputs.")
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
