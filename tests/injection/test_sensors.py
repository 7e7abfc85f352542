"""The sensor injector against values worked out by hand, and the statistics it promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from robo_rl.injection import sensors

C = 3


def injection(**fields):
    return sensors.perfect(C)._replace(**{k: np.asarray(v, np.float32) for k, v in fields.items()})


def readings(made, steps=4000, capacity=0, substeps=2, seed=0):
    """Readings of a ramp that rises by one per substep, in all channels."""
    first = jnp.full((substeps, C), -1.0) + jnp.arange(substeps)[:, None] * 0
    memory = sensors.begin(made, first, capacity, jax.random.key(seed + 100))

    def one(carry, step):
        memory, time = carry
        samples = (time + jnp.arange(substeps) + 0.0)[:, None] * jnp.ones(C)
        memory, reading = sensors.measure(
            made, memory, samples, 0.002, jax.random.fold_in(jax.random.key(seed), step)
        )
        return (memory, time + substeps), (reading, samples[-1])

    _, (seen, true) = jax.lax.scan(one, (memory, 0.0), jnp.arange(steps))
    return np.asarray(seen), np.asarray(true)


def test_a_perfect_sensor_reads_the_truth():
    seen, true = readings(sensors.perfect(C), steps=20)
    np.testing.assert_array_equal(seen, true)


def test_delay_between_two_samples_is_interpolated():
    past = jnp.arange(10.0)[:, None] * jnp.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(sensors.delayed(past, jnp.array([0.0, 1.0, 2.5])), [9.0, 16.0, 19.5])
    np.testing.assert_allclose(sensors.delayed(past, jnp.array([8.5, 9.0, 99.0])), [0.5, 0.0, 0.0])


def test_a_latency_below_the_control_period_is_resolved():
    """Two substeps of 2 ms a step: 1 ms is half a substep, so the ramp is read half a unit late."""
    seen, true = readings(injection(latency_s=[0.001, 0.003, 0.008]), steps=50, capacity=20)
    np.testing.assert_allclose((true - seen)[10:], np.tile([0.5, 1.5, 4.0], (40, 1)), atol=1e-4)


def test_jitter_realises_every_age_and_not_one():
    seen, true = readings(injection(jitter_s=0.010), steps=4000, capacity=20)
    age = (true - seen)[20:, 0]
    counts, _ = np.histogram(age, bins=10, range=(0, 5))
    assert age.min() < 0.1 and age.max() > 4.9
    assert counts.min() > 0.7 * counts.mean()  # uniform, not a constant


def test_noise_is_two_sided_independent_per_channel_and_of_the_stated_size():
    seen, true = readings(injection(noise_std=[0.1, 0.2, 0.0]))
    error = seen - true
    np.testing.assert_allclose(error[:, :2].std(axis=0), [0.1, 0.2], rtol=0.06)
    assert abs(error[:, 0].mean()) < 0.01 and error[:, 0].min() < 0 < error[:, 0].max()
    assert abs(np.corrcoef(error[:, 0], error[:, 1])[0, 1]) < 0.06
    np.testing.assert_array_equal(error[:, 2], 0.0)


def test_bias_is_constant_in_an_episode_and_differs_between_episodes_and_channels():
    made = injection(bias_limit=[0.5, 0.5, 0.0])
    seen, true = readings(made, steps=3)
    np.testing.assert_allclose((seen - true)[0], (seen - true)[-1], atol=1e-6)
    keys = jax.random.split(jax.random.key(0), 200)
    drawn = np.asarray(
        jax.vmap(lambda key: sensors.begin(made, jnp.zeros((2, C)), 0, key).bias)(keys)
    )
    assert (
        (np.abs(drawn) <= 0.5 + 1e-6).all() and drawn[:, 0].min() < -0.3 and drawn[:, 0].max() > 0.3
    )
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.25


def test_quantise_rounds_to_the_resolution_and_zero_leaves_alone():
    read = sensors.quantise(jnp.array([0.37, -0.37, 0.123]), jnp.array([0.25, 0.25, 0.0]))
    np.testing.assert_allclose(read, [0.25, -0.25, 0.123])


def test_a_lost_reading_repeats_the_last_one():
    seen, true = readings(injection(drop_probability=0.3))
    held = (seen != true)[1:, 0]
    assert held.mean() == pytest.approx(0.3, abs=0.03)
    np.testing.assert_array_equal(seen[1:, 0][held], seen[:-1, 0][held])


def test_toggling_one_disturbance_never_moves_the_draws_of_another():
    alone, true = readings(injection(noise_std=[0.1] * 3), steps=50, capacity=20)
    beside, _ = readings(
        injection(noise_std=[0.1] * 3, bias_limit=[0.0, 0.5, 0.0], drop_probability=0.5),
        steps=50,
        capacity=20,
    )
    kept = beside[:, 0] == alone[:, 0]
    assert 0.2 < kept.mean() < 0.8  # wherever nothing was lost, the noise is the same number
    assert (np.abs((beside - true)[kept, 0] - (alone - true)[kept, 0]) == 0).all()
