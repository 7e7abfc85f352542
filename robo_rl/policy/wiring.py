"""How a policy is wired to a robot: signals to observation, output to commands, memory between.

A robot offers a frame of signals in its own order and units, and takes one command per actuator in
[-1, 1]. What lies between these and a network is a Layout (what there is) and a Wiring (arrays:
which signal goes where, with which sign, scale and offset). A wiring mistake is another Wiring;
nothing is compiled again for it. Written once for NumPy and JAX, for robots along leading axes.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from robo_rl.policy.networks import Array, Memory, Program, Xp
from robo_rl.robots.offered import ANGULAR, LINEAR, QUATERNION, SENSORS


class Mount(NamedTuple):
    """A sensor's frame on the base: where it sits and how it is turned, as the model says."""

    name: str
    position_b_m: tuple[float, float, float]
    rotation: tuple[tuple[float, float, float], ...]  # mount frame to base frame


class Clock(NamedTuple):
    """One number of a gait clock: a sine or cosine of 2 pi (t / period + offset)."""

    period_s: float
    offset: float  # share of a period, at the first observation
    function: str  # "sin" or "cos"


@dataclass(frozen=True)
class Layout:
    """Which numbers there are: of the robot's frame, of the policy, and what is remembered."""

    frame: tuple[tuple[str, int], ...]  # entries of the robot's frame in order, with their sizes
    control_s: float
    outputs: int  # numbers the network gives
    history: int = 1  # frames that are kept
    history_starts: str = "first"  # filled with the first frame, or "zero"
    mounts: tuple[Mount, ...] = ()
    gravity_sensors: tuple[int, ...] = ()  # where in `sensors` a quaternion starts that gives it
    clocks: tuple[Clock, ...] = ()

    @property
    def features(self) -> dict[str, slice]:
        """Where each feature lies in the vector of all features."""
        found, at = {}, 0
        for name, size in self._sizes():
            found[name], at = slice(at, at + size), at + size
        return found

    def _sizes(self) -> list[tuple[str, int]]:
        sizes = list(self.frame)
        if QUATERNION in dict(self.frame):
            sizes += [(name, 3) for name in DERIVED]
            sizes += [(f"{what} at {m.name}", 3) for m in self.mounts for what in MOUNTED]
        sizes += [(f"gravity by sensor {k}", 3) for k in self.gravity_sensors]
        return [*sizes, ("last action", self.outputs), ("clock", len(self.clocks)), ("zero", 1)]


DERIVED = (
    "base linear velocity in base",
    "base angular velocity in world",
    "gravity in base",
    "gravity in world",
    "gravity by xyzw",
    "roll pitch yaw",
)
MOUNTED = ("linear velocity", "angular velocity", "gravity")


class Wiring(NamedTuple):
    """What goes where; [f] entries of one frame of the observation, [nu] actuators.

    Stored in double precision, so that a loop in double precision can be exact; JAX runs it in
    single.
    """

    feature: Array  # [f] int, which feature an entry reads
    minus: Array  # [f] subtracted from it
    low: Array  # [f] then clipped here
    high: Array  # [f] and here
    scale: Array  # [f] then multiplied
    place: Array  # [observation] int, entry of the flattened history, oldest frame first
    clip: Array  # [] of the whole observation; inf for none
    action_low: Array  # [outputs] of the network's output
    action_high: Array  # [outputs]
    output: Array  # [nu] int, which output drives an actuator; outputs = none, it holds its offset
    gain: Array  # [nu] command per output
    offset: Array  # [nu] command at an output of zero
    command_low: Array  # [nu] within which commands stay, as the model's own limits say
    command_high: Array  # [nu]
    hold: Array  # [] int, control steps for which an output is held; 1 is every step anew
    late: Array  # [] 1 where a command leaves one period late, else 0


def rotation(xp: Xp, quaternion: Array) -> Array:
    """Rotation [..., 3, 3] of quaternions [..., 4] (w, x, y, z)."""
    norm = xp.maximum(xp.sqrt(xp.sum(quaternion**2, axis=-1, keepdims=True)), 1e-9)
    w, x, y, z = xp.moveaxis(quaternion / norm, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2)


def _down(xp: Xp, quaternion: Array) -> Array:
    """The world's down direction in the frame that a quaternion turns into the world."""
    return -rotation(xp, quaternion)[..., 2, :]


def _roll_pitch_yaw(xp: Xp, turn: Array) -> Array:
    roll = xp.arctan2(turn[..., 2, 1], turn[..., 2, 2])
    pitch = xp.arcsin(xp.clip(-turn[..., 2, 0], -1.0, 1.0))
    yaw = xp.arctan2(turn[..., 1, 0], turn[..., 0, 0])
    return xp.stack([roll, pitch, yaw], axis=-1)


def features(xp: Xp, layout: Layout, frame: Array, action: Array, step: Array) -> Array:
    """Every number that an observation may read, [..., features].

    frame: [..., frame] of the robot; action: [..., outputs] the last one; step: [...] control
    steps since the start.
    """
    cuts = np.cumsum([size for _, size in layout.frame])[:-1].tolist()
    parts = dict(zip(dict(layout.frame), xp.split(frame, cuts, axis=-1), strict=True))
    found = list(parts.values())
    if QUATERNION in parts:
        turn = rotation(xp, parts[QUATERNION])
        to_base = xp.swapaxes(turn, -1, -2)
        linear = _turned(xp, to_base, parts[LINEAR])
        angular = parts[ANGULAR]
        down = -turn[..., 2, :]
        nothing = 0.0 * down
        found += [
            linear,
            _turned(xp, turn, angular),
            down,
            nothing + np.array([0.0, 0.0, -1.0], frame.dtype),
            _down(xp, xp.roll(parts[QUATERNION], 1, axis=-1)),  # w read from the last place
            _roll_pitch_yaw(xp, turn),
        ]
        for mount in layout.mounts:
            to_mount = np.asarray(mount.rotation, frame.dtype).T
            at = np.asarray(mount.position_b_m, frame.dtype)
            moving = linear + xp.cross(angular, nothing + at)
            found += [_turned(xp, to_mount, v) for v in (moving, angular, down)]
    for start in layout.gravity_sensors:
        found.append(_down(xp, parts[SENSORS][..., start : start + 4]))
    time_s = step.astype(frame.dtype) * layout.control_s
    wave = {"sin": xp.sin, "cos": xp.cos}
    phases = [
        wave[c.function](2 * math.pi * ((time_s / c.period_s + c.offset) % 1.0))
        for c in layout.clocks
    ]
    clock = xp.stack(phases, axis=-1) if phases else frame[..., :0]
    return xp.concatenate([*found, action, clock, 0.0 * frame[..., :1]], axis=-1)


def _turned(xp: Xp, turn: Array, vector: Array) -> Array:
    return xp.sum(turn * vector[..., None, :], axis=-1)


@dataclass(frozen=True)
class WiredProgram:
    """A network between a robot's frame and its commands; see Wiring."""

    layout: Layout
    network: Program
    entries: int  # of one frame of the observation
    commands: int  # actuators

    @property
    def memory(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """See Program."""
        own = (
            ("step", ()),
            ("frames", (self.layout.history, self.entries)),
            ("action", (self.layout.outputs,)),
            ("command", (self.commands,)),
        )
        return own + tuple((f"network {n}", shape) for n, shape in self.network.memory)

    def observe(self, xp: Xp, wiring: Wiring, memory: Memory, frame: Array) -> tuple[Array, Array]:
        """What the network sees, [N, observation], and the history [N, history, entries]."""
        step = memory["step"]
        seen = features(xp, self.layout, frame, memory["action"], step)
        entry = (xp.take(seen, wiring.feature, axis=-1) - wiring.minus).clip(
            wiring.low, wiring.high
        )
        entry = entry * wiring.scale
        past = memory["frames"]
        if self.layout.history_starts == "first":
            fresh = xp.broadcast_to(entry[..., None, :], past.shape)
            past = xp.where((step == 0)[..., None, None], fresh, past)
        history = xp.concatenate([past[..., 1:, :], entry[..., None, :]], axis=-2)
        due = step % wiring.hold == 0
        history = xp.where(due[..., None, None], history, past)
        flat = history.reshape(*history.shape[:-2], -1)
        return xp.clip(xp.take(flat, wiring.place, axis=-1), -wiring.clip, wiring.clip), history

    def act(
        self, xp: Xp, parameters: Any, memory: Memory, observation: Array
    ) -> tuple[Array, Memory]:
        """Commands [N, nu] in [-1, 1] and the next memory for a robot's frames [N, frame]."""
        wiring: Wiring = parameters["wiring"]
        seen, history = self.observe(xp, wiring, memory, observation)
        inner = {n: memory[f"network {n}"] for n, _ in self.network.memory}
        seen = seen.astype(np.float32)
        output, inner = self.network.act(xp, parameters["network"], inner, seen)
        output = xp.clip(output, wiring.action_low, wiring.action_high)
        due = (memory["step"] % wiring.hold == 0)[..., None]
        output = xp.where(due, output, memory["action"])
        driving = xp.concatenate([output, 0.0 * output[..., :1]], axis=-1)
        command = xp.take(driving, wiring.output, axis=-1) * wiring.gain + wiring.offset
        command = xp.clip(command, wiring.command_low, wiring.command_high)
        sent = xp.where(wiring.late > 0, memory["command"], command)
        kept = {
            f"network {name}": xp.where(_like(due, value), value, memory[f"network {name}"])
            for name, value in inner.items()
        }
        return sent, {
            **memory,
            "step": memory["step"] + 1,
            "frames": history,
            "action": output,
            "command": command,
            **kept,
        }


def _like(condition: Array, value: Array) -> Array:
    """A condition [N, 1] with the axes of a value [N, ...]."""
    return condition.reshape(*condition.shape[:-1], *[1] * (value.ndim - condition.ndim + 1))


@dataclass(frozen=True)
class PerRobotProgram:
    """A WiredProgram with a wiring of its own for each robot: many mistakes in one batch."""

    program: WiredProgram

    @property
    def memory(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """See Program."""
        return self.program.memory

    def act(
        self, xp: Xp, parameters: Any, memory: Memory, observation: Array
    ) -> tuple[Array, Memory]:
        """See Program; parameters["wiring"] has the robots along its first axis. JAX only."""
        import jax

        def one(wiring: Wiring, own: Memory, seen: Array) -> tuple[Array, Memory]:
            parts = {"wiring": wiring, "network": parameters["network"]}
            rows = {name: value[None] for name, value in own.items()}
            action, rows = self.program.act(xp, parts, rows, seen[None])
            return action[0], {name: value[0] for name, value in rows.items()}

        return jax.vmap(one)(parameters["wiring"], memory, observation)
