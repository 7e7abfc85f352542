"""Policies side by side: what few pairs cannot show is not said."""

import numpy as np
import pytest

from robo_rl.safety_eval import versus

INF = np.inf


def line(new, old, metric="power", better=-1):
    made = versus._lines({metric: [np.array(old, float), np.array(new, float)]}, {metric: better})
    return made[0]


@pytest.mark.parametrize(
    ("won", "lost", "p"),
    [(5, 0, 0.0625), (6, 0, 0.03125), (0, 0, 1.0), (3, 3, 1.0), (9, 1, 22 / 1024)],
)
def test_the_sign_test_is_exact(won, lost, p):
    assert versus.sign_test(won, lost) == pytest.approx(p)


def test_two_pairs_show_nothing_however_large_the_difference():
    assert versus.verdict_of(line([1.0, 1.0], [9.0, 9.0]), 1) == "no difference shown"


def test_less_power_in_every_pair_is_better_and_infinite_error_is_worse():
    old = np.arange(10.0)
    assert versus.verdict_of(line(old - 1.0, old), 1) == "better"
    assert versus.verdict_of(line(np.full(10, INF), old), 1) == "worse"
    assert versus.verdict_of(line(np.full(10, INF), np.full(10, INF)), 1) == "no difference shown"


def test_no_fall_in_eight_episodes_is_no_certainty():
    share = line(np.zeros(8), np.zeros(8), "fell").values[1]
    assert share.point == 0.0
    assert share.high == pytest.approx(1 - 0.025 ** (1 / 8))  # Clopper-Pearson, 0 of 8


def test_the_risk_is_shared_by_all_lines():
    old = np.arange(6.0)  # 6 of 6: p = 0.03 alone, 0.06 where two metrics are looked at
    both = {"power": [old, old - 1.0], "survival": [old, old]}
    found = versus._lines(both, {"power": -1, "survival": 1})
    assert versus.verdict_of(found[0], 1) == "no difference shown"
