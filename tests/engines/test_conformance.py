"""Every engine against closed-form answers: no engine is right because another agrees with it."""

import math

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from robo_rl.engines import ENGINES
from robo_rl.engines.base import Tracking

STEP_S, STEPS = 0.002, 300
GRAVITY_MPS2 = 9.81
HEIGHT_M = 5.0
PENDULUM_M, ANGLE_RAD = 0.4, 0.05
FRICTION, SPEED_MPS = 0.5, 1.0
INERTIA_KGM2 = 0.02  # of every wheel
DAMPING, DRY_NM, RATE_RADPS = 0.1, 0.06, 5.0
ARMATURE_KGM2, KP, KV, TARGET_RAD = 0.03, 20.0, 0.6, 0.4
LIMIT_NM = 0.5
STOP_RAD = 0.3
WHEEL = f"""
<inertial pos="0 0 0" mass="1" diaginertia="{INERTIA_KGM2} {INERTIA_KGM2} {INERTIA_KGM2}"/>"""
MODEL = f"""
<mujoco><compiler angle="radian"/>
<option timestep="{STEP_S}" integrator="implicitfast" gravity="0 0 {-GRAVITY_MPS2}"/>
<worldbody>
  <geom name="floor" type="plane" size="9 9 1" friction="{FRICTION}" contype="1" conaffinity="2"/>
  <body pos="0 0 {HEIGHT_M}"><freejoint/><geom type="sphere" size="0.1" contype="0"
    conaffinity="0" mass="2"/></body>
  <body pos="0 2 3"><joint name="pendulum" axis="0 1 0"/>
    <inertial pos="0 0 {-PENDULUM_M}" mass="1" diaginertia="1e-6 1e-6 1e-6"/></body>
  <body pos="0 4 0.1"><joint name="along" type="slide" axis="1 0 0"/>
    <joint name="up" type="slide" axis="0 0 1"/>
    <geom type="box" size="0.1 0.1 0.1" mass="3" friction="{FRICTION}" contype="2"
      conaffinity="1"/></body>
  <body pos="0 6 3"><joint name="damped" axis="0 1 0" damping="{DAMPING}"/>{WHEEL}</body>
  <body pos="0 8 3"><joint name="dry" axis="0 1 0" frictionloss="{DRY_NM}"/>{WHEEL}</body>
  <body pos="0 10 3"><joint name="servo" axis="0 1 0" armature="{ARMATURE_KGM2}"/>{WHEEL}</body>
  <body pos="0 12 3"><joint name="weak" axis="0 1 0" armature="{ARMATURE_KGM2}"/>{WHEEL}</body>
  <body pos="0 14 3"><joint name="stop" axis="0 1 0" range="-1 {STOP_RAD}" limited="true"/>
    {WHEEL}</body>
</worldbody>
<actuator>
  <position joint="servo" kp="{KP}" kv="{KV}" ctrlrange="-9 9"/>
  <position joint="weak" kp="{KP}" ctrlrange="-9 9" forcerange="{-LIMIT_NM} {LIMIT_NM}"/>
</actuator></mujoco>"""
JOINTS = ("pendulum", "along", "up", "damped", "dry", "servo", "weak", "stop")


@pytest.fixture(scope="module", params=sorted(ENGINES))
def motion(request):
    """Angle or distance and rate of every joint over time: {name: (position, rate)}, [steps]."""
    model = mujoco.MjModel.from_xml_string(MODEL)
    engine = ENGINES[request.param](model, STEPS, Tracking(1))
    qpos, qvel = model.qpos0.copy(), np.zeros(model.nv)
    qpos[model.joint("pendulum").qposadr] = ANGLE_RAD
    for name, rate in {"along": SPEED_MPS, "damped": RATE_RADPS, "dry": RATE_RADPS}.items():
        qvel[model.joint(name).dofadr] = rate
    qvel[model.joint("stop").dofadr] = 1.0

    @jax.jit
    def run(qpos, qvel):
        physics_state, _ = engine.reset(qpos, qvel, None, jnp.bool_(True))
        ctrl = jnp.broadcast_to(jnp.array([TARGET_RAD, 9.0]), (STEPS, 2))
        return engine.step(physics_state, ctrl, None, None, jnp.bool_(True))[1].samples

    samples = np.asarray(run(jnp.float32(qpos), jnp.float32(qvel)))
    found = {"fall": (samples[:, 2], samples[:, model.nq + 2])}
    for name in JOINTS:
        joint = model.joint(name)
        found[name] = (
            samples[:, joint.qposadr[0]],
            samples[:, model.nq + joint.dofadr[0]],
        )
    return found


TIME_S = STEP_S * np.arange(1, STEPS + 1)


def test_a_free_body_falls_half_g_t_squared(motion):
    height, speed = motion["fall"]
    np.testing.assert_allclose(speed, -GRAVITY_MPS2 * TIME_S, rtol=1e-4)
    euler_m = GRAVITY_MPS2 * TIME_S * STEP_S  # what a first-order integrator may be off
    error_m = np.abs(height - (HEIGHT_M - GRAVITY_MPS2 * TIME_S**2 / 2))
    assert (error_m <= euler_m + 1e-5).all()


def test_a_pendulum_swings_with_the_period_of_its_length(motion):
    angle, _ = motion["pendulum"]
    crossing = int(np.argmax(angle < 0))
    share = angle[crossing - 1] / (angle[crossing - 1] - angle[crossing])
    quarter_s = TIME_S[crossing - 1] + share * STEP_S
    assert 4 * quarter_s == pytest.approx(2 * math.pi * math.sqrt(PENDULUM_M / 9.81), rel=0.01)


def test_a_sliding_box_brakes_with_mu_g_and_stops(motion):
    way_m, speed = motion["along"]
    stop_s = SPEED_MPS / (FRICTION * GRAVITY_MPS2)
    moving = (TIME_S > 0.02) & (0.9 * stop_s > TIME_S)  # the contact settles first
    slope = np.polyfit(TIME_S[moving], speed[moving], 1)[0]
    assert slope == pytest.approx(-FRICTION * GRAVITY_MPS2, rel=0.03)
    assert way_m[-1] == pytest.approx(SPEED_MPS**2 / (2 * FRICTION * GRAVITY_MPS2), rel=0.05)
    assert abs(speed[-1]) < 5e-3


def test_a_damped_wheel_slows_exponentially(motion):
    _, rate = motion["damped"]
    expected = RATE_RADPS * np.exp(-DAMPING * TIME_S / INERTIA_KGM2)
    np.testing.assert_allclose(rate, expected, atol=0.01 * RATE_RADPS)


def test_dry_friction_slows_a_wheel_evenly(motion):
    _, rate = motion["dry"]
    expected = np.maximum(RATE_RADPS - DRY_NM * TIME_S / INERTIA_KGM2, 0.0)
    np.testing.assert_allclose(rate, expected, atol=0.02 * RATE_RADPS)


def test_a_servo_answers_a_step_as_inertia_armature_and_gains_say(motion):
    angle, _ = motion["servo"]
    inertia = INERTIA_KGM2 + ARMATURE_KGM2
    natural = math.sqrt(KP / inertia)
    decay = KV / (2 * inertia)
    ringing = math.sqrt(natural**2 - decay**2)
    wave = np.cos(ringing * TIME_S) + decay / ringing * np.sin(ringing * TIME_S)
    expected = TARGET_RAD * (1 - np.exp(-decay * TIME_S) * wave)
    np.testing.assert_allclose(angle, expected, atol=0.03 * TARGET_RAD)


def test_a_torque_limit_bounds_the_acceleration(motion):
    _, rate = motion["weak"]
    expected = LIMIT_NM / (INERTIA_KGM2 + ARMATURE_KGM2) * TIME_S
    np.testing.assert_allclose(rate[:100], expected[:100], rtol=0.01)


def test_a_joint_limit_is_not_passed(motion):
    angle, _ = motion["stop"]
    assert 0.99 * STOP_RAD < angle.max() < STOP_RAD + 0.02
