"""Measures of fairness: equal to the reference libraries' definitions, with intervals that cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde.core import SondeError
from sonde.fairness import (
    average_odds_difference,
    confusion,
    demographic_parity_difference,
    equal_opportunity_difference,
    equalised_odds_difference,
    fairness_measures,
)
from tests.support import LAW


def people(seed: int, n: int = 400, groups: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    g = np.random.default_rng(seed)
    group = g.integers(groups, size=n)
    y = (g.random(n) < 0.3 + 0.1 * group).astype(int)
    return y, (g.random(n) < 0.2 + 0.4 * y + 0.1 * group).astype(int), group


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("groups", [2, 3, 6])
def test_the_differences_equal_fairlearns(seed: int, groups: int) -> None:
    reference = pytest.importorskip("fairlearn.metrics", reason="fairlearn is not installed")
    y, d, group = people(seed, groups=groups)
    for ours, theirs in {
        demographic_parity_difference: reference.demographic_parity_difference,
        equal_opportunity_difference: reference.equal_opportunity_difference,
        equalised_odds_difference: reference.equalized_odds_difference,
    }.items():
        assert ours(y, d, group) == pytest.approx(theirs(y, d, sensitive_features=group), abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_average_odds_difference_equals_ai_fairness_360s(seed: int) -> None:
    sklearn_form = pytest.importorskip("aif360.sklearn.metrics", reason="aif360 is not installed")
    pandas = pytest.importorskip("pandas")
    y, d, group = people(seed, groups=2)
    index = pandas.MultiIndex.from_arrays([group], names=["sex"])
    theirs = sklearn_form.average_odds_difference(pandas.Series(y, index=index), d, prot_attr="sex", priv_group=1)
    assert average_odds_difference(y, d, group, reference=1) == pytest.approx(theirs, abs=1e-9)


def test_a_case_that_a_hand_can_compute() -> None:
    y = [1, 1, 0, 0, 1, 1, 0, 0]
    d = [1, 0, 1, 0, 1, 1, 0, 0]
    group = [0, 0, 0, 0, 1, 1, 1, 1]
    assert demographic_parity_difference(y, d, group) == 0.0
    assert equal_opportunity_difference(y, d, group) == 0.5
    assert equalised_odds_difference(y, d, group) == 0.5
    assert average_odds_difference(y, d, group, reference=1) == 0.0
    assert confusion(y, d, group).tolist() == [[[1, 1], [1, 1]], [[2, 0], [0, 2]]]


@LAW
@given(st.integers(0, 10_000))
def test_the_value_lies_in_its_interval_and_in_its_range(seed: int) -> None:
    for m in fairness_measures(*people(seed, n=900), reference=0):
        assert m.interval is not None
        low, high = m.interval
        assert low <= m.value <= high
        assert (-1 if m.name.endswith("average_odds_difference") else 0) <= low <= high <= 1


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """100 samples from known rates: true differences .1, .1, .1 and -.1."""
    covered = np.zeros(4)
    for seed in range(100):
        y, d, group = people(seed, n=1000, groups=2)
        truth = [0.1 + 0.4 * 0.1, 0.1, 0.1, -0.1]  # parity: d's own .1 and .4 of the .1 that labels differ
        for i, m in enumerate(fairness_measures(y, d, group, reference=1)):
            assert m.interval is not None
            covered[i] += m.interval[0] <= truth[i] <= m.interval[1]
    assert (covered / 100 >= 0.89).all(), covered  # nearly three standard errors below .95


def test_a_rare_group_is_left_out_and_named() -> None:
    y, d, group = people(1)
    y, d, group = np.append(y, 1), np.append(d, 0), np.append(group, 3)
    with_it = fairness_measures(y, d, group, names=["a", "b", "c", "rare"])
    without = fairness_measures(y[:-1], d[:-1], group[:-1])
    assert [m.value for m in with_it] == [m.value for m in without]
    assert all(m.settings["left_out"] == ["rare"] and m.settings["groups"] == 3 for m in with_it)


def test_groups_too_few_to_compare_give_no_number_and_no_crash() -> None:
    for y, d, group in (([], [], []), ([1, 0], [1, 0], [0, 1]), ([1] * 50, [1] * 50, [0] * 50)):
        for m in fairness_measures(y, d, group):
            assert math.isnan(m.value) and m.interval is None
    assert math.isnan(equal_opportunity_difference([0, 0], [1, 0], [0, 1]))


def test_rates_of_nought_and_one_have_intervals_with_a_width() -> None:
    y, group = np.ones(100, int), np.repeat([0, 1], 50)
    (m,) = [m for m in fairness_measures(y, y, group) if "opportunity" in m.name]
    assert m.value == 0.0 and m.interval is not None and 0.01 < m.interval[1] < 0.1


def test_what_is_no_decision_is_refused_in_words() -> None:
    with pytest.raises(SondeError, match="decisions are 0 and 1"):
        confusion([0, 1], [0.3, 0.7], [0, 1])
    with pytest.raises(SondeError, match="reference group 5 is not among the 2 groups"):
        average_odds_difference([0, 1], [0, 1], [0, 1], reference=5)
