"""Curves and their areas: scikit-learn's, with intervals that cover; and what the quality audit shows of each task."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sonde.audits.quality.classes import class_findings, confusion_matrix
from sonde.audits.quality.curves import Curves, auc, curve_of
from sonde.audits.quality.residuals import residual_findings
from sonde.core import Figure, Measure, Subject, Table, run_audits


def scored(n: int, seed: int = 0, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.3
    score = rng.normal(size=n) + truth
    return (score.round() if ties else score), truth


@pytest.mark.parametrize("ties", [False, True])
def test_curves_are_scikit_learns(ties: bool) -> None:
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

    score, truth = scored(300, ties=ties)
    found, _ = curve_of(score, truth, "", 20)
    false, right, _ = roc_curve(truth, score, drop_intermediate=False)
    np.testing.assert_allclose(found.false, false, atol=1e-12)
    np.testing.assert_allclose(found.found, right, atol=1e-12)
    precision, recall, _ = precision_recall_curve(truth, score)
    full = found.found[1:] <= 1
    np.testing.assert_allclose(found.right[1:][full], precision[:-1][::-1], atol=1e-12)
    np.testing.assert_allclose(found.found[1:], recall[:-1][::-1], atol=1e-12)
    assert found.auc == pytest.approx(roc_auc_score(truth, score))
    assert found.ap == pytest.approx(average_precision_score(truth, score))


def test_intervals_of_areas_cover_at_their_rate() -> None:
    from scipy.stats import norm

    truth = norm.cdf(1 / np.sqrt(2))
    large = curve_of(*scored(200_000, 99), "", 2)[0].ap
    areas, precisions = 0, 0
    for seed in range(200):
        low, high = auc(*scored(150, seed))[1]
        areas += low <= truth <= high
        low, high = curve_of(*scored(150, seed), "", 200)[0].ap_interval
        precisions += low <= large <= high
    assert 180 <= areas <= 199
    assert 176 <= precisions <= 199


def test_a_perfect_order_has_no_interval_that_says_it_is_certain() -> None:
    assert auc(np.arange(10.0), np.arange(10) > 4) == (1.0, None)


def test_one_class_leaves_the_area_out() -> None:
    s = Subject.of(torch.nn.Identity(), torch.randn(20, 2), torch.zeros(20, dtype=torch.int64))
    (found,) = run_audits(s, [Curves()])
    assert [m.settings.get("omitted") for m in found.measures] == ["only one class occurs"]


def test_every_class_and_the_worst() -> None:
    from sklearn.metrics import precision_recall_fscore_support

    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 400)
    guess = np.where(rng.random(400) < np.array([0.9, 0.9, 0.5, 0.9])[y], y, rng.integers(0, 4, 400))
    worst, table, matrix = class_findings(torch.eye(4)[guess], torch.from_numpy(y), "abcd")
    precision, recall, f1, n = precision_recall_fscore_support(y, guess)
    np.testing.assert_allclose([r[2] for r in table.rows], recall)
    np.testing.assert_allclose([r[5] for r in table.rows], precision)
    np.testing.assert_allclose([r[7] for r in table.rows], f1)
    assert [r[1] for r in table.rows] == n.tolist() and isinstance(matrix, Figure)
    assert isinstance(worst, Measure) and worst.settings["class"] == "c" and worst.value == pytest.approx(recall.min())


def test_many_classes_are_listed_by_their_commonest_confusions() -> None:
    counts = np.diag(np.full(30, 9))
    counts[3, 7], counts[5, 1] = 4, 2
    found = confusion_matrix(counts, [f"c{i}" for i in range(30)])
    assert isinstance(found, Table) and found.rows == (("c3", "c7", 4, 4 / 13), ("c5", "c1", 2, 2 / 11))


def test_errors_are_shown_by_the_size_of_the_truth() -> None:
    y = torch.linspace(0, 10, 101)[:, None]
    figure, table = residual_findings(y * 0.5, y, ["pay"])
    assert isinstance(figure, Figure) and len(table.rows) == 5
    assert sum(row[1] for row in table.rows) == 101 and all(19 <= row[1] <= 21 for row in table.rows)
    assert table.rows[-1][2] == pytest.approx(4.5) and table.rows[-1][4] == pytest.approx(-4.5)
    assert list(residual_findings(torch.full((5, 1), torch.nan), y[:5], ["pay"])) == []
