"""Intervals: against scipy, and whether they hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from sonde.audits.quality import classification, intervals
from sonde.audits.quality.intervals import Statistic, bootstrap, compare, mean, wilson


@pytest.mark.parametrize(("right", "n"), [(0, 5), (5, 5), (1, 2), (98, 100), (9870, 10000)])
def test_wilson_agrees_with_scipy(right, n):
    theirs = stats.binomtest(right, n).proportion_ci(method="wilson")
    assert wilson(right, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_no_rows_have_no_share():
    assert wilson(0, 0) is None


@pytest.mark.parametrize("p", [0.5, 0.9, 0.98])
def test_wilson_holds_its_level(p):
    n = 100
    held = [lo <= p <= hi for lo, hi in (wilson(k, n) for k in range(n + 1))]
    coverage = float(stats.binom.pmf(np.arange(n + 1), n, p) @ held)  # exact, no simulation
    assert 0.92 < coverage < 0.985  # it oscillates around its level with n and p (Brown, Cai and DasGupta, 2001)


def test_bca_agrees_with_scipy():
    values = np.random.default_rng(1).exponential(size=80)
    mine = bootstrap({"": mean(values)}, resamples=20_000)[""]
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=2).confidence_interval
    # The quantiles of 20,000 resamples scatter by about 1.5 % of the interval's width.
    assert mine == pytest.approx((theirs.low, theirs.high), abs=0.05 * (theirs.high - theirs.low))


def covered(truth, intervals_of, rounds=300):
    """The share of simulated intervals that hold the truth; +- 0.025 at 95 % and 300 rounds (two deviations)."""
    ends = [intervals_of(np.random.default_rng(i)) for i in range(rounds)]
    return np.mean([lo <= truth <= hi for lo, hi in ends])


def test_the_bootstrap_of_a_skewed_mean_holds_its_level():
    draw = lambda g: bootstrap({"": mean(g.exponential(size=100))}, resamples=500)[""]  # noqa: E731
    assert 0.91 <= covered(1.0, draw) <= 0.98


def test_the_bootstrap_of_an_f1_holds_its_level():
    share = np.array([0.30, 0.10, 0.05, 0.55])  # both, answered only, true only, neither
    columns = np.array([[2.0, 2.0], [0.0, 1.0], [0.0, 1.0], [0.0, 0.0]])

    def draw(g):
        counts = g.multinomial(200, share)
        return bootstrap({"": Statistic(columns, lambda s: s[..., 0] / s[..., 1])}, counts, resamples=500)[""]

    assert 0.91 <= covered(0.6 / 0.75, draw) <= 0.98


def of_classifier(name, g, n, sharper=1.0):
    """One simulated test set of a binary classifier whose logit is `sharper` times the true one."""
    logit = torch.from_numpy(g.normal(size=n))
    y = torch.from_numpy((g.random(n) < torch.sigmoid(logit).numpy()).astype(int))
    p = torch.sigmoid(sharper * logit)
    found = classification(torch.stack([1 - p, p], 1), y, ["no", "yes"])
    return next(m for m in found if m.name == f"quality/{name}")


def test_the_interval_of_an_auc_holds_its_level():
    g = np.random.default_rng(99)
    logit = g.normal(size=2000)
    p = 1 / (1 + np.exp(-logit))
    above = (logit[:, None] > logit) + 0.5 * (logit[:, None] == logit)
    truth = (p[:, None] * (1 - p) * above).sum() / (p[:, None] * (1 - p)).sum()  # scatters by under 0.01
    assert 0.91 <= covered(truth, lambda g: of_classifier("roc_auc", g, 300).interval, 200) <= 0.995


@pytest.mark.parametrize("sharper", [1.0, 1.3, 3.0])
def test_the_interval_of_a_calibration_error_holds_its_level(sharper):
    # Of a large sample, whose own upward bias is gone; 0 for the calibrated model.
    truth = 0.0 if sharper == 1 else of_classifier("ece", np.random.default_rng(7), 100_000, sharper).value
    assert (
        covered(truth, lambda g: of_classifier("ece", g, 500, sharper).interval, 150) >= 0.91
    )  # 0.95 less two deviations


def test_resampling_cells_is_resampling_rows():
    values = np.random.default_rng(0).integers(0, 3, 500).astype(float)
    distinct, counts = np.unique(values, return_counts=True)
    by_row, by_cell = bootstrap({"": mean(values)})[""], bootstrap({"": mean(distinct)}, counts)[""]
    assert by_row == pytest.approx(by_cell, abs=0.1 * (by_row[1] - by_row[0]))


def test_blocks_of_rows_give_the_interval_of_rows(monkeypatch):
    values = np.random.default_rng(0).exponential(size=4000)
    rows = bootstrap({"": mean(values)})[""]
    monkeypatch.setattr(intervals, "BLOCKS", 500)
    assert bootstrap({"": mean(values)})[""] == pytest.approx(rows, abs=0.1 * (rows[1] - rows[0]))


def test_the_same_rows_get_the_same_interval_and_no_global_generator_moves():
    values = np.random.default_rng(0).normal(size=50)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    assert bootstrap({"": mean(values)}) == bootstrap({"": mean(values)})
    assert (np.random.get_state()[1] == before[0]).all() and torch.equal(torch.get_rng_state(), before[1])


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0, 2.0], [1.0, np.nan, 2.0]], ids=str)
def test_what_has_no_interval_gets_none(values):
    assert bootstrap({"": mean(np.array(values))})[""] is None


def test_a_statistic_that_is_often_undefined_gets_no_interval():
    columns = np.array([[1.0, 1.0]] + [[0.0, 0.0]] * 4)  # a third of the resamples have no row with a weight
    assert bootstrap({"": Statistic(columns, lambda s: s[..., 1] / s[..., 0])})[""] is None


def test_intervals_stay_in_range():
    right = np.array([1.0] * 30 + [0.0])
    low, high = bootstrap({"": Statistic(mean(right).columns, mean(right).of, "upward", 0.0, 1.0)})[""]
    assert 0 <= low < high <= 1


def test_mcnemar_is_exact():
    first = np.array([1.0] * 12 + [0.0] * 3 + [1.0] * 50)
    second = np.array([0.0] * 12 + [1.0] * 3 + [1.0] * 50)
    expected = 2 * stats.binom.cdf(3, 15, 0.5) - stats.binom.pmf(3, 15, 0.5)  # mid-p
    found = compare(first, second)
    assert found.p == pytest.approx(expected) and found.winner == "first" and found.difference == pytest.approx(9 / 65)


def test_equal_models_are_not_distinguishable():
    scores = np.array([1.0, 0.0, 1.0])
    found = compare(scores, scores)
    assert (found.difference, found.interval, found.p, found.winner) == (0.0, None, 1.0, "neither")


def test_equally_good_models_are_rarely_told_apart():
    told = []
    for i in range(200):
        g = np.random.default_rng(i)
        both = g.random(150) < 0.6
        told.append(compare((both | (g.random(150) < 0.5)).astype(float), (both | (g.random(150) < 0.5)).astype(float)))
    assert np.mean([c.distinguishable for c in told]) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)


def test_scores_that_are_no_answers_are_compared_by_the_bootstrap_alone():
    g = np.random.default_rng(0)
    x = g.normal(size=300)
    found = compare(x, x - 0.3 + 0.1 * g.normal(size=300))
    assert found.p is None and found.winner == "first" and found.interval[0] < 0.3 < found.interval[1]
    assert compare(np.zeros(0), np.zeros(0)).winner == "neither"
    with pytest.raises(ValueError, match="two scores a row"):
        compare(np.zeros(2), np.zeros(3))
