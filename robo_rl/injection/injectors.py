"""Named injectors: one magnitude each, zero changes nothing.

What scenarios and gap studies are made of. Two of a kind in one episode compose as their causes
would: delays, lags, bias limits, offsets and winds add; deviations of noise add their squares;
chances of loss combine as independent ones; of two resolutions, ranges or slew rates the tighter
one holds; factors multiply. What has no place any more (a third push, a second moment of a fault)
is refused.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import mujoco
import numpy as np

from robo_rl import content, errors
from robo_rl.engines.base import nominal_force_limit
from robo_rl.injection.actuation import UNLIMITED_PER_S
from robo_rl.injection.episode import PUSHES, Injection, neutral
from robo_rl.injection.magnitudes import MAGNITUDE, refused
from robo_rl.registry import Registry
from robo_rl.robots import channels
from robo_rl.robots.channels import group_mask
from robo_rl.robots.robot import Robot

Rng = np.random.Generator
GRAVITY_AXIS = 2


class NotApplicableError(Exception):
    """The robot has nothing that the injector could act on."""


class Injector(NamedTuple):
    """A way in which reality departs from the nominal simulation."""

    apply: Callable[..., Injection]  # (injection, robot, magnitude, rng, **options)
    unit: str
    meaning: str
    options: dict[str, Any]  # name -> default; inspect.Parameter.empty where it must be given
    most: float = math.inf  # the largest magnitude that means anything: 1 of a share
    whole_substeps: bool = False  # a time in ms that acts in whole physics steps, rounded up

    def quantum(self, robot: Robot) -> float:
        """Magnitudes act in whole multiples of it, rounded up; 0 where any acts as it is."""
        return 1e3 * float(robot.model.opt.timestep) if self.whole_substeps else 0.0

    def unit_with(self, options: Mapping[str, Any]) -> str:
        """The unit of the magnitude under these options: a channel's noise has the channel's."""
        if "channel" in self.options:
            return str(options.get("channel", "")).rpartition(" ")[2]
        return self.unit

    def acts_s(self, options: Mapping[str, Any]) -> tuple[float, float]:
        """When the departure begins to act and when it has acted in full, s after the start.

        (0, 0) for what acts from the start on; beginning and end of a push; the moment of a fault.
        """
        given = {**self.options, **options}
        begins = float(given.get("at_s", 0.0))
        return begins, begins + float(given.get("duration_s", 0.0))


INJECTORS: Registry[Injector] = Registry("injector")


def injector(
    unit: str, *, most: float = math.inf, whole_substeps: bool = False
) -> Callable[[Callable[..., Injection]], Callable[..., Injection]]:
    """Add a function as an injector under its own name.

    unit: that of its magnitude; most: the largest magnitude, where more means nothing;
    whole_substeps: of a time in ms that acts in whole physics steps.
    """

    def add(apply: Callable[..., Injection]) -> Callable[..., Injection]:
        parameters = list(inspect.signature(apply).parameters.values())[4:]
        options = {p.name: p.default for p in parameters}
        meaning = (apply.__doc__ or "").strip().splitlines()[0]
        made = Injector(apply, unit, meaning, options, most, whole_substeps)
        INJECTORS.add(apply.__name__, made, apply.__module__)
        return apply

    return add


def neutral_of(robot: Robot) -> Injection:
    """The injection that changes nothing, for a robot."""
    return neutral(robot.model, len(robot.channels))


def inject(
    injection: Injection,
    robot: Robot,
    name: str,
    magnitude: float,
    rng: Rng,
    where: str,
    **options: Any,
) -> Injection:
    """The injection with one more departure in it.

    Raises UserError for an unknown injector or option, a magnitude that is not finite, negative or
    more than there is, an option of the wrong kind, and NotApplicableError where the robot has no
    such part.
    """
    found = INJECTORS.lookup(name, where)
    for option in options:
        errors.lookup(found.options, option, kind=f"option of {name}", where=where)
    for part, value in {MAGNITUDE: magnitude, **options}.items():
        if reason := refused(part, value, found.most):
            raise errors.UserError(f"{where}: {name}: {part}: {reason}")
    return found.apply(injection, robot, float(magnitude), rng, **options)


def check_use(
    problems: content.Problems, key: content.Key, name: str, options: Mapping[str, Any]
) -> Injector | None:
    """The injector that a content file names, or None; an unknown name or option is a problem."""
    if not problems.check(INJECTORS, name, kind="injector", key=(*key, "injector")):
        return None
    found = INJECTORS[name]
    for option in options:
        problems.check(
            found.options, option, kind=f"option of {name}", key=(*key, "options", option)
        )
    for option, default in found.options.items():
        if default is inspect.Parameter.empty and option not in options:
            problems.add(key, f"{name} needs the option {option}.")
    if "channel" in found.options and (channel := options.get("channel")) is not None:
        at = (*key, "options", "channel")
        if isinstance(channel, str):
            problems.check(channels.known(), channel, kind="channel", key=at)
        else:
            problems.add(at, refused("channel", channel, found.most))
    return found


def _channel(robot: Robot, channel: str) -> np.ndarray:
    group, _, unit = channel.rpartition(" ")
    mask = group_mask(robot.channels, group, unit)
    if not mask.any():
        raise NotApplicableError(f"{robot.name} has no channel {channel!r}")
    return mask


@injector("as the channel")
def sensor_noise(i: Injection, robot: Robot, m: float, rng: Rng, channel: str) -> Injection:
    """White Gaussian noise of deviation m on a group of channels, independent per channel."""
    std = np.hypot(i.sensors.noise_std, np.float32(m) * _channel(robot, channel))
    return i._replace(sensors=i.sensors._replace(noise_std=std))


@injector("as the channel")
def sensor_bias(i: Injection, robot: Robot, m: float, rng: Rng, channel: str) -> Injection:
    """Turn-on bias, uniform in [-m, m] and constant over an episode, independent per channel."""
    limit = i.sensors.bias_limit + np.float32(m) * _channel(robot, channel)
    return i._replace(sensors=i.sensors._replace(bias_limit=limit))


@injector("as the channel")
def sensor_resolution(i: Injection, robot: Robot, m: float, rng: Rng, channel: str) -> Injection:
    """Readings are rounded to multiples of m."""
    quantum = np.maximum(i.sensors.quantum, np.float32(m) * _channel(robot, channel))
    return i._replace(sensors=i.sensors._replace(quantum=quantum))


@injector("ms")
def observation_latency(i: Injection, robot: Robot, m: float, rng: Rng) -> Injection:
    """Every reading is m ms old when the policy sees it."""
    late = i.sensors.latency_s + np.float32(m / 1e3)
    return i._replace(sensors=i.sensors._replace(latency_s=late))


@injector("ms")
def observation_jitter(i: Injection, robot: Robot, m: float, rng: Rng) -> Injection:
    """Readings are late by an additional time, uniform in [0, m] ms.

    Drawn at every control step.
    """
    jitter = i.sensors.jitter_s + np.float32(m / 1e3)
    return i._replace(sensors=i.sensors._replace(jitter_s=jitter))


@injector("1", most=1.0)
def observation_loss(i: Injection, robot: Robot, m: float, rng: Rng) -> Injection:
    """A share m of the readings is lost; the policy sees the last one that arrived."""
    lost = _either(i.sensors.drop_probability, m)
    return i._replace(sensors=i.sensors._replace(drop_probability=lost))


@injector("ms", whole_substeps=True)
def action_latency(i: Injection, robot: Robot, m: float, rng: Rng) -> Injection:
    """A command reaches the motors m ms after the policy gave it."""
    late = i.actuation.latency_s + np.float32(m / 1e3)
    return i._replace(actuation=i.actuation._replace(latency_s=late))


@injector("ms")
def action_jitter(i: Injection, robot: Robot, m: float, rng: Rng) -> Injection:
    """Commands are late by an additional time, uniform in [0, m] ms.

    Drawn at every control step.
    """
    jitter = i.actuation.jitter_s + np.float32(m / 1e3)
    return i._replace(actuation=i.actuation._replace(jitter_s=jitter))


@injector("1", most=1.0)
def action_loss(i: Injection, robot: Robot, m: float, rng: Rng) -> Injection:
    """A share m of the commands is lost; the last one holds."""
    lost = _either(i.actuation.drop_probability, m)
    return i._replace(actuation=i.actuation._replace(drop_probability=lost))


@injector("1")
def action_noise(i: Injection, robot: Robot, m: float, rng: Rng) -> Injection:
    """White Gaussian noise of deviation m, share of full command, independent per actuator."""
    _demand_full_scale(robot)
    std = np.hypot(i.actuation.noise_std, np.float32(m))
    return i._replace(actuation=i.actuation._replace(noise_std=std))


@injector("ms")
def actuator_lag(i: Injection, robot: Robot, m: float, rng: Rng) -> Injection:
    """Actuators follow a command with a first-order lag of time constant m ms."""
    lag = i.actuation.lag_s + np.float32(m / 1e3)
    return i._replace(actuation=i.actuation._replace(lag_s=lag))


@injector("1", most=1.0)
def actuator_saturation(i: Injection, robot: Robot, m: float, rng: Rng) -> Injection:
    """Commands beyond the share 1 - m of full scale are clipped."""
    _demand_full_scale(robot)
    left = np.minimum(i.actuation.saturation, np.maximum(np.float32(1.0) - np.float32(m), 0.0))
    return i._replace(actuation=i.actuation._replace(saturation=left))


@injector("ms")
def actuator_slew(i: Injection, robot: Robot, m: float, rng: Rng) -> Injection:
    """A command takes at least m ms from zero to full scale."""
    _demand_full_scale(robot)
    rate = UNLIMITED_PER_S if m == 0 else 1e3 / m
    limit = np.minimum(i.actuation.rate_limit_per_s, np.float32(rate))
    return i._replace(actuation=i.actuation._replace(rate_limit_per_s=limit))


@injector("1", most=1.0)
def motor_weakness(i: Injection, robot: Robot, m: float, rng: Rng) -> Injection:
    """Every motor gives the share 1 - m of its torque, the largest it can give included."""
    share = np.float32(max(0.0, 1.0 - m))
    limited = robot.model.actuator_forcelimited.astype(bool)
    limit = i.plant.force_limit_scale * np.where(limited, share, np.float32(1.0))
    return _plant(i, gain_scale=i.plant.gain_scale * share, force_limit_scale=limit)


@injector("1")
def gain_error(i: Injection, robot: Robot, m: float, rng: Rng) -> Injection:
    """Each motor's torque constant (or kp and kd) is off by a factor, uniform in [1 - m, 1 + m]."""
    factor = 1.0 + m * rng.uniform(-1, 1, robot.model.nu)
    return _plant(i, gain_scale=i.plant.gain_scale * np.maximum(factor, 0.0).astype(np.float32))


@injector("1", most=1.0)
def torque_limit(i: Injection, robot: Robot, m: float, rng: Rng) -> Injection:
    """No motor can give more than the share 1 - m of its largest torque."""
    return _plant(i, force_limit_scale=i.plant.force_limit_scale * np.float32(max(0.0, 1.0 - m)))


@injector("1", most=1.0)
def motor_fault(
    i: Injection, robot: Robot, m: float, rng: Rng, at_s: float = 0.0, actuator: int | None = None
) -> Injection:
    """From `at_s`, one motor (random unless `actuator` is given) keeps 1 - m of its torque."""
    chosen = int(rng.integers(robot.model.nu)) if actuator is None else int(actuator)
    if chosen >= robot.model.nu:
        raise errors.UserError(
            f"motor_fault: no actuator {chosen}: {robot.name} has {robot.model.nu} motors, the"
            " first is 0."
        )
    gain = i.fault.gain_scale.copy()
    if (gain != 1).any() and i.fault.at_s != np.float32(at_s):
        raise errors.UserError(
            f"motor_fault: one motor fails at {i.fault.at_s:g} s and another at {at_s:g} s; in an"
            " episode all that fail do so at one moment."
        )
    gain[chosen] *= max(0.0, 1.0 - m)
    return i._replace(fault=i.fault._replace(at_s=np.float32(at_s), gain_scale=gain))


@injector("1")
def mass_error(i: Injection, robot: Robot, m: float, rng: Rng) -> Injection:
    """Each link's mass and inertia are off by a factor, uniform in [1 - m, 1 + m]."""
    factor = np.maximum(1.0 + m * rng.uniform(-1, 1, robot.model.nbody), 0.05)
    return _plant(i, mass_scale=i.plant.mass_scale * factor.astype(np.float32))


@injector("1")
def payload(i: Injection, robot: Robot, m: float, rng: Rng) -> Injection:
    """A point mass of m times the robot's own mass rides on the base."""
    added = i.plant.mass_offset_kg.copy()
    added[robot.base_body] += m * robot.mass_kg
    return _plant(i, mass_offset_kg=added)


@injector("m")
def com_offset(i: Injection, robot: Robot, m: float, rng: Rng) -> Injection:
    """The base's centre of mass is off by up to m along each of its axes."""
    moved = i.plant.com_offset_m.copy()
    moved[robot.base_body] += m * rng.uniform(-1, 1, 3).astype(np.float32)
    return _plant(i, com_offset_m=moved)


@injector("1", most=1.0)
def slippery(i: Injection, robot: Robot, m: float, rng: Rng) -> Injection:
    """Sliding friction is the share 1 - m of nominal."""
    if robot.file.ground is None:
        raise NotApplicableError(f"{robot.name} touches no ground")
    return _plant(i, friction_scale=i.plant.friction_scale * np.float32(max(0.0, 1.0 - m)))


@injector("1")
def damping_error(i: Injection, robot: Robot, m: float, rng: Rng) -> Injection:
    """Each joint's damping is off by a factor, uniform in [1 - m, 1 + m]."""
    factor = np.maximum(1.0 + m * rng.uniform(-1, 1, robot.model.nv), 0.0)
    return _plant(i, damping_scale=i.plant.damping_scale * factor.astype(np.float32))


@injector("1")
def armature_error(i: Injection, robot: Robot, m: float, rng: Rng) -> Injection:
    """Each joint's rotor inertia is off by a factor, uniform in [1 - m, 1 + m]."""
    factor = np.maximum(1.0 + m * rng.uniform(-1, 1, robot.model.nv), 0.0)
    return _plant(i, armature_scale=i.plant.armature_scale * factor.astype(np.float32))


@injector("1")
def joint_friction(i: Injection, robot: Robot, m: float, rng: Rng) -> Injection:
    """Driven joints have dry friction of m times their largest motor torque."""
    model, friction = robot.model, i.plant.friction_loss.copy()
    torque = nominal_force_limit(model) * np.abs(model.actuator_gear[:, 0])
    drives = robot.driven_dofs >= 0
    if not drives.any():
        raise NotApplicableError(f"{robot.name} drives no joint")
    friction[robot.driven_dofs[drives]] += (m * torque[drives]).astype(np.float32)
    return _plant(i, friction_loss=friction)


@injector("rad")
def slope(i: Injection, robot: Robot, m: float, rng: Rng) -> Injection:
    """The ground is inclined by m, uphill in a direction drawn per episode.

    Planar robots are sent uphill or downhill by a coin. Seen from the ground's frame, in which
    gravity is turned; what senses an attitude senses it against gravity.
    """
    if robot.file.ground is None:
        raise NotApplicableError(f"{robot.name} touches no ground")
    g = float(-robot.model.opt.gravity[GRAVITY_AXIS])
    heading = rng.uniform(0, 2 * np.pi)
    planar = robot.model.jnt_type[0] != mujoco.mjtJoint.mjJNT_FREE
    uphill = [np.sign(np.cos(heading)), 0.0] if planar else [np.cos(heading), np.sin(heading)]
    turned = np.append(-g * np.sin(m) * np.array(uphill), g * (1.0 - np.cos(m))).astype(np.float32)
    return _plant(i, gravity_offset_mps2=i.plant.gravity_offset_mps2 + turned)


@injector("m/s")
def wind(i: Injection, robot: Robot, m: float, rng: Rng) -> Injection:
    """A steady horizontal wind of speed m from a direction drawn per episode."""
    if not robot.model.opt.density:
        raise NotApplicableError(f"{robot.name} moves in no medium")
    heading = rng.uniform(0, 2 * np.pi)
    blown = m * np.array([np.cos(heading), np.sin(heading), 0.0], np.float32)
    return _plant(i, wind_w_mps=i.plant.wind_w_mps + blown)


@injector("m/s")
def push(
    i: Injection, robot: Robot, m: float, rng: Rng, at_s: float = 2.0, duration_s: float = 0.1
) -> Injection:
    """The base is pushed horizontally so that the whole robot's velocity changes by m.

    Planar robots are pushed forward or backward by a coin, others in a uniform direction.
    """
    heading = rng.uniform(0, 2 * np.pi)
    planar = robot.model.jnt_type[0] != mujoco.mjtJoint.mjJNT_FREE
    direction = (
        [np.sign(np.cos(heading)), 0, 0] if planar else [np.cos(heading), np.sin(heading), 0]
    )
    free = np.flatnonzero(~i.push.force_w_n.any(axis=1))
    if not free.size:
        raise errors.UserError(f"push: an episode takes {PUSHES} pushes; this is one more.")
    slot = int(free[0])
    force = np.asarray(direction) * m * robot.mass_kg / duration_s
    p = i.push._replace(
        at_s=_set(i.push.at_s, slot, at_s),
        duration_s=_set(i.push.duration_s, slot, duration_s),
        body=_set(i.push.body, slot, robot.base_body),
        force_w_n=_set(i.push.force_w_n, slot, force),
    )
    return i._replace(push=p)


@injector("rad")
def initial_pose(i: Injection, robot: Robot, m: float, rng: Rng) -> Injection:
    """Every joint but the base's starts up to m away from where the task's own reset puts it."""
    offset = i.start.qpos_offset.copy()
    for k, channel in enumerate(robot.channels[: robot.model.nq]):
        if channel.group == "joint_position":
            offset[k] += m * rng.uniform(-1, 1)
    return i._replace(start=i.start._replace(qpos_offset=offset))


def _demand_full_scale(robot: Robot) -> None:
    """Raises NotApplicableError where a share of full command says nothing."""
    if not robot.full_scale:
        raise NotApplicableError(f"{robot.name}'s targets have no full scale")


def _either(one: Any, other: float) -> Any:
    """The chance that at least one of two independent things happens."""
    return np.float32(one + np.float32(other) - one * np.float32(other))


def _plant(i: Injection, **fields: np.ndarray) -> Injection:
    return i._replace(plant=i.plant._replace(**fields))  # type: ignore[arg-type]


def _set(array: np.ndarray, slot: int, value: Any) -> np.ndarray:
    changed = np.array(array)
    changed[slot] = value
    return changed
