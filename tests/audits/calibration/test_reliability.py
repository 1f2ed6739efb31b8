"""Calibration errors: by hand, as other software has them, and as large as theory says for a model without any."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sonde.audits.calibration import Recalibration, Reliability, Selective
from sonde.audits.calibration.brier import decomposed
from sonde.audits.calibration.errors import debiased, debiased_square, equal_mass, equal_width
from sonde.audits.calibration.recalibration import FITS
from sonde.audits.calibration.selective import answered, area
from sonde.audits.quality import classification
from sonde.core import Subject, run_audits
from tests.audits.calibration.test_calibrators import drawn
from tests.audits.calibration.test_conformal import subject


def named(audit, of: Subject) -> dict:
    (found,) = run_audits(of, [audit])
    assert found.outcome == "done", found.reason
    return {m.name.removeprefix("calibration/"): m for m in found.measures}


def test_the_equal_width_error_is_torchmetrics() -> None:
    metrics = pytest.importorskip("torchmetrics.classification")
    z, y = drawn(500, 4, 2.0)
    p = z.softmax(1).float()
    for bins in (5, 15):
        theirs = float(metrics.MulticlassCalibrationError(4, n_bins=bins)(p, y))
        sure = p.double().max(1).values.numpy()
        assert equal_width(sure, (p.argmax(1) == y).numpy(), bins).error == pytest.approx(theirs, abs=1e-6)
    found = {m.name: m.value for m in classification(p, y, "abcd")}
    assert found["quality/ece"] == pytest.approx(
        float(metrics.MulticlassCalibrationError(4, n_bins=15)(p, y)), abs=1e-6
    )
    assert found["quality/accuracy"] == pytest.approx(
        float(metrics.MulticlassAccuracy(4, average="micro")(p, y)), abs=1e-6
    )
    assert found["quality/macro_f1"] == pytest.approx(float(metrics.MulticlassF1Score(4)(p, y)), abs=1e-6)
    assert found["quality/roc_auc"] == pytest.approx(float(metrics.MulticlassAUROC(4)(p, y)), abs=1e-6)


def test_bins_of_equal_mass_by_hand() -> None:
    p, hit = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 1.0]), np.array([0, 1, 1, 1, 0, 1])
    found = equal_mass(p, hit, 3)
    assert found.which.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.error == pytest.approx((abs(1.1 - 1) + abs(1.5 - 2) + abs(1.9 - 1)) / 6)
    assert equal_mass(np.full(9, 0.5), np.zeros(9), 3).bins <= 2  # equal probabilities share a bin


def test_the_class_wise_error_row_by_row() -> None:
    z, y = drawn(200, 3, 2.0)
    p = z.softmax(1).numpy()
    total = 0.0
    for c in range(3):
        for b in range(10):
            rows = [i for i in range(200) if b / 10 < p[i, c] <= (b + 1) / 10]
            total += abs(sum(p[i, c] - (y[i] == c).item() for i in rows)) / 200
    assert equal_width(p, np.eye(3)[y], 10).error == pytest.approx(total / 3)


def test_a_calibrated_model_has_the_error_that_theory_says_and_is_not_accused() -> None:
    """The mean of |binomial - its mean| in bins of m rows is near sqrt(2 s (1 - s) / (pi m)), and is all there is."""
    errors, theory, zero, squares = [], [], 0, []
    for seed in range(100):
        z, y = drawn(600, 3, 1.0, seed)
        sure, right = z.softmax(1).max(1).values.numpy(), (z.argmax(1) == y).numpy()
        found = equal_mass(sure, right, 10)
        s = np.array([sure[found.which == k].mean() for k in range(10)])
        errors.append(found.error)
        theory.append(np.mean(np.sqrt(2 * s * (1 - s) / (math.pi * 60))))
        zero += found.error <= found.if_calibrated()
        squares.append(debiased_square(found))
    assert np.mean(errors) == pytest.approx(np.mean(theory), rel=0.06)
    assert zero >= 92  # 97.5 expected
    assert abs(np.mean(squares)) < 4 * np.std(squares) / 10  # right on average: four standard errors
    assert np.mean(np.square(errors)) > 10 * abs(np.mean(squares))


def test_the_debiased_interval_covers_the_true_error() -> None:
    held, rng = 0, np.random.default_rng(0)
    for _ in range(60):
        sure = np.repeat(np.linspace(0.55, 0.95, 5), 100)  # right 0.1 less often than said
        right = rng.random(500) < sure - 0.1
        value, (low, high) = debiased(equal_mass(sure, right, 5))
        held += low <= 0.1 <= high
        assert low <= value <= high
    assert 51 <= held  # 57 expected; near zero error it is wider than it need be


def test_the_parts_of_the_brier_score_add_up() -> None:
    from sklearn.metrics import brier_score_loss

    z, y = drawn(300, 3, 3.0)
    p, hit = z.softmax(1).numpy(), np.eye(3)[y]
    parts = decomposed(p, hit)
    assert parts.score == pytest.approx(parts.miscalibration - parts.discrimination + parts.uncertainty)
    assert parts.score == pytest.approx(sum(brier_score_loss(hit[:, c], p[:, c]) for c in range(3)))
    assert parts.miscalibration > 0.05 and parts.miscalibration_interval[0] > 0
    steps = np.round(np.linspace(0.1, 0.9, 300) * 4) / 4
    exact = np.concatenate([np.repeat([1.0, 0.0], [round(4 * q), 4 - round(4 * q)]) for q in steps])
    even = decomposed(np.repeat(steps, 4)[:, None], exact[:, None])
    assert even.miscalibration == pytest.approx(0, abs=1e-12)  # each probability comes true exactly as often as it says


def test_an_overconfident_model_is_found_out_and_mended() -> None:
    s = subject(sure=3.0, n=600)
    assert named(Reliability(), s)["overconfidence"].interval[0] > 0
    found = named(Recalibration(), s)
    assert found["temperature/temperature"].value == pytest.approx(3.0, abs=0.6)
    assert found["recalibrated/nll_change"].interval[1] < 0 and found["recalibrated/ece_change"].interval[1] < 0
    assert found["recalibrated/nll"].settings["calibrator"] in ("temperature", "vector")


def test_a_calibrator_that_does_not_help_unseen_rows_is_left() -> None:
    z, y = drawn(40, 3)
    s = Subject.of(torch.nn.Identity(), *drawn(200, 3, seed=5), more={"val": (z, y)})
    found = named(Recalibration(), s)
    kept = {n: m.settings["kept"] for n, m in found.items() if "held_out" in n and not math.isnan(m.value)}
    assert not kept["isotonic/held_out_nll_change"]
    assert all(k == (found[n].value < 0) for n, k in kept.items())


def test_where_no_calibrator_helps_nothing_is_recalibrated(monkeypatch) -> None:
    monkeypatch.setattr("sonde.audits.calibration.recalibration.FITS", {"isotonic": FITS["isotonic"]})
    s = Subject.of(torch.nn.Identity(), *drawn(200, 3, seed=5), more={"val": drawn(40, 3)})
    found = named(Recalibration(), s)
    assert "no calibrator lowered" in found["recalibrated/nll"].settings["omitted"]


def test_validation_rows_that_are_all_right_calibrate_nothing() -> None:
    y = torch.arange(60) % 3
    z = torch.eye(3)[y].double()
    s = Subject.of(torch.nn.Identity(), *drawn(60, 3), more={"val": (z, y)})
    found = named(Recalibration(), s)
    assert "answered rightly" in found["temperature/held_out_nll_change"].settings["omitted"]
    assert "temperature/temperature" not in found


def test_risk_over_coverage_row_by_row() -> None:
    rng = np.random.default_rng(0)
    sure, wrong = rng.permutation(40) / 40, (rng.random(40) < 0.3).astype(float)
    order = np.argsort(-sure)
    by_hand = np.mean([wrong[order[: k + 1]].mean() for k in range(40)])
    best = np.mean([np.sort(wrong)[: k + 1].mean() for k in range(40)])
    np.testing.assert_allclose(area(sure, wrong, np.ones((1, 40)))[0], [by_hand, by_hand - best])
    # a row that counts twice is two rows, surest first
    times = np.ones((1, 40))
    times[0, order[0]] = 2
    twice = area(np.append(sure, sure[order[0]]), np.append(wrong, wrong[order[0]]), np.ones((1, 41)))
    np.testing.assert_allclose(area(sure, wrong, times), twice)


def test_wrong_answers_that_are_least_sure_leave_nothing_to_gain() -> None:
    wrong = np.repeat([0.0, 1.0], [90, 10])
    found = area(1 - np.arange(100) / 100, wrong, np.ones((1, 100)))
    assert found[0, 1] == pytest.approx(0, abs=1e-12)
    assert answered(1 - np.arange(100) / 100, wrong, 0.9)[:2] == (90.0, 90)
    assert answered(np.ones(100), wrong, 0.5)[:2] == (45.0, 50)  # all equally sure: any order


def test_answering_less_is_more_right() -> None:
    found = named(Selective(), subject(n=1000))
    eighty, ninety_five = (found[f"at_{c}_percent_coverage/accuracy"] for c in (80, 95))
    assert eighty.value > ninety_five.value and (eighty.n, ninety_five.n) == (800, 950)
    assert found["selective/aurc"].interval[0] < found["selective/aurc"].value < found["selective/aurc"].interval[1]
