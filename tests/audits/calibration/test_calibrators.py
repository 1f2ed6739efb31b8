"""Calibrators: the best fit, as other software finds it, and what cannot be fitted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import nll_loss

from sonde.audits.calibration.recalibration import temperature_interval
from sonde.calibration import isotonic, temperature, vector
from sonde.core import SondeError
from tests.support import LAW


def drawn(n: int, c: int, sure: float = 1.0, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (n, c) that are `sure` times those by which the classes (n,) were drawn: 1 is calibrated, T = sure."""
    g = torch.Generator().manual_seed(seed)
    z = 2 * torch.randn(n, c, generator=g, dtype=torch.float64)
    return sure * z, torch.multinomial(z.softmax(1), 1, generator=g)[:, 0]


def nll(p: torch.Tensor, y: torch.Tensor) -> float:
    return float(nll_loss(p.clamp_min(1e-300).log(), y))


@pytest.mark.parametrize("sure", [0.4, 1.0, 5.0])
def test_the_temperature_is_the_one_a_general_optimiser_finds(sure: float) -> None:
    from scipy.optimize import minimize_scalar

    z, y = drawn(300, 4, sure)
    other = minimize_scalar(
        lambda log_t: nll((z / np.exp(log_t)).softmax(1), y), bounds=(-4, 4), options={"xatol": 1e-9}, method="bounded"
    )
    assert temperature.fit(z, y).value == pytest.approx(np.exp(other.x), rel=1e-5)


def test_the_temperature_interval_covers_at_its_rate() -> None:
    held = 0
    for seed in range(200):
        z, y = drawn(150, 3, 2.0, seed)
        low, high = temperature_interval(temperature.fit(z, y), z, y) or (0, 0)
        held += low <= 2.0 <= high
    assert 180 <= held <= 200  # 190 expected; 4.5 standard deviations either way


def test_vector_scaling_is_the_best_of_its_kind() -> None:
    from scipy.optimize import minimize

    z, y = drawn(400, 3)
    z = z * torch.tensor([0.5, 2.0, 1.0]) + torch.tensor([0.0, 1.0, -1.0])
    z = z - z.max(1, keepdim=True).values  # as it reads them

    def loss(v: np.ndarray) -> float:
        return nll((z * torch.from_numpy(v[:3]) + torch.from_numpy(v[3:])).softmax(1), y)

    best = minimize(
        loss, [1.0, 1, 1, 0, 0, 0], method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-7, "fatol": 1e-10}
    )
    found = vector.fit(z, y)
    assert nll(found(z), y) <= best.fun + 1e-7
    assert nll(found(z), y) < nll(temperature.fit(z, y)(z), y)


def test_isotonic_calibration_is_scikit_learns() -> None:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    class Given(ClassifierMixin, BaseEstimator):
        """A model whose rows are its probabilities."""

        classes_ = np.arange(3)

        def __sklearn_is_fitted__(self) -> bool:
            return True

        def fit(self, x: np.ndarray, y: np.ndarray) -> Given:
            return self

        def predict(self, x: np.ndarray) -> np.ndarray:
            return x.argmax(1)

        def predict_proba(self, x: np.ndarray) -> np.ndarray:
            return x

    z, y = drawn(200, 3, 2.0)
    p = z.softmax(1)
    theirs = CalibratedClassifierCV(FrozenEstimator(Given()), method="isotonic").fit(p[:100].numpy(), y[:100].numpy())
    ours = isotonic.fit(p[:100], y[:100], floor=False)(p[100:])
    np.testing.assert_allclose(ours.numpy(), theirs.predict_proba(p[100:].numpy()), atol=1e-7)


@LAW
@given(st.integers(2, 6), st.floats(0.05, 20), st.integers(0, 10_000))
def test_calibrated_probabilities_are_probabilities_and_temperature_keeps_the_answer(
    c: int, sure: float, seed: int
) -> None:
    z, y = drawn(60, c, sure, seed)
    fits = [temperature.fit, vector.fit, lambda z, y: isotonic.fit(z.softmax(1), y)]
    for i, fit in enumerate(fits):
        try:
            found = fit(z, y)
        except SondeError:
            assert i < 2
            continue
        p = found(z.softmax(1) if i == 2 else z)
        assert p.shape == z.shape and bool((p >= 0).all())
        torch.testing.assert_close(p.sum(1), torch.ones(60, dtype=torch.float64), rtol=0, atol=1e-12)
        if i == 0:
            assert bool((p.gather(1, z.argmax(1, keepdim=True))[:, 0] == p.max(1).values).all())


def test_isotonic_answers_never_rule_a_class_out() -> None:
    p = torch.tensor([[0.9, 0.1]] * 10 + [[0.1, 0.9]] * 10, dtype=torch.float64)
    out = isotonic.fit(p, torch.tensor([0] * 10 + [1] * 10))(p)
    assert out.max() == pytest.approx(21 / 22)


@pytest.mark.parametrize("fit", [temperature.fit, vector.fit])
def test_where_every_answer_is_right_nothing_says_how_sure_is_too_sure(fit) -> None:
    y = torch.arange(30) % 3
    with pytest.raises(SondeError, match="all 30 rows to calibrate on are answered rightly"):
        fit(3 * torch.eye(3)[y], y)


def test_logits_that_say_nothing_get_the_highest_temperature() -> None:
    z, y = drawn(200, 3)
    assert temperature.fit(-z, y).value == pytest.approx(temperature.HIGHEST)


def test_logits_may_be_infinite_but_not_missing() -> None:
    z, y = drawn(50, 3)
    z[0, (y[0] + 1) % 3] = -torch.inf
    assert bool(torch.isfinite(temperature.fit(z, y)(z)).all())
    with pytest.raises(SondeError, match="the scores of 1 of 50 rows are not numbers"):
        temperature.fit(z.index_put((torch.tensor(0),), torch.tensor(torch.nan, dtype=z.dtype)), y)
    with pytest.raises(SondeError, match="no rows"):
        temperature.fit(z[:0], y[:0])
