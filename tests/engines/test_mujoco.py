"""The engine equals plain MuJoCo bit for bit, and every plant field reaches the physics."""

import os

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from robo_rl.engines import callback
from robo_rl.engines import mujoco as mujoco_engine
from robo_rl.engines.base import nominal_plant
from robo_rl.envs import mdp
from robo_rl.envs.step import make
from robo_rl.robots.signals import from_readout
from tests.conftest import PLANT_CHANGES

LOWERED_M = 0.05  # the hopper's foot then touches the ground
AS_OURS = {
    "ant": {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0},
    "humanoid": {
        "include_cinert_in_observation": False,
        "include_cvel_in_observation": False,
        "include_qfrc_actuator_in_observation": False,
        "include_cfrc_ext_in_observation": False,
        "contact_cost_weight": 0,
    },
}


@pytest.mark.parametrize("name", mdp.names("gymnasium"))
def test_a_thousand_random_steps_equal_gymnasium_v5(name):
    theirs = gymnasium.make(mdp.get(name).gymnasium_id, **AS_OURS.get(name, {}))
    env = make(name)
    step = jax.jit(env.step)
    rng, data, scale = np.random.default_rng(0), theirs.unwrapped.data, theirs.action_space.high[0]

    def restart(seed=None):
        theirs.reset(seed=seed)
        physics_state, readout = env.engine.place(data.qpos.copy(), data.qvel.copy())
        return env.begin(jax.random.key(0), None, jnp.asarray(physics_state), readout)

    state = restart(seed=1)
    for _ in range(1000):
        action = rng.uniform(-1, 1, env.action_size).astype(np.float32)
        seen, reward, terminated, truncated, _ = theirs.step(action * scale)
        state = step(state, action)
        qpos, qvel = env.engine.unpack(np.asarray(state.physics_state))
        np.testing.assert_array_equal(qpos, data.qpos)
        np.testing.assert_array_equal(qvel, data.qvel)
        np.testing.assert_allclose(state.observation, seen.astype(np.float32), rtol=0, atol=1e-5)
        assert abs(float(state.reward) - reward) < 1e-5
        assert bool(state.terminated) == terminated
        assert bool(state.truncated) == (truncated and not terminated)
        if terminated or truncated:
            state = restart()


def advance(env, plant=None, wrench=None, robots=3, ctrl=0.3, steps=1):
    """State of a few robots some control steps after a low pose in ground contact."""
    qpos = np.tile(env.robot.qpos0, (robots, 1)).astype(np.float32)
    qpos[:, 1] -= LOWERED_M
    qvel = np.full((robots, env.robot.model.nv), 0.3, np.float32)
    active = np.ones(robots, bool)
    spread = (
        None
        if plant is None
        else jax.tree.map(lambda x: np.broadcast_to(x, (robots, *x.shape)), plant)
    )
    physics_state, _ = jax.vmap(env.engine.reset)(qpos, qvel, spread, active)
    command = np.full((robots, env.engine.substeps, env.action_size), ctrl, np.float32)
    force = None if wrench is None else np.broadcast_to(wrench, (robots, *wrench.shape))
    for _ in range(steps):
        physics_state, readout = jax.vmap(env.engine.step)(
            physics_state, command, force, spread, active
        )
    return np.concatenate(env.engine.unpack(np.asarray(physics_state)), axis=1), readout


IN_AIR = {"wind_w_mps"}  # the hopper's model has no medium around it


@pytest.mark.parametrize("field", nominal_plant(make("hopper").robot.model)._fields)
def test_every_plant_field_moves_the_next_state(hopper, field):
    env = make("quadrotor-hover") if field in IN_AIR else hopper
    nominal = nominal_plant(env.robot.model)
    value = np.full_like(getattr(nominal, field), PLANT_CHANGES[field])
    changed, _ = advance(env, nominal._replace(**{field: value}), steps=3)
    same, _ = advance(env, nominal, steps=3)
    assert np.abs(changed - same).max() > 1e-9


def test_a_nominal_plant_is_the_model_itself_to_the_last_bit(hopper):
    plain, _ = advance(hopper, None, steps=5)
    explicit, _ = advance(hopper, nominal_plant(hopper.robot.model), steps=5)
    np.testing.assert_array_equal(plain, explicit)


def test_a_plant_never_accumulates_and_leaves_nothing_behind(hopper):
    nominal = nominal_plant(hopper.robot.model)
    heavy = nominal._replace(mass_scale=nominal.mass_scale * 1.5)
    before, _ = advance(hopper, None, steps=3)
    first, _ = advance(hopper, heavy, steps=3)
    for _ in range(3):
        again, _ = advance(hopper, heavy, steps=3)
    np.testing.assert_array_equal(first, again)
    after, _ = advance(hopper, None, steps=3)
    np.testing.assert_array_equal(before, after)


def test_derived_constants_follow_the_plant(hopper):
    """A robot of scaled mass equals one compiled with that mass, contacts included."""
    scaled = hopper.robot.model
    fresh = mujoco.MjModel.from_xml_path(str(_asset("hopper.xml")))
    fresh.body_mass[:] *= 1.5
    fresh.body_inertia[:] *= 1.5
    data = mujoco.MjData(fresh)
    mujoco.mj_setConst(fresh, data)
    nominal = nominal_plant(scaled)
    ours, _ = advance(
        hopper, nominal._replace(mass_scale=nominal.mass_scale * np.float32(1.5)), steps=10
    )
    mujoco.mj_resetData(fresh, data)
    data.qpos[:] = hopper.robot.qpos0.astype(np.float32)
    data.qpos[1] = np.float32(np.float32(hopper.robot.qpos0[1]) - np.float32(LOWERED_M))
    data.qvel[:] = np.float32(0.3)
    mujoco.mj_forward(fresh, data)
    data.ctrl[:] = np.float32(0.3)
    mujoco.mj_step(fresh, data, nstep=10 * hopper.engine.substeps)
    np.testing.assert_allclose(ours[0], np.concatenate([data.qpos, data.qvel]), rtol=0, atol=1e-9)


def test_robots_in_a_batch_do_not_touch_each_other(hopper):
    alone, _ = advance(hopper, robots=1, steps=4)
    among, _ = advance(hopper, robots=17, steps=4)
    np.testing.assert_array_equal(alone[0], among[11])


def test_a_wrench_accelerates_the_body_by_force_over_mass():
    """Free flight: the whole hopper's centre of mass gains F t / m, whatever its joints do."""
    env = make("hopper")
    model, robots = env.robot.model, 1
    qpos = env.robot.qpos0.astype(np.float32)[None].copy()
    qpos[:, 1] += 5.0
    force = np.zeros((robots, model.nbody, 6), np.float32)
    force[:, 1, 0] = 50.0
    physics_state, _ = jax.vmap(env.engine.reset)(
        qpos, np.zeros((1, model.nv), np.float32), None, np.ones(1, bool)
    )
    ctrl = np.zeros((1, env.engine.substeps, env.action_size), np.float32)
    physics_state, _ = jax.vmap(env.engine.step)(physics_state, ctrl, force, None, np.ones(1, bool))
    state = env.engine.unpack(np.asarray(physics_state))
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = state[0][0], state[1][0]
    mujoco.mj_forward(model, data)
    mujoco.mj_subtreeVel(model, data)
    momentum = data.subtree_linvel[1, 0] * model.body_subtreemass[1]
    assert momentum == pytest.approx(50.0 * env.control_s, rel=1e-3)


def test_each_substep_gets_its_own_control(hopper):
    robots = 2
    qpos = np.tile(hopper.robot.qpos0, (robots, 1)).astype(np.float32)
    qvel = np.zeros((robots, hopper.robot.model.nv), np.float32)
    active = np.ones(robots, bool)
    physics_state, _ = jax.vmap(hopper.engine.reset)(qpos, qvel, None, active)
    ctrl = np.zeros((robots, hopper.engine.substeps, 3), np.float32)
    ctrl[1, -1] = 1.0  # only the last substep differs
    _, readout = jax.vmap(hopper.engine.step)(physics_state, ctrl, None, None, active)
    nq, nv = hopper.robot.model.nq, hopper.robot.model.nv
    speed = np.asarray(readout.samples)[:, :, nq : nq + nv]
    np.testing.assert_array_equal(speed[0, :-1], speed[1, :-1])
    assert np.abs(speed[0, -1] - speed[1, -1]).max() > 1e-3


def test_power_is_force_times_velocity_and_braking_is_not_credited(hopper):
    _, readout = advance(hopper, steps=2)
    first = jax.tree.map(lambda part: part[0], readout)
    signals = from_readout(hopper.robot, first)
    signed, positive = np.asarray(signals.power_w), np.asarray(signals.positive_power_w)
    by_substep = np.asarray(first.power_w)
    np.testing.assert_allclose(signed, by_substep.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(positive, by_substep.clip(0).mean(axis=0), rtol=1e-5)
    force = np.asarray(readout.actuator_force)
    np.testing.assert_allclose(
        force, 0.3, rtol=1e-6
    )  # torque motors: control times gain 1, gear apart


def test_a_peak_is_the_largest_magnitude_of_any_substep(hopper):
    _, readout = advance(hopper, steps=2)
    first = jax.tree.map(lambda part: np.array(part[0]), readout)
    first.samples[1, -1] = -7.5
    assert from_readout(hopper.robot, first).sensors_peak[-1] == 7.5


def test_inactive_robots_keep_their_state_bit_for_bit(hopper):
    robots = 4
    qpos = np.tile(hopper.robot.qpos0, (robots, 1)).astype(np.float32)
    qvel = np.zeros((robots, hopper.robot.model.nv), np.float32)
    physics_state, _ = jax.vmap(hopper.engine.reset)(qpos, qvel, None, np.ones(robots, bool))
    ctrl = np.ones((robots, hopper.engine.substeps, 3), np.float32)
    active = np.array([True, False, True, False])
    after, _ = jax.vmap(hopper.engine.step)(physics_state, ctrl, None, None, active)
    np.testing.assert_array_equal(np.asarray(after)[~active], np.asarray(physics_state)[~active])
    assert (np.asarray(after)[active] != np.asarray(physics_state)[active]).any()
    nobody, _ = jax.vmap(hopper.engine.step)(
        physics_state, ctrl, None, None, np.zeros(robots, bool)
    )
    np.testing.assert_array_equal(nobody, physics_state)


def test_the_portable_callback_gives_the_same_bits(hopper, monkeypatch):
    fast, _ = advance(hopper, steps=3)
    monkeypatch.setattr(callback, "buffer_callback", None)
    portable, _ = advance(hopper, steps=3)
    np.testing.assert_array_equal(fast, portable)


def _asset(name):
    from robo_rl.robots.robot import GYMNASIUM_ASSETS

    return GYMNASIUM_ASSETS / name


def test_a_system_that_does_not_say_which_cores_are_ours_gets_all_of_them(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")  # as outside Linux
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert mujoco_engine.cores() == 3
