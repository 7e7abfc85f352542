"""What a few training runs say, against values worked out by hand and against simulation."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from robo_rl.rollouts import seeds


@pytest.fixture()
def rng():
    return np.random.default_rng(0)


def two_modes(share, apart):
    return lambda rng, shape: (
        np.where(rng.random(shape) < share, apart, 0.0) + rng.normal(size=shape)
    )


def covered(draw, rng, count, median, draws=3000):
    made = [seeds.over_runs(scores) for scores in draw(rng, (draws, count))]
    return float(np.mean([i.low <= median <= i.high for i in made]))


def test_the_interquartile_mean_leaves_out_whole_values_as_rliable_does(rng):
    assert seeds.iqm(np.arange(1.0, 9.0)) == pytest.approx(4.5)
    assert seeds.iqm(np.array([0.0, 1.0, 2.0, 3.0, 100.0])) == pytest.approx(2.0)
    assert seeds.iqm(np.array([1.0, 2.0, 9.0])) == pytest.approx(4.0)
    seven = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 20.0])
    assert seeds.iqm(seven) == pytest.approx(3.0)
    for count in range(1, 12):
        scores = rng.normal(size=count)
        assert seeds.iqm(scores) == pytest.approx(scipy.stats.trim_mean(scores, 0.25))


def test_two_runs_have_students_interval():
    """Mean 2, standard error 1, t(0.975, 1) = 12.706: 2 +- 12.706."""
    found = seeds.over_runs(np.array([1.0, 3.0]))
    assert found == pytest.approx((2.0 - 12.706, 2.0, 2.0 + 12.706), abs=2e-3)


def test_an_interval_of_many_runs_ends_at_scores_that_bound_the_median_exactly():
    """Of 9, P(fewer than 2 below the median) = 10 / 512 < 2.5 % < 46 / 512: second and eighth."""
    nine = np.array([9.0, 1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0])
    assert seeds.over_runs(nine) == (2.0, 5.0, 8.0)
    assert seeds.over_runs(np.arange(6.0)) == (0.0, 2.5, 5.0)
    assert seeds.widening(6) == 0.0


@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize(
    ("draw", "median"),
    [
        (lambda rng, shape: rng.standard_t(3, shape), 0.0),
        (lambda rng, shape: rng.standard_t(2, shape), 0.0),
        (lambda rng, shape: np.exp(rng.normal(size=shape)), 1.0),
        (two_modes(0.2, 30.0), float(scipy.stats.norm.ppf(0.5 / 0.8))),
        (two_modes(0.3, 30.0), float(scipy.stats.norm.ppf(0.5 / 0.7))),
    ],
    ids=["t3", "t2", "lognormal", "modes 80/20", "modes 70/30"],
)
def test_three_and_five_seeds_hold_the_median_as_often_as_they_say(draw, median, count, rng):
    """93 to 97 %, and 1.2 points of it for 3000 draws (three standard errors)."""
    assert 0.93 - 0.012 <= covered(draw, rng, count, median) <= 0.97 + 0.012


def test_five_seeds_hold_the_median_of_two_equal_modes_and_three_cannot(rng):
    """All on one side: 2 / 32 of five, 2 / 8 of three."""
    assert covered(two_modes(0.5, 30.0), rng, 5, 15.0) == pytest.approx(1 - 2 / 32, abs=0.014)
    assert covered(two_modes(0.5, 30.0), rng, 3, 15.0) == pytest.approx(1 - 2 / 8, abs=0.024)


def test_a_crashed_run_ranks_below_every_score_and_opens_the_interval_downwards():
    found = seeds.over_runs(np.array([np.nan, 5.0, 7.0]))
    assert (found.low, found.point) == (-np.inf, 5.0) and 7.0 < found.high < 9.0
    assert seeds.over_runs(np.array([np.nan, np.nan, 7.0])) == (-np.inf, -np.inf, np.inf)
    fine, crashed = np.array([1.0, 2.0]), np.array([np.nan, np.nan])
    assert seeds.probability_of_improvement(fine, crashed).point == 1.0
    assert seeds.probability_of_improvement(crashed, fine).point == 0.0


def test_equal_scores_of_a_few_runs_have_no_interval_and_of_five_they_do():
    few = seeds.over_runs(np.array([1000.0] * 4))
    assert few.point == 1000.0 and math.isnan(few.low) and math.isnan(few.high)
    assert seeds.over_runs(np.array([1000.0] * 5)) == (1000.0, 1000.0, 1000.0)
    assert math.isnan(seeds.over_runs(np.array([5.0])).low)


def test_an_interval_never_leaves_the_range_of_its_quantity():
    shares = seeds.over_runs(np.array([0.9, 0.98, 1.0]), 0.0, 1.0)
    assert 0.0 < shares.low < 0.9 and shares.high == 1.0
    assert seeds.over_runs(np.array([23.0, 220.0, 417.0]), 0.0).low == 0.0


def test_probability_of_improvement_counts_ties_half():
    first, second = np.array([2.0, 3.0]), np.array([1.0, 2.0])
    assert seeds.probability_of_improvement(first, second).point == pytest.approx(0.875)
    assert seeds.probability_of_improvement(np.ones(2), np.ones(2)).point == 0.5


@pytest.mark.parametrize(("count", "low"), [(1, 0.2), (3, 0.5), (5, 0.64), (10, 0.80)])
def test_winning_every_pair_never_gives_certainty(count, low):
    found = seeds.probability_of_improvement(np.arange(count) + 100.0, np.arange(count) * 1.0)
    assert (found.point, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(low, abs=0.09 if count == 1 else 0.01)


@pytest.mark.parametrize(("count", "p"), [(2, 2 / 6), (3, 2 / 20), (4, 2 / 70), (5, 2 / 252)])
def test_the_least_p_value_is_two_of_all_arrangements(count, p):
    found = seeds.p_equal(np.arange(count) + 100.0, np.arange(count) * 1.0)
    assert found == pytest.approx(p)


def test_equal_scores_and_two_arms_that_crashed_are_no_difference():
    assert seeds.p_equal(np.full(5, 1000.0), np.full(5, 1000.0)) == 1.0
    assert seeds.p_equal(np.full(5, np.nan), np.full(5, np.nan)) == 1.0


@pytest.mark.parametrize("count", [3, 4, 5])
def test_equal_algorithms_are_called_different_in_at_most_5_percent(count):
    """Without ties every arrangement of ranks is equally likely: all of them are gone through."""
    ranks = set(range(2 * count))
    different = [
        seeds.p_equal(np.array(list(mine), float), np.array(list(ranks - set(mine)), float)) <= 0.05
        for mine in itertools.combinations(ranks, count)
    ]
    assert np.mean(different) <= 0.05
    assert any(different) == (count >= 4)


def test_several_p_values_are_made_good_for_their_number():
    """3 * 0.01; then 2 * 0.03; then at least the one before."""
    assert seeds.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert seeds.holm([]) == []


def test_the_fewest_seeds_that_can_decide_grow_with_the_comparisons():
    """2 / C(8, 4) = 0.029; 3 * 2 / C(10, 5) = 0.024; 15 * 2 / C(12, 6) = 0.032."""
    assert [seeds.least_runs(pairs) for pairs in (1, 3, 15)] == [4, 5, 6]


def test_the_seeds_needed_decide_a_difference_as_large_as_seen(rng):
    """(1.960 + 0.842)^2 / (6 * 0.2^2) = 32.7; a normal shift that wins 70 % has power 0.8."""
    needed = seeds.runs_needed(0.7, 1)
    assert needed == 33
    assert math.isinf(seeds.runs_needed(0.5, 1))
    shift = math.sqrt(2.0) * scipy.stats.norm.ppf(0.7)
    new, old = rng.normal(shift, size=(300, 33)), rng.normal(size=(300, 33))
    power = np.mean(scipy.stats.mannwhitneyu(new, old, axis=1).pvalue <= 0.05)
    assert power == pytest.approx(0.8, abs=0.07)
