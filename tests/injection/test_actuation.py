"""The actuation injector against values worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from robo_rl.injection import actuation

SUBSTEPS, SUBSTEP_S = 4, 0.002


def injection(**fields):
    return actuation.ideal(2)._replace(**{k: np.asarray(v, np.float32) for k, v in fields.items()})


def commands(made, actions, capacity=8, seed=0):
    """The command at every substep for a list of actions, [steps * substeps, nu]."""

    def one(memory, at):
        action, k = at
        key = jax.random.fold_in(jax.random.key(seed), k)
        return actuation.actuate(made, memory, action, SUBSTEPS, SUBSTEP_S, key)

    given = jnp.asarray(actions, jnp.float32)
    _, out = jax.lax.scan(one, actuation.begin(2, capacity), (given, jnp.arange(len(given))))
    return np.asarray(out).reshape(-1, 2)


STEPS = [[0.1, -0.1], [0.2, -0.2], [0.3, -0.3], [0.4, -0.4]]


def test_an_ideal_drive_passes_the_command_on_untouched():
    np.testing.assert_array_equal(
        commands(actuation.ideal(2), STEPS), np.repeat(np.float32(STEPS), 4, axis=0)
    )


@pytest.mark.parametrize(
    ("late_ms", "ages"),
    [
        (0, [0, 0, 0, 0]),
        (2, [1, 0, 0, 0]),
        (3, [1, 1, 0, 0]),
        (8, [1, 1, 1, 1]),
        (10, [2, 1, 1, 1]),
        (17, [3, 2, 2, 2]),
    ],
)
def test_a_command_acts_once_its_latency_has_passed_also_below_the_period(late_ms, ages):
    """8 ms a step of 2 ms substeps.

    3 ms late means the old command for two substeps, the new for two.
    """
    age = actuation.command_age(jnp.float32(late_ms / 1e3), SUBSTEPS, SUBSTEP_S, 8)
    np.testing.assert_array_equal(age, ages)


def test_latency_shifts_the_whole_sequence():
    late = commands(injection(latency_s=0.004), STEPS)[:, 0]
    prompt = commands(actuation.ideal(2), STEPS)[:, 0]
    np.testing.assert_allclose(late[2:], prompt[:-2])
    np.testing.assert_array_equal(late[:2], 0.0)


def test_jitter_realises_every_latency_and_not_one():
    actions = np.linspace(-1, 1, 600, dtype=np.float32)[:, None] * np.ones(2, np.float32)
    late = commands(injection(jitter_s=0.008), actions)[:, 0].reshape(-1, 4)
    ages = ((late - actions[:, :1]) != 0).sum(axis=1)[2:]
    counts = np.bincount(ages, minlength=5)[1:5]
    assert (counts > 0.6 * counts.mean()).all(), counts


def test_saturation_clips_and_rate_limits_the_slope():
    clipped = commands(injection(saturation=[0.25, 1.0]), STEPS)
    assert clipped[:, 0].max() == pytest.approx(0.25) and clipped[:, 1].min() == pytest.approx(-0.4)
    slow = commands(injection(rate_limit_per_s=[10.0, 10.0]), [[1.0, -1.0]] * 3)
    np.testing.assert_allclose(np.diff(slow[:, 0]), 0.02, rtol=1e-4)
    np.testing.assert_allclose(np.diff(slow[:, 1]), -0.02, rtol=1e-4)


def test_lag_reaches_63_percent_after_one_time_constant():
    step = commands(injection(lag_s=0.016), [[1.0, 1.0]] * 4)
    assert step[7, 0] == pytest.approx(1 - np.exp(-1), rel=1e-4)


@pytest.mark.parametrize("substep_ms", [5.0, 2.0, 0.5])
def test_a_rate_limit_and_a_lag_behind_it_are_a_cascade_at_any_substep(substep_ms):
    """From 0 to 1 in 10 ms, then a lag of 10 ms: both closed forms, not one state for both."""
    made = injection(rate_limit_per_s=[100.0, 100.0], lag_s=0.010)
    limited = applied = jnp.zeros(2)
    for k in range(1, round(40.0 / substep_ms) + 1):
        limited, applied = actuation.follow(made, limited, applied, jnp.ones(2), substep_ms / 1e3)
        t = k * substep_ms / 10.0  # in time constants; the ramp ends at 1
        ramp = t - (1.0 - np.exp(-t))
        expected = ramp if t <= 1.0 else 1.0 - (1.0 - np.exp(-1.0)) * np.exp(-(t - 1.0))
        np.testing.assert_allclose(applied, expected, atol=2e-6)


def test_a_lost_command_without_any_history_leaves_the_last_command_and_not_what_lags():
    """Commands 1 and lost ones only: behind a lag the drive goes on towards 1."""
    made = injection(drop_probability=0.9, lag_s=0.016)
    got = commands(made, [[1.0, 1.0]] * 200, capacity=0)
    assert got[-1, 0] == pytest.approx(1.0, abs=1e-4)


def test_a_lost_command_holds_the_last_one():
    actions = np.linspace(-1, 1, 800, dtype=np.float32)[:, None] * np.ones(2, np.float32)
    got = commands(injection(drop_probability=0.25), actions)[::4, 0]
    held = got[1:] == got[:-1]
    assert held.mean() == pytest.approx(0.25, abs=0.05)
    assert np.isin(got, np.append(actions[:, 0], 0.0)).all()


def test_noise_is_independent_per_actuator_and_two_sided():
    got = commands(injection(noise_std=[0.1, 0.2]), [[0.0, 0.0]] * 1500)[::4]
    np.testing.assert_allclose(got.std(axis=0), [0.1, 0.2], rtol=0.1)
    assert abs(np.corrcoef(got.T)[0, 1]) < 0.1 and abs(got.mean()) < 0.02
