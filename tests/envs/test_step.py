"""The one step: ends, errors, auto-reset, streams and latencies."""

from dataclasses import replace

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from robo_rl import errors
from robo_rl.envs.mdp import MEAN, Goal
from robo_rl.envs.step import make
from robo_rl.envs.terms import observations as obs
from robo_rl.injection.injectors import inject, neutral_of
from robo_rl.rewards.layers import RewardFile, Weighted
from robo_rl.robots.signals import Command
from robo_rl.scenarios.schema import stack


def test_a_nan_action_is_an_error_that_ends_the_episode_and_does_not_spread(hopper, hopper_step):
    state = hopper_step(jax.jit(hopper.reset)(jax.random.key(0)), jnp.zeros(3))
    broken = hopper_step(state, jnp.array([0.0, jnp.nan, 0.0]))
    assert bool(broken.error) and bool(broken.terminated)
    assert np.isfinite(broken.observation).all() and np.isfinite(broken.reward)
    np.testing.assert_array_equal(broken.physics_state, state.physics_state)
    assert bool(hopper_step(broken, jnp.zeros(3)).error)  # it never un-latches


def test_diverged_physics_is_an_error_and_not_a_silent_restart(hopper, hopper_step):
    state = jax.jit(hopper.reset)(jax.random.key(0))
    qpos, qvel = hopper.engine.unpack(np.asarray(state.physics_state))
    physics_state, readout = hopper.engine.place(qpos, qvel + 1e12)
    state = hopper.begin(jax.random.key(0), None, jnp.asarray(physics_state), readout)
    for _ in range(3):
        state = hopper_step(state, jnp.ones(3))
    assert bool(state.error)


def test_a_time_limit_truncates_and_does_not_terminate():
    env = make("reacher")
    state, step = jax.jit(env.reset)(jax.random.key(0)), jax.jit(env.step)
    for k in range(env.mdp.episode_steps):
        assert not bool(state.done), k
        state = step(state, jnp.zeros(2))
    assert bool(state.truncated) and not bool(state.terminated)


def test_auto_reset_keeps_the_terminal_observation_and_draws_a_fresh_start(hopper):
    step = jax.jit(hopper.step_autoreset)
    state = jax.jit(hopper.reset_batch)(jax.random.split(jax.random.key(0), 2))
    first = np.asarray(state.observation).copy()
    for _ in range(200):
        state, outcome = step(state, jnp.ones((2, 3)))
        if bool(outcome.done[0]):
            break
    assert bool(outcome.terminated[0])
    height, angle = float(outcome.signals.qpos[0, 1]), float(outcome.signals.qpos[0, 2])
    assert height <= 0.7 or abs(angle) >= 0.2  # the outcome is the fall, not the restart
    assert int(state.step[0]) == 0 and float(state.observation[0, 0]) > 1.2
    assert not np.array_equal(np.asarray(state.observation)[0], first[0])
    assert float(outcome.episode_return[0]) != 0.0 and float(state.episode_return[0]) == 0.0


def test_neutral_injection_is_the_nominal_mdp_to_the_last_bit(
    hopper, disturbed, disturbed_reset, disturbed_step
):
    keys = jax.random.split(jax.random.key(3), 2)
    neutral = jax.tree.map(lambda x: np.broadcast_to(x, (2, *np.shape(x))), disturbed.neutral())
    plain, injected = jax.jit(hopper.reset_batch)(keys), disturbed_reset(keys, neutral)
    step = jax.jit(hopper.step_batch)
    for k in range(30):
        action = jnp.sin(jnp.arange(6.0).reshape(2, 3) + k)
        plain, injected = step(plain, action), disturbed_step(injected, action)
        np.testing.assert_array_equal(plain.physics_state, injected.physics_state)
        np.testing.assert_array_equal(plain.observation, injected.observation)
        np.testing.assert_array_equal(plain.reward, injected.reward)


def test_a_latency_beyond_the_memory_is_refused_and_says_what_to_do(disturbed):
    late = disturbed.neutral()
    late = late._replace(actuation=late.actuation._replace(latency_s=np.float32(0.2)))
    with pytest.raises(errors.UserError, match=r"200 ms.*remembers 50 ms.*history_s=0.2"):
        disturbed.check(late)


def test_reset_options_start_from_a_given_state_exactly():
    ours, theirs = gymnasium.make("robo_rl/hopper-v1"), gymnasium.make("Hopper-v5")
    theirs.reset(seed=5)
    data = theirs.unwrapped.data
    seen, _ = ours.reset(options={"qpos": data.qpos.copy(), "qvel": data.qvel.copy()})
    for _ in range(10):
        action = ours.action_space.sample()
        a, b = ours.step(action), theirs.step(action)
        np.testing.assert_allclose(a[0], b[0].astype(np.float32), rtol=0, atol=1e-6)
        assert a[1] == pytest.approx(b[1], abs=1e-5)
    with pytest.raises(errors.UserError, match="qposs"):
        ours.reset(options={"qposs": data.qpos})
    with pytest.raises(errors.UserError, match="6 finite numbers"):
        ours.reset(options={"qpos": [1.0, 2.0]})


def test_costs_agree_with_the_true_signals(hopper, hopper_step):
    state = jax.jit(hopper.reset)(jax.random.key(1))
    for k in range(25):
        state = hopper_step(state, jnp.array([1.0, -1.0, 1.0]) * (-1) ** (k // 6))
        speed = np.linalg.norm(np.asarray(state.signals.base_velocity_w_mps)[:2])
        assert float(state.costs["velocity"]) == float(speed > 0.7402)
        tilt = np.arccos(np.clip(float(state.signals.base_rotation[2, 2]), -1, 1))
        assert float(state.costs["tilt"]) == float(tilt > 0.15)


def test_rewards_see_the_command_that_was_followed_and_observations_the_next():
    """A task that asks for the time at which it asks."""
    goal = Goal(
        "the time",
        lambda robot, key, time_s: Command(own={"time_s": jnp.float32(time_s)}),
        lambda robot, s, command: command.own["time_s"],
        *("s", 1.0, MEAN),
    )
    told = Weighted("told", lambda t: t.command.own["time_s"], {}, 1.0, "task")
    pendulum = make("inverted-pendulum")
    asking = replace(pendulum.mdp, goal=goal, observe=(obs.goal(),))
    env = replace(pendulum, mdp=asking, rewards=RewardFile("told", (told,), (), None))
    start = jax.jit(env.reset)(jax.random.key(0))
    assert float(start.observation[0]) == 0.0
    state = jax.jit(env.step)(jax.jit(env.step)(start, jnp.zeros(1)), jnp.zeros(1))
    assert float(state.observation[0]) == pytest.approx(0.08)
    assert float(state.reward) == float(state.signals.goal_error) == pytest.approx(0.04)


def test_a_servo_brings_the_angle_that_its_encoder_reads_to_its_target():
    """An arm told to hold its pose stands short of it by the bias of each encoder."""
    arm = make("arm-reach")
    level = neutral_of(arm.robot)
    biased = inject(
        level,
        arm.robot,
        "sensor_bias",
        0.1,
        np.random.default_rng(0),
        "t",
        channel="joint_position rad",
    )
    pair = [
        made._replace(start=made.start._replace(noise_scale=np.float32(0)))
        for made in (level, biased)
    ]
    state = jax.jit(arm.reset_batch)(jnp.stack([jax.random.key(5)] * 2), stack(pair))
    step = jax.jit(arm.step_batch)
    for _ in range(100):
        state = step(state, jnp.zeros((2, arm.action_size)))
    qpos, bias = np.asarray(state.signals.qpos), np.asarray(state.sensing.bias)[1]
    joints = bias[: arm.robot.model.nq]
    assert np.abs(joints).max() > 0.02
    np.testing.assert_allclose(qpos[1], qpos[0] - joints, atol=0.01)
