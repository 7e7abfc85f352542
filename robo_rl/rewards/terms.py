"""Reward and cost terms: short pure functions of one transition, without weight and without sign.

Whether a term pays or costs, and how much, is written in rewards/<task>.yaml and nowhere else. What
a term returns is annotated with the range its values lie in; the contract tests hold it to that.
"""

import math
from collections.abc import Callable
from typing import Annotated, get_type_hints

import jax.numpy as jnp
import mujoco
import numpy as np

from robo_rl.engines.base import Array
from robo_rl.registry import Registry
from robo_rl.robots.signals import Transition, given, tilt_rad
from robo_rl.robots.surroundings import Around

BALL = int(mujoco.mjtJoint.mjJNT_BALL)  # has one angle, and none of its own in qpos
GRAVITY_MPS2 = 9.81

Share = Annotated[Array, (0.0, 1.0)]
Size = Annotated[Array, (0.0, math.inf)]
Signed = Annotated[Array, (-math.inf, math.inf)]
Term = Callable[..., Array]
TERMS: Registry[Term] = Registry("term")


def term(function: Term) -> Term:
    """Add a function of a transition, and of parameters by name, as a term under its own name.

    Its return annotation says in which range its values lie: Share, Size, Signed or an
    Annotated[Array, (low, high)] of your own.
    """
    returns = get_type_hints(function, include_extras=True).get("return")
    if len(getattr(returns, "__metadata__", ())) != 1:
        raise TypeError(f"term {function.__name__}: annotate what it returns: Share, Size, Signed.")
    TERMS.add(function.__name__, function, function.__module__)
    return function


@term
def forward_velocity(t: Transition) -> Signed:
    """Mean velocity along the first joint axis over the step, m/s: (x' - x) / dt.

    Gymnasium's planar tasks.
    """
    return t.after.qpos_rate[0]


@term
def forward_velocity_of_base(t: Transition) -> Signed:
    """Mean world-x velocity of the base body's frame over the step, m/s. Gymnasium's ant."""
    return t.after.base_velocity_w_mps[0]


@term
def alive(t: Transition) -> Share:
    """1 while the episode goes on, 0 on the step that terminates it."""
    return 1.0 - t.terminated.astype(jnp.float32)


@term
def action_effort(t: Transition) -> Size:
    """Sum of squared actions, in [0, nu]."""
    return jnp.sum(t.action**2)


@term
def action_change(t: Transition) -> Size:
    """Sum of squared changes of the action since the last step, in [0, 4 nu]."""
    return jnp.sum((t.action - t.previous_action) ** 2)


@term
def distance_to_target(t: Transition) -> Size:
    """Distance between the fingertip and the target, m, >= 0."""
    tip, target = t.robot.sensor("fingertip"), t.robot.sensor("target")
    return jnp.linalg.norm(t.after.sensors[tip] - t.after.sensors[target])


@term
def goal_error(t: Transition) -> Size:
    """Distance from what the task asked for in this step, in the goal's unit, >= 0."""
    return t.after.goal_error


@term
def goal_tracking_exp(t: Transition, *, scale: float) -> Share:
    """How much of the goal is met: exp(-(error / scale)^2), scale in the goal's unit, in (0, 1].

    The tracking reward of legged_gym (Rudin et al. 2022, arXiv:2109.11978).
    """
    return jnp.exp(-((t.after.goal_error / scale) ** 2))


@term
def yaw_rate_tracking_exp(t: Transition, *, scale: float) -> Share:
    """How much of the commanded yaw rate is met: exp(-(error / scale)^2), rad/s, in (0, 1]."""
    error = t.after.qvel[5] - given(t.command.yaw_rate_radps, "a yaw rate command")
    return jnp.exp(-((error / scale) ** 2))


@term
def vertical_speed_squared(t: Transition) -> Size:
    """Squared vertical velocity of a free-floating base, m^2/s^2."""
    return t.after.qvel[2] ** 2


@term
def ang_vel_xy_squared(t: Transition) -> Size:
    """Squared roll and pitch rates of a free-floating base, rad^2/s^2."""
    return jnp.sum(t.after.qvel[3:5] ** 2)


@term
def flat_orientation(t: Transition) -> Share:
    """Squared horizontal part of the base's vertical axis: sin^2 of the tilt, in [0, 1]."""
    return jnp.sum(t.after.base_rotation[2, :2] ** 2)


@term
def joint_offset(t: Transition) -> Size:
    """Sum of squared distances of the joints behind a free base from their home, rad^2."""
    return jnp.sum((t.after.qpos[7:] - t.robot.qpos0[7:].astype(np.float32)) ** 2)


@term
def home_offset(t: Transition) -> Size:
    """Sum of squared distances of all joints from their home, rad^2 or m^2."""
    return jnp.sum((t.after.qpos - t.robot.qpos0.astype(np.float32)) ** 2)


@term
def gait_contact(t: Transition, *, force_n: float) -> Share:
    """Share of the feet that are where the gait's clock wants them, in [0, 1].

    While the clock's sine is positive the feet of stance_first in robot.yaml stand and the others
    swing, and the other way round; standing is a ground force above force_n.
    """
    forces = jnp.stack(
        [t.after.sensors_peak[t.robot.sensor(f"force/{g}")] for g in t.robot.file.feet]
    )
    standing = jnp.linalg.norm(forces, axis=-1) > force_n
    return jnp.mean((standing == _stance(t)).astype(jnp.float32))


@term
def swing_lift(t: Transition, *, height_m: float, radius_m: float) -> Share:
    """How high the swinging feet are lifted above the ground, of height_m at mid-swing, in [0, 1].

    Mean over the feet that the gait's clock wants to swing, most at mid-swing; radius_m is a
    foot's. Needs a frame of each foot's name in robot.yaml.
    """
    feet = jnp.stack([t.after.sensors[t.robot.sensor(g)] for g in t.robot.file.feet])
    ground = t.robot.terrain.height_m(feet[:, :2]) if t.robot.terrain else 0.0
    share = jnp.clip((feet[:, 2] - ground - radius_m) / height_m, 0.0, 1.0)
    swings = ~_stance(t)
    return jnp.abs(_clock(t)) * jnp.sum(swings * share) / jnp.maximum(jnp.sum(swings), 1)


def _stance(t: Transition) -> Array:
    """Which feet the gait's clock wants on the ground, [feet] bool."""
    first = np.isin(t.robot.file.feet, t.robot.file.stance_first)
    return jnp.where(_clock(t) > 0, first, ~first)


def _clock(t: Transition) -> Array:
    """Sine of the gait's phase."""
    return given(t.command.gait_clock, "a gait clock")[0]


@term
def base_rate_squared(t: Transition) -> Size:
    """Squared angular velocity of a free-floating base, rad^2/s^2."""
    return jnp.sum(t.after.qvel[3:6] ** 2)


@term
def tip_offset(t: Transition, *, height_m: float, lateral_weight: float) -> Size:
    """Squared distance of the pole's tip from upright: lateral_weight x^2 + (z - height)^2, m^2."""
    tip = t.after.sensors[t.robot.sensor("tip")]
    return lateral_weight * tip[0] ** 2 + (tip[2] - height_m) ** 2


@term
def joint_speed_squared(t: Transition, *, joint: int) -> Size:
    """Squared velocity of one joint, rad^2/s^2 or m^2/s^2."""
    return t.after.qvel[joint] ** 2


@term
def mechanical_power(t: Transition) -> Size:
    """Positive mechanical power of all actuators, W, mean over the step; braking earns nothing."""
    return jnp.sum(t.after.positive_power_w)


@term
def planar_speed_mps(t: Transition) -> Size:
    """Speed of the base in the world's horizontal plane, mean over the step, m/s."""
    return jnp.linalg.norm(t.after.base_velocity_w_mps[:2])


@term
def speed_excess(t: Transition, *, limit_mps: float) -> Size:
    """How far the base's speed is above its limit, m/s, >= 0."""
    return jnp.maximum(planar_speed_mps(t) - limit_mps, 0.0)


@term
def velocity_violation(t: Transition, *, limit_mps: float) -> Share:
    """1 on a step whose speed is above the limit, else 0 (Safety-Gymnasium velocity tasks)."""
    return (planar_speed_mps(t) > limit_mps).astype(jnp.float32)


@term
def tilt_excess(t: Transition, *, limit_rad: float) -> Size:
    """How far the base leans beyond its limit, rad, in [0, pi]."""
    return jnp.maximum(tilt_rad(t.after, t.robot.upright_b) - limit_rad, 0.0)


@term
def tilt_violation(t: Transition, *, limit_rad: float) -> Share:
    """1 on a step in which the base leans beyond its limit, else 0."""
    return (tilt_rad(t.after, t.robot.upright_b) > limit_rad).astype(jnp.float32)


@term
def foot_force_bodyweights(t: Transition) -> Size:
    """Largest magnitude of a foot's ground force within the step, in body weights, >= 0."""
    weight_n = t.robot.mass_kg * GRAVITY_MPS2
    forces = [t.after.sensors_peak[t.robot.sensor(f"force/{g}")] for g in t.robot.file.feet]
    return jnp.max(jnp.linalg.norm(jnp.stack(forces), axis=-1)) / weight_n


@term
def impact_excess(t: Transition, *, limit_bodyweights: float) -> Size:
    """How far the hardest footfall is above its limit, in body weights, >= 0."""
    return jnp.maximum(foot_force_bodyweights(t) - limit_bodyweights, 0.0)


@term
def impact_violation(t: Transition, *, limit_bodyweights: float) -> Share:
    """1 on a step with a footfall above the limit, else 0."""
    return (foot_force_bodyweights(t) > limit_bodyweights).astype(jnp.float32)


@term
def joint_limit_excess(t: Transition, *, soft_fraction: float) -> Size:
    """Excursion of limited joints beyond the soft limit, in half ranges, summed, >= 0."""
    return jnp.sum(_beyond_soft_limit(t, soft_fraction))


@term
def joint_limit_violation(t: Transition, *, soft_fraction: float) -> Share:
    """1 on a step in which a limited joint is beyond the soft limit, else 0."""
    return jnp.any(_beyond_soft_limit(t, soft_fraction) > 0).astype(jnp.float32)


@term
def joint_speed_violation(t: Transition, *, limit_radps: float) -> Share:
    """1 on a step in which a joint turns faster than its limit, else 0."""
    return jnp.any(jnp.abs(t.after.qvel) > limit_radps).astype(jnp.float32)


@term
def joint_speed_excess(t: Transition, *, limit_radps: float) -> Size:
    """Sum over joints of the speed above the limit, rad/s, >= 0."""
    return jnp.sum(jnp.maximum(jnp.abs(t.after.qvel) - limit_radps, 0.0))


@term
def forbidden_contact(t: Transition) -> Share:
    """1 on a step in which a part that must not touch the ground does, else 0."""
    found = [
        t.after.sensors_peak[t.robot.sensor(f"contact/{g}")]
        for g in t.robot.file.forbidden_contacts
    ]
    return jnp.any(jnp.concatenate(found) > 0).astype(jnp.float32)


def _beyond_soft_limit(t: Transition, soft_fraction: float) -> Array:
    model = t.robot.model
    joints = np.flatnonzero(model.jnt_limited & (model.jnt_type != BALL))
    low, high = model.jnt_range[joints].T
    middle, half = (low + high) / 2, (high - low) / 2
    share = jnp.abs(t.after.qpos[model.jnt_qposadr[joints]] - middle) / half
    return jnp.maximum(share - soft_fraction, 0.0)


@term
def terminated(t: Transition) -> Share:
    """1 on the step that terminates the episode, else 0."""
    return t.terminated.astype(jnp.float32)


@term
def goal_approach(t: Transition) -> Signed:
    """How much nearer the goal this step came, m; negative when driving away from it."""
    return t.before.goal_error - t.after.goal_error


@term
def clearance_lack(t: Transition, *, margin_m: float) -> Size:
    """How much the hull is nearer than a margin to an obstacle or a wall, m, >= 0."""
    nearest = jnp.minimum(_around(t).clearance_m, _around(t).wall_m)
    return jnp.maximum(margin_m - nearest, 0.0)


@term
def collision_nearness(t: Transition, *, horizon_s: float) -> Share:
    """Share of a horizon that the time to collision falls short of it, in [0, 1]."""
    return jnp.maximum(1.0 - _around(t).time_to_collision_s / horizon_s, 0.0)


@term
def collision_course(t: Transition, *, horizon_s: float) -> Share:
    """1 on a step whose time to collision is below a limit, else 0."""
    return (_around(t).time_to_collision_s < horizon_s).astype(jnp.float32)


@term
def obstacle_contact(t: Transition) -> Share:
    """1 on a step in which the hull overlaps an obstacle, else 0."""
    return (_around(t).clearance_m < 0).astype(jnp.float32)


@term
def boundary_violation(t: Transition) -> Share:
    """1 on a step in which the hull is beyond a wall, else 0."""
    return (_around(t).wall_m < 0).astype(jnp.float32)


@term
def speed_change_excess(t: Transition, *, limit_mps: float) -> Size:
    """How much the planar velocity changed within the step beyond a limit, m/s, >= 0."""
    return jnp.maximum(_speed_change_mps(t) - limit_mps, 0.0)


@term
def speed_change_violation(t: Transition, *, limit_mps: float) -> Share:
    """1 on a step in which the planar velocity changes by more than a limit, else 0."""
    return (_speed_change_mps(t) > limit_mps).astype(jnp.float32)


def _speed_change_mps(t: Transition) -> Array:
    return jnp.linalg.norm(t.after.qvel[:2] - t.before.qvel[:2])


def _around(t: Transition) -> Around:
    return given(t.after.around, "a lidar")
