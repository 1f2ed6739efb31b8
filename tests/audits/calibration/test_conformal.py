"""Prediction sets: what the papers define, row by row, and the coverage that they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sonde.audits.calibration import Conformal
from sonde.calibration import conformal
from sonde.core import SondeError, Subject, run_audits
from tests.audits.calibration.test_calibrators import drawn


def by_hand(p: np.ndarray, y: int, method: str, u: float, penalty: float, rank: int) -> float:
    """The score of one class of one row, as the papers write it."""
    if method == "lac":
        return 1 - p[y]
    place = sorted(range(len(p)), key=lambda c: (-p[c], c)).index(y) + 1
    before = sum(v for c, v in enumerate(p) if (-v, c) < (-p[y], y))
    return before + u * p[y] + (penalty * max(0, place - rank) if method == "raps" else 0)


@pytest.mark.parametrize("method", conformal.METHODS)
def test_scores_are_those_of_the_papers(method: str) -> None:
    p = drawn(20, 5)[0].softmax(1).numpy()
    u = np.random.default_rng(3).random(20)
    found = conformal.scores(p, method, 0.05, 2, seed=3)
    expected = [[by_hand(row, c, method, u[i], 0.05, 2) for c in range(5)] for i, row in enumerate(p)]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("method", conformal.METHODS)
@pytest.mark.parametrize("sure", [0.3, 4.0])  # of a model that is not calibrated
def test_coverage_is_what_was_asked_for(method: str, sure: float) -> None:
    n, m, alpha, rates = 99, 200, 0.1, []
    inside = 0
    for seed in range(150):
        z, y = drawn(n + m, 4, sure, seed)
        p = z.softmax(1)
        sets = conformal.fit(p[:n], y[:n], alpha, method, seed=2 * seed)
        rates.append(float(sets(p[n:])[torch.arange(m), y[n:]].double().mean()))
        low, high = sets.coverage_range(m)
        inside += low <= rates[-1] <= high
    # Scores are continuous, so the law is exactly Beta(90, 10): mean 0.9, and of 150 means a deviation of 0.003.
    assert np.mean(rates) == pytest.approx(0.9, abs=0.012)
    assert inside >= 132  # 143 expected or a little more: the range is of whole rows


def test_too_few_rows_give_sets_that_hold_everything() -> None:
    z, y = drawn(8, 3)
    sets = conformal.fit(z.softmax(1), y, alpha=0.1)
    assert math.isinf(sets.threshold) and bool(sets(z.softmax(1)).all()) and sets.coverage_range(10) == (1.0, 1.0)


def test_intervals_hold_at_their_rate() -> None:
    held = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        y = torch.from_numpy(rng.standard_t(3, (299, 2)))
        low, high = conformal.fit_residuals(torch.zeros(99, 2), y[:99], 0.2)(torch.zeros(200, 2))
        held.append(((low <= y[99:]) & (y[99:] <= high)).double().mean(0).tolist())
    np.testing.assert_allclose(np.mean(held, 0), [0.8, 0.8], atol=0.02)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0])
def test_a_share_that_is_none_is_refused(alpha: float) -> None:
    with pytest.raises(SondeError, match="between 0 and 1"):
        conformal.fit(torch.eye(2), torch.arange(2), alpha)
    with pytest.raises(SondeError, match="between 0 and 1"):
        Conformal(alpha=alpha)


def subject(sure: float = 1.0, n: int = 300, group: torch.Tensor | None = None) -> Subject:
    """A model whose rows are its logits."""
    (z, y), (z_val, y_val) = drawn(n, 3, sure, 1), drawn(300, 3, sure, 2)
    groups = None if group is None else {"site": (("north", "south"), group)}
    return Subject.of(torch.nn.Identity(), z, y, more={"val": (z_val, y_val)}, groups=groups)


def test_a_group_of_another_kind_is_found_to_be_covered_less() -> None:
    south = torch.arange(300) < 60
    s = subject(group=south.long())
    s.rows().y[south] = (s.rows().y[south] + 1) % 3  # their labels mean something else
    (found,) = run_audits(s, [Conformal()])
    worst = next(m for m in found.measures if m.name == "calibration/lac/worst_group_coverage")
    assert worst.settings["group"] == "site = south" and worst.interval[1] < 0.9


def test_without_validation_rows_it_says_so() -> None:
    z, y = drawn(50, 3)
    (found,) = run_audits(Subject.of(torch.nn.Identity(), z, y), [Conformal()])
    assert found.outcome == "refused" and "no validation rows" in found.reason
    few = Subject.of(torch.nn.Identity(), z, y, more={"val": (z[:5], y[:5])})
    (found,) = run_audits(few, [Conformal()])
    assert found.outcome == "refused" and "at least 9 validation rows" in found.reason
