"""Double descent: the shortest fit is the shortest, the peak is where rows are just fitted, a ridge takes it away."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sonde.experiment import Check
from sonde.recipes.double_descent import (
    Fit,
    about_features,
    about_nets,
    features_curve,
    least_squares,
    net_fit,
    some_rows,
    with_wrong_labels,
)

NUMBERS = (15, 40, 75, 105, 150, 225, 600, 1500)


def classes(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Three overlapping Gaussians, of which no model can tell all rows."""
    y = torch.randint(0, 3, (rows,), generator=generator)
    return torch.randn(rows, 20, generator=generator) + 2 * torch.nn.functional.one_hot(y, 20), y


@pytest.mark.parametrize("features", [4, 10, 13, 50])  # fewer than the rows, as many, up to twice as many, more
def test_the_fit_is_the_shortest_of_the_best(features: int, generator: torch.Generator) -> None:
    phi = torch.randn(10, features, generator=generator, dtype=torch.float64)
    y = torch.randn(10, 3, generator=generator, dtype=torch.float64)
    assert torch.allclose(least_squares(phi, y), torch.linalg.pinv(phi) @ y, atol=1e-9)
    by_gradient = phi.T @ (phi @ (w := least_squares(phi, y, ridge=0.7)) - y) + 0.7 * w
    assert by_gradient.abs().max() < 1e-9


@pytest.fixture(scope="module")
def curves() -> tuple[list[list[Fit]], list[list[Fit]]]:
    generator = torch.Generator().manual_seed(1)
    parts = [(classes(150, generator), classes(500, generator)) for _ in range(4)]
    free = [features_curve(*part, NUMBERS, seed) for seed, part in enumerate(parts)]
    return free, [features_curve(*part, NUMBERS, seed, ridge=0.3) for seed, part in enumerate(parts)]


def test_the_error_peaks_where_there_are_as_many_features_as_rows(
    curves: tuple[list[list[Fit]], list[list[Fit]]],
) -> None:
    found = [f for f in about_features(*curves, NUMBERS, 150) if isinstance(f, Check)]
    peak, rise, gain, tamed = found
    assert peak.holds and rise.holds and tamed.holds
    assert rise.measure.value > 5
    assert "most features" in gain.measure.name
    for curve in curves[0]:
        lengths = [f.norm for f in curve]
        assert lengths.index(max(lengths)) == NUMBERS.index(150)
        assert all(f.train == 0 for f, number in zip(curve, NUMBERS, strict=True) if number >= 150)


def test_a_curve_without_a_peak_refutes_the_claim() -> None:
    falling = [[Fit(0, 50 - i + seed, 1) for i in range(len(NUMBERS))] for seed in range(3)]
    found = [f for f in about_features(falling, falling, NUMBERS, 150) if isinstance(f, Check)]
    assert [f.holds for f in found] == [False, False, True, True]
    nets = [[Fit(0, 20.0), Fit(0, 19.0 - seed), Fit(0, 10.0)] for seed in range(3)]
    assert [f.holds for f in about_nets(nets, (8, 16, 32), {}) if isinstance(f, Check)] == [False, True]


def test_wrong_labels_are_wrong_and_as_many_as_asked() -> None:
    y = torch.arange(10_000) % 10
    changed = with_wrong_labels(y, 0.2, seed=3)
    share = (changed != y).float().mean()
    assert 0.18 < share < 0.22 and changed.min() == 0 and changed.max() == 9
    assert torch.equal(changed, with_wrong_labels(y, 0.2, seed=3))
    assert torch.equal(with_wrong_labels(y, 0.0, seed=3), y)
    others = (changed - y)[changed != y] % 10
    assert torch.bincount(others, minlength=10)[1:].min() > 150  # evenly: about 222 each


def test_a_wide_net_learns_its_rows_by_heart(generator: torch.Generator) -> None:
    x, y = torch.rand(40, 16, generator=generator), torch.randint(0, 10, (40,), generator=generator)
    narrow, wide = (net_fit((x, y), (x, y), width, seed=0, epochs=400) for width in (1, 64))
    assert wide.train == 0 and narrow.train > 20


@pytest.mark.mirror
def test_rows_are_drawn_by_the_seed() -> None:
    (x, y), (x_test, y_test) = some_rows(30, 20, seed=1, fold=2)
    assert x.shape == (30, 196) and x_test.shape == (20, 196) and y.shape == (30,) and y_test.shape == (20,)
    assert 0 <= x.min() and x.max() <= 1
    assert torch.equal(some_rows(30, 20, seed=1)[0][1], y) and not torch.equal(some_rows(30, 20, seed=2)[0][1], y)
