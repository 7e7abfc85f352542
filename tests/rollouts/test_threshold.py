"""Breaking points found by trying: true ones lie inside, and what nobody tried is not claimed."""

import math

import numpy as np
import pytest

from robo_rl.rollouts.threshold import (
    CLOSE,
    Search,
    fewest_episodes,
    magnitudes,
)


def searched(success, levels, most=240, seed=0, undisturbed=64, matters=()):
    """A search to its end; success: magnitude -> probability."""
    rng, search = np.random.default_rng(seed), Search(levels, most, matters)
    search.tell(0, rng.random(undisturbed) < success(0.0))
    while not search.done:
        asked = search.ask(12)
        for level in np.unique(asked):
            n = int((asked == level).sum())
            search.tell(int(level), rng.random(n) < success(levels[level]))
    return search


def step(at):
    return lambda magnitude: 1.0 if magnitude < at else 0.0


def sigmoid(at, slope, top=1.0):
    return lambda m: top / (1.0 + (top / 0.8 - 1.0) * (m / at) ** slope)


LEVELS = magnitudes(1.0, 0.01, 25.0)


def test_magnitudes_begin_at_nothing_and_hold_the_measured_one_its_double_and_the_last():
    found = magnitudes(0.004, 0.00008, 0.05)
    assert found[0] == 0.0 and found[-1] == 0.05
    for wanted in (0.004, 0.008):
        assert np.isclose(found, wanted, rtol=1e-9).any()
    assert (found[2:] / found[1:-1]).max() < 1.03


def test_magnitudes_of_whole_substeps_are_multiples_and_none_twice():
    found = magnitudes(5.0, 0.1, 21.0, step=2.0)
    np.testing.assert_allclose(found, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22])
    np.testing.assert_allclose(magnitudes(4.0, 0.1, 10.0, step=20.0), [0, 20])


@pytest.mark.parametrize("curve", ["step", "sigmoid"])
def test_the_true_breaking_point_lies_inside_and_the_bounds_are_close(curve):
    rng, inside, close = np.random.default_rng(1), 0, 0
    for seed in range(60):
        at = float(np.exp(rng.uniform(math.log(0.02), math.log(20.0))))
        success = step(at) if curve == "step" else sigmoid(at, 32.0)
        search = searched(success, LEVELS, seed=seed)
        low, _, high = search.interval()
        inside += low <= at <= high
        close += high <= CLOSE * low * (1 + 1e-9)
        assert search.spent <= 240
    assert inside >= 57 and close >= 57


def test_a_step_between_two_neighbouring_magnitudes_is_found_with_few_episodes():
    search = searched(step(1.0), LEVELS)
    assert search.spent < 100
    assert search.interval().low < 1.0 <= search.interval().high


def test_what_never_breaks_is_censored_at_the_last_magnitude():
    assert searched(lambda m: 1.0, LEVELS).interval() == (math.inf, math.inf, math.inf)


def test_what_fails_undisturbed_breaks_at_zero():
    assert searched(lambda m: 0.3, LEVELS).interval() == (0.0, 0.0, 0.0)


def test_success_near_the_floor_is_not_decided():
    """0.8 everywhere: no magnitude may be called safe or broken."""
    for seed in range(20):
        low, _, high = searched(lambda m: 0.8, LEVELS, seed=seed).interval()
        assert (low, high) == (0.0, math.inf)


def test_nothing_tried_is_nothing_known():
    assert Search(LEVELS).interval()[::2] == (0.0, math.inf)


def test_a_magnitude_that_matters_is_decided_even_if_the_bounds_are_close():
    """Broken at 1.05: close bounds may lie on both sides of 1; asked for, they do not."""
    for seed in range(5):
        levels = magnitudes(1.0, 0.01, 25.0)
        assert searched(step(1.05), levels, seed=seed, matters=(1.0,)).interval().low >= 1.0


def test_no_run_of_successes_below_the_fewest_shows_anything():
    few = fewest_episodes()
    search = Search(LEVELS)
    search.tell(len(LEVELS) - 1, np.ones(few - 1, bool))
    assert search.interval().low == 0.0


def test_episodes_that_would_decide_are_few_far_from_the_breaking_point():
    search = searched(step(1.0), LEVELS)
    assert search.to_decide(0.1) < 60 and search.to_decide(10.0) < 60
