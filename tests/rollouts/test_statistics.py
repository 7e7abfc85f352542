"""Statistics against values that are known or worked out by hand."""

import numpy as np
import pytest
import scipy.stats

from robo_rl.rollouts import statistics as st


@pytest.mark.parametrize(
    ("n", "bound"), [(10, 0.26), (30, 0.095), (100, 0.030), (300, 0.010), (1000, 0.003)]
)
def test_no_failure_in_n_episodes_bounds_the_rate(n, bound):
    assert st.rate_bounds(0, n)[1] == pytest.approx(bound, rel=0.05)


def test_exact_interval_of_two_failures_in_ten():
    """Clopper-Pearson 95 %: 0.0252 to 0.5561 (standard tables)."""
    found = st.rate(np.array([True] * 2 + [False] * 8))
    assert (found.low, found.point, found.high) == pytest.approx((0.02521, 0.2, 0.55610), abs=1e-4)


def test_certainty_is_never_claimed():
    found = st.rate(np.zeros(20, bool))
    assert found.low == 0.0 and found.high > 0.1


def test_the_exact_bound_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = [st.rate_bounds(int((rng.random(40) < 0.1).sum()), 40)[1] >= 0.1 for _ in range(500)]
    assert np.mean(covered) >= 0.95


def test_the_number_of_clean_episodes_needed():
    assert st.episodes_needed(0.1) == 29 and st.episodes_needed(0.05) == 59
    assert st.rate_bounds(0, 29)[1] <= 0.1 < st.rate_bounds(0, 28)[1]


def test_worst_share_mean():
    nine = np.array([5.0, 1.0, 9.0, 7.0, 3.0, 2.0, 8.0, 4.0, 6.0])
    assert st.cvar(nine, 0.1) == pytest.approx(1.0)
    assert st.cvar(np.arange(1.0, 11.0), 0.25) == pytest.approx((1 + 2 + 0.5 * 3) / 2.5)


def test_paired_change_sees_what_unpaired_rates_hide():
    """Six newly failing, none newly passing: exact one-sided p = 1/64."""
    found = st.paired_change(newly_failing=6, newly_passing=0, pairs=40)
    assert found.p_worse == pytest.approx(1 / 64)
    assert found.difference.low < 0.15 < found.difference.high
    same = st.paired_change(0, 0, 40)
    assert same.p_worse == 1.0 and same.difference.point == 0.0 and same.difference.high < 0.1


@pytest.mark.parametrize("rates", [(0.01, 0.0), (0.1, 0.0), (0.1, 0.1), (0.3, 0.2), (0.03, 0.2)])
def test_the_upper_bound_of_a_paired_difference_covers_what_it_says(rates):
    """Exact: the trinomial probability of every outcome whose bound is below the truth."""
    pairs, (worse, better) = 32, rates
    missed = sum(
        scipy.stats.multinomial.pmf(
            [b, c, pairs - b - c], pairs, [worse, better, 1 - worse - better]
        )
        for b in range(pairs + 1)
        for c in range(pairs + 1 - b)
        if st.difference_upper(b, c, pairs, 0.95) < worse - better
    )
    assert missed <= 0.05


def test_the_bounds_of_a_median_are_its_order_statistics():
    """Five values: P(all above the median) = 1/32, so the smallest bounds it at 95 %."""
    assert st.median_bounds(np.array([3.0, 1.0, 2.0, 5.0, np.inf])) == (1.0, np.inf)
    assert st.median_bounds(np.arange(4.0)) == (-np.inf, np.inf)  # 1/16 is too much
    assert st.median_bounds(np.zeros(64)) == (0.0, 0.0)


def test_the_episodes_that_decide_are_enough_and_a_few_less_are_not():
    needed = st.episodes_to_decide(0.05, 0.1)
    assert needed is not None
    assert st.chance_to_pass(needed, 0.1, 0.05) >= 0.8 > st.chance_to_pass(needed // 2, 0.1, 0.05)
    assert st.episodes_to_decide(0.1, 0.1) is None
    assert st.chance_to_pass(64, 0.1, st.rate_that_passes(64, 0.1)) == pytest.approx(0.8, abs=1e-6)


def test_the_most_failures_that_pass_are_those_of_the_exact_bound():
    assert [st.most_failures(n, 0.1) for n in (28, 29, 46, 64)] == [-1, 0, 1, 2]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1000.0, "1,000"),
        (999.96, "1,000"),
        (3346.4, "3,346"),
        (0.0123456, "0.01235"),
        (-5.8531, "-5.853"),
        (0.0, "0"),
        (1e7, "10,000,000"),
        (np.nan, "not known"),
    ],
)
def test_a_number_is_shown_with_four_digits_and_without_an_exponent(value, shown):
    assert st.figure(value) == shown


def test_an_interval_is_shown_without_an_exponent_and_says_where_there_is_none():
    assert str(st.Interval(900.0, 1000.0, 12345.6)) == "1,000 [900, 12,350]"
    assert str(st.Interval(np.nan, 1000.0, np.nan)) == "1,000 (no interval)"
