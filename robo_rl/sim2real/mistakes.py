"""Wiring mistakes as people make them: each a change of the right wiring."""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from robo_rl.envs.step import Environment
from robo_rl.envs.tasks import declared
from robo_rl.policy.stored import Policy
from robo_rl.policy.wiring import Wiring
from robo_rl.robots import offered

DEGREES = 180.0 / np.pi
GRAVITY, LINEAR = "gravity in base", "base linear velocity in base"
SIDES = (("left", "right"), ("Left", "Right"), ("FL", "FR"), ("RL", "RR"), ("L_", "R_"))
ENDS = (("FL", "RL"), ("FR", "RR"), ("front", "rear"), ("front", "hind"))


class Mistake(NamedTuple):
    """One way in which a policy can be wired wrongly."""

    name: str
    kind: str  # joints, frames, scales, memory, drives, timing, command
    wiring: Wiring
    gains: float = 1.0  # of every drive
    rate: int = 1  # the policy runs so many times as often
    shown_by: str = ""  # a test that shows it by its nature: timing and gains


def catalogue(policy: Policy, env: Environment) -> tuple[list[Mistake], dict[str, str]]:
    """Every mistake that this policy's wiring can have, and what cannot be tried on it and why."""
    made = _Catalogue(policy, env)
    found = [m for group in made.groups() for m in group]
    unchanged = made.right
    kept = [
        m
        for m in found
        if m.gains != 1.0
        or m.rate != 1
        or any(not np.array_equal(a, b) for a, b in zip(m.wiring, unchanged, strict=True))
    ]
    return kept, made.skipped


class _Catalogue:
    """Mistakes by kind, each a change of the right wiring."""

    def __init__(self, policy: Policy, env: Environment):
        assert policy.wired
        self.layout, self.right = policy.wired.layout, policy.wired.wiring
        self.env = env
        self.joints = declared.joint_names(env.robot)
        self.actuators = env.robot.driven_names
        low, high = env.robot.model.actuator_ctrlrange.T
        self.neutral, self.span = (low + high) / 2, (high - low) / 2
        self.feature = np.asarray(self.right.feature)
        self.skipped: dict[str, str] = {}

    def groups(self) -> Iterator[list[Mistake]]:
        """One list a kind."""
        yield self._orders()
        yield self._signs()
        yield self._frames()
        yield self._offsets()
        yield self._scales()
        yield self._memory()
        yield self._drives()
        yield self._timing()
        yield self._command()

    def entries(self, name: str) -> np.ndarray:
        """Which entries of a frame read a feature."""
        where = self.layout.features.get(name)
        if where is None:
            return np.zeros(len(self.feature), bool)
        return (self.feature >= where.start) & (self.feature < where.stop)

    def terms(self) -> dict[str, np.ndarray]:
        """Entries by the feature that they read, in order."""
        found = {name: self.entries(name) for name in self.layout.features}
        found.pop(offered.SENSORS, None)
        found |= self._sensors()
        return {name: rows for name, rows in found.items() if rows.any() and name != "zero"}

    def _sensors(self) -> dict[str, np.ndarray]:
        """Entries that read a sensor of the model, by its name."""
        where = self.layout.features.get(offered.SENSORS)
        if where is None:
            return {}
        model, read = self.env.robot.model, self.feature - where.start
        return {
            f"sensor {model.sensor(i).name}": (read >= adr) & (read < adr + size)
            for i, (adr, size) in enumerate(zip(model.sensor_adr, model.sensor_dim, strict=True))
            if where.start + adr < where.stop
        }

    def changed(self, name: str, kind: str, **arrays: Any) -> Mistake:
        """A mistake that replaces arrays of the right wiring."""
        return Mistake(name, kind, self.right._replace(**arrays))

    @functools.cached_property
    def slots(self) -> list[str]:
        """The joint of each output of the network, in order."""
        by_output = {int(o): self.actuators[k] for k, o in enumerate(self.right.output)}
        return [by_output.get(i, "") for i in range(self.layout.outputs)]

    def permuted(self, name: str, order: list[str]) -> Mistake:
        """Slot i of the policy is wired to joint order[i] instead of slots[i], seen and driven."""
        to = dict(zip(self.slots, order, strict=True))
        feature = self.feature.copy()
        for what in (offered.POSITION, offered.VELOCITY):
            start = self.layout.features[what].start
            for entry in np.flatnonzero(self.entries(what)):
                joint = self.joints[feature[entry] - start]
                feature[entry] = start + self.joints.index(to.get(joint, joint))
        output, gain, offset = (np.array(a) for a in self._drive_arrays())
        at = {joint: k for k, joint in enumerate(self.actuators)}
        for slot, joint in enumerate(order):
            old, new = at[self.slots[slot]], at[joint]
            output[new] = slot
            gain[new] = self.right.gain[old] * self.span[old] / self.span[new]
            target = self.neutral[old] + self.right.offset[old] * self.span[old]
            offset[new] = (target - self.neutral[new]) / self.span[new]
        return self.changed(
            name, "joints", feature=feature, output=output, gain=gain, offset=offset
        )

    def _drive_arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return (
            np.asarray(self.right.output),
            np.asarray(self.right.gain, float),
            np.asarray(self.right.offset, float),
        )

    def _orders(self) -> list[Mistake]:
        slots = self.slots
        if "" in slots:
            self.skipped["joint orders"] = "an output of the network drives no joint"
            return []
        depth = _depths(self.env, slots)
        by_type = sorted(slots, key=lambda j: (depth[j], slots.index(j)))
        in_tree = [j for j in self.joints if j in slots]
        orders = {
            "joints ordered by type instead of by limb (breadth first)": by_type,
            "joints in the order of the model's tree": in_tree,
            "joints in alphabetical order": sorted(slots),
            "left and right exchanged": [_mirrored(j, slots, SIDES) for j in slots],
            "front and hind exchanged": [_mirrored(j, slots, ENDS) for j in slots],
            "first two joints exchanged": [slots[1], slots[0], *slots[2:]],
        }
        return [self.permuted(name, order) for name, order in orders.items() if order != slots]

    def _signs(self) -> list[Mistake]:
        found = []
        for joint in dict.fromkeys(j for j in self.slots if j):
            minus, low, high, scale = (
                np.array(a, float)
                for a in (self.right.minus, self.right.low, self.right.high, self.right.scale)
            )
            for what in (offered.POSITION, offered.VELOCITY):
                start = self.layout.features[what].start
                rows = self.feature == start + self.joints.index(joint)
                minus[rows], scale[rows] = -minus[rows], -scale[rows]
                low[rows], high[rows] = -high[rows], -low[rows]
            _, gain, offset = (a.copy() for a in self._drive_arrays())
            at = self.actuators.index(joint)
            gain[at] = -gain[at]
            target = self.neutral[at] + offset[at] * self.span[at]
            offset[at] = (-target - self.neutral[at]) / self.span[at]
            found.append(
                self.changed(
                    f"sign of {joint} flipped",
                    "joints",
                    minus=minus,
                    low=low,
                    high=high,
                    scale=scale,
                    gain=gain,
                    offset=offset,
                )
            )
        return found

    def _instead(self, name: str, read: str, wrong: str) -> list[Mistake]:
        """A feature of three numbers read where another one is meant."""
        rows, features = self.entries(read), self.layout.features
        if not rows.any() or wrong not in features:
            return []
        feature = self.feature.copy()
        feature[rows] += features[wrong].start - features[read].start
        return [self.changed(name, "frames", feature=feature)]

    def _frames(self) -> list[Mistake]:
        pairs = [
            ("quaternion read as xyzw for gravity", GRAVITY, "gravity by xyzw"),
            ("gravity in the world frame", GRAVITY, "gravity in world"),
            ("base velocity in the world frame", LINEAR, offered.LINEAR),
            (
                "base turning rate in the world frame",
                offered.ANGULAR,
                "base angular velocity in world",
            ),
        ]
        found = [m for name, read, wrong in pairs for m in self._instead(name, read, wrong)]
        for read, wrong, what in self._sensed():
            found += self._instead(what, read, wrong)
        for name, rows in self.terms().items():
            if "gravity" in name:
                scale = np.where(rows, -np.asarray(self.right.scale), self.right.scale)
                found.append(self.changed("gravity points up", "frames", scale=scale))
        quaternion = self.entries(offered.QUATERNION)
        if quaternion.any():
            feature = self.feature.copy()
            feature[quaternion] = np.roll(feature[quaternion], 1)
            found.append(self.changed("quaternion in the other order", "frames", feature=feature))
        return found

    def _sensed(self) -> Iterator[tuple[str, str, str]]:
        """Gravity that comes through a sensor or a mount, and what it may be taken for."""
        for name in self.terms():
            if name.startswith("gravity ") and name != GRAVITY:
                yield name, "gravity by xyzw", "quaternion read as xyzw for gravity"
                yield name, "gravity in world", "gravity in the world frame"

    def _offsets(self) -> list[Mistake]:
        rows = self.entries(offered.POSITION)
        minus = np.where(rows, 0.0, self.right.minus)
        _, _, offset = self._drive_arrays()
        driven = np.asarray(self.right.output) < self.layout.outputs
        bare = np.where(driven, -self.neutral / self.span, offset)
        return [
            self.changed("default pose not subtracted from joint positions", "joints", minus=minus),
            self.changed("default pose not added to the targets", "joints", offset=bare),
            self.changed(
                "default pose all zero, seen and driven", "joints", minus=minus, offset=bare
            ),
        ]

    def _scales(self) -> list[Mistake]:
        right, found = np.asarray(self.right.scale, float), []
        for name, rows in self.terms().items():
            if not np.allclose(right[rows], 1.0):
                scale = np.where(rows, 1.0, right)
                found.append(self.changed(f"scale of {name} missing", "scales", scale=scale))
            scale = np.where(rows, 2.0 * right, right)
            found.append(self.changed(f"scale of {name} doubled", "scales", scale=scale))
            if name in (offered.POSITION, offered.VELOCITY, offered.ANGULAR):
                shrunk = {
                    key: np.where(rows, np.asarray(getattr(self.right, key)) / DEGREES, old)
                    for key, old in zip(
                        ("minus", "low", "high"),
                        (self.right.minus, self.right.low, self.right.high),
                        strict=True,
                    )
                }
                scale = np.where(rows, right * DEGREES, right)
                found.append(self.changed(f"{name} in degrees", "scales", scale=scale, **shrunk))
        for factor, word in ((0.5, "half"), (2.0, "double")):
            found.append(
                self.changed(
                    f"scale of the actions {word}",
                    "scales",
                    gain=np.asarray(self.right.gain) * factor,
                )
            )
        return found

    def _memory(self) -> list[Mistake]:
        found = []
        rows = self.entries("last action")
        if rows.any():
            scale = np.where(rows, 0.0, self.right.scale)
            found.append(self.changed("last action missing (zero)", "memory", scale=scale))
            low = np.where(rows, np.maximum(self.right.low, -1.0), self.right.low)
            high = np.where(rows, np.minimum(self.right.high, 1.0), self.right.high)
            found.append(
                self.changed("last action clipped to [-1, 1]", "memory", low=low, high=high)
            )
        if self.layout.history > 1:
            width = len(self.feature)
            place = np.asarray(self.right.place)
            age, entry = place // width, place % width
            oldest = np.array([age[entry == e].min() for e in range(width)])
            newest = np.array([age[entry == e].max() for e in range(width)])
            turned = (oldest + newest)[entry] - age
            found.append(self.changed("history reversed", "memory", place=turned * width + entry))
            found.append(
                self.changed(
                    "history missing: the newest repeated",
                    "memory",
                    place=newest[entry] * width + entry,
                )
            )
        clock = self.entries("clock")
        if clock.any():
            scale = np.where(clock, 0.0, self.right.scale)
            found.append(self.changed("gait clock missing (zero)", "memory", scale=scale))
            feature = self.feature.copy()
            feature[clock] = feature[clock][::-1]
            found.append(
                self.changed("sine and cosine of the clock exchanged", "memory", feature=feature)
            )
        return found

    def _drives(self) -> list[Mistake]:
        test = "step one joint by 0.2 rad on the stand and log it: rise and overshoot differ"
        return [
            Mistake(f"gains {word}", "drives", self.right, gains=factor, shown_by=test)
            for factor, word in ((0.5, "half"), (2.0, "double"))
        ]

    def _timing(self) -> list[Mistake]:
        test = "log the time of every observation and command on the stand"
        found = [
            self.changed("policy at half its rate", "timing", hold=np.int32(2)),
            self.changed("commands one period late", "timing", late=np.int32(1)),
        ]
        if self.env.engine.substeps % 2:
            why = f"{self.env.engine.substeps} physics steps a period cannot be halved"
            self.skipped["policy at double its rate"] = why
        else:
            found.append(Mistake("policy at double its rate", "timing", self.right, rate=2))
        return [m._replace(shown_by=test) for m in found]

    def _command(self) -> list[Mistake]:
        rows = np.flatnonzero(self.entries(offered.COMMAND))
        if not rows.size:
            return []
        found, scale = [], np.asarray(self.right.scale, float)
        without = scale.copy()
        without[rows] = 0.0
        found.append(self.changed("command missing (zero)", "command", scale=without))
        if rows.size == 3:
            turned = scale.copy()
            turned[rows[2]] *= -1.0
            found.append(self.changed("sign of the yaw command flipped", "command", scale=turned))
            feature = self.feature.copy()
            feature[rows[:2]] = feature[rows[:2]][::-1]
            found.append(
                self.changed("forward and sideways command exchanged", "command", feature=feature)
            )
        return found


def _mirrored(joint: str, slots: list[str], pairs: tuple[tuple[str, str], ...]) -> str:
    """The joint on the other side, by its name; itself where there is none."""
    for one, other in pairs:
        for here, there in ((one, other), (other, one)):
            if here in joint and (found := joint.replace(here, there)) in slots:
                return found
    return joint


def _depths(env: Environment, joints: list[str]) -> dict[str, int]:
    """How many jointed bodies lie between each joint and the base."""
    model = env.robot.model
    found = {}
    for name in joints:
        body, depth = int(model.joint(name).bodyid[0]), 0
        while body > 0:
            depth += int(model.body_jntnum[body] > 0)
            body = int(model.body_parentid[body])
        found[name] = depth
    return found
