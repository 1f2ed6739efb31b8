"""The scattering transform: kymatio's numbers, a direct convolution's numbers, and what it is for."""

from __future__ import annotations

import cmath
import math

import pytest
import torch
from torch import Tensor

from sonde.core import SondeError
from sonde.nets.layers.scattering import ROWS, Scattering, morlet

SHAPES = [(28, 28, 2, 8), (32, 24, 3, 8), (17, 20, 1, 8), (13, 9, 2, 6)]


@pytest.mark.parametrize(("height", "width", "scales", "orientations"), SHAPES)
def test_parity_with_kymatio(height: int, width: int, scales: int, orientations: int) -> None:
    pytest.importorskip("kymatio")
    from kymatio.scattering2d.frontend.torch_frontend import ScatteringTorch2D  # the package's front needs an old scipy

    x = torch.rand(3, 2, height, width)
    theirs = ScatteringTorch2D(J=scales, shape=(height, width), L=orientations)(x).flatten(1, 2)
    ours = Scattering(height, width, scales, orientations)(x)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)  # kymatio writes pi as 3.1415: 3e-5 of a value


def wavelet(scale: int, angle: float, slant: float, radius: int) -> list[list[complex]]:
    """A Morlet wavelet on the square of `radius` pixels around 0, straight from its definition."""
    sigma, xi = 0.8 * 2**scale, 0.75 * math.pi / 2**scale

    def at(down: int, right: int, frequency: float) -> complex:
        along = math.cos(angle) * down + math.sin(angle) * right
        across = -math.sin(angle) * down + math.cos(angle) * right
        gauss = slant / (2 * math.pi * sigma**2) * math.exp(-(along**2 + (slant * across) ** 2) / (2 * sigma**2))
        return gauss * cmath.exp(1j * frequency * along)

    span = range(-radius, radius + 1)
    waves = [[at(d, r, xi) for r in span] for d in span]
    plain = [[at(d, r, 0.0) for r in span] for d in span]
    beta = sum(map(sum, waves)) / sum(map(sum, plain))
    return [[w - beta * g for w, g in zip(ws, gs, strict=True)] for ws, gs in zip(waves, plain, strict=True)]


def convolved(picture: Tensor, kernel: Tensor) -> Tensor:
    """A periodic convolution by adding up shifted pictures. (A, B) to the same."""
    radius, total = len(kernel) // 2, torch.zeros_like(kernel[0, 0] * picture)
    for i, row in enumerate(kernel):
        for j, value in enumerate(row):
            total = total + value * picture.roll((i - radius, j - radius), (0, 1))
    return total


def test_the_finest_orders_equal_a_direct_convolution() -> None:
    """Order 0 and the finest of order 1, whose filters lose nothing to a coarser grid."""
    x = torch.rand(28, 28)
    reflected = torch.nn.functional.pad(x[None, None], (4, 4, 4, 4), mode="reflect")[0, 0].double()
    width = 0.8 * 2  # of the averaging Gaussian at J = 2
    gauss = torch.exp(-torch.arange(-9.0, 10).double().square() / (2 * width**2)) / (math.sqrt(2 * math.pi) * width)
    blur = torch.outer(gauss, gauss)
    expected = [convolved(reflected, blur)]
    for t in range(8):
        psi = torch.tensor(wavelet(0, (3 - t) * math.pi / 8, 0.5, 9), dtype=torch.complex128)
        expected.append(convolved(convolved(reflected, psi).abs(), blur))
    found = Scattering(28, 28)(x[None, None])[0]
    for i, picture in enumerate(expected):
        torch.testing.assert_close(found[i].double(), picture[4:32:4, 4:32:4], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("height", "width", "scales", "orientations"), SHAPES)
def test_sizes(height: int, width: int, scales: int, orientations: int) -> None:
    layer = Scattering(height, width, scales, orientations)
    maps = 1 + scales * orientations + orientations**2 * scales * (scales - 1) // 2
    assert layer.maps == maps
    assert layer(torch.rand(2, 3, height, width)).shape == (2, 3 * maps, height >> scales, width >> scales)


def test_there_is_nothing_to_learn_and_nothing_to_save() -> None:
    layer = Scattering(28, 28)
    assert not list(layer.parameters()) and not layer.state_dict()


def test_a_wavelet_sums_to_zero() -> None:
    assert morlet(36, 36, 1, 0.3, 0.5)[0, 0].abs() < 1e-12


def test_a_flat_picture_has_no_waves() -> None:
    found = Scattering(28, 28)(torch.full((1, 1, 28, 28), 0.7))[0]
    torch.testing.assert_close(found[0], torch.full((7, 7), 0.7), rtol=0, atol=1e-4)
    assert found[1:].abs().max() < 1e-5


def test_moduli_do_not_see_the_sign_of_a_picture() -> None:
    x, layer = torch.rand(2, 1, 28, 28), Scattering(28, 28)
    torch.testing.assert_close(layer(-x)[:, 1:], layer(x)[:, 1:])


def test_a_shift_by_a_pixel_moves_the_averages_less_than_the_picture() -> None:
    x = torch.zeros(1, 1, 28, 28)
    x[..., 8:20, 13:15] = 1
    layer, moved = Scattering(28, 28), x.roll(1, 3)
    assert (layer(moved) - layer(x)).norm() / layer(x).norm() < 0.5 * (moved - x).norm() / x.norm()


def test_gradients_are_those_of_the_definition() -> None:
    layer = Scattering(9, 10, scales=1, orientations=2).double()
    x = torch.rand(2, 1, 9, 10, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))


def test_gradients_of_a_blank_picture_are_finite() -> None:
    x = torch.zeros(1, 1, 28, 28, requires_grad=True)
    Scattering(28, 28)(x).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


def test_rows_do_not_depend_on_how_many_come_together() -> None:
    layer, x = Scattering(28, 28), torch.rand(ROWS + 3, 1, 28, 28)
    torch.testing.assert_close(layer(x)[-1:], layer(x[-1:]))
    assert layer(x[:0]).shape == (0, 81, 7, 7)


def test_a_picture_that_is_too_small_is_refused() -> None:
    Scattering(5, 9)(torch.rand(1, 1, 5, 9))
    with pytest.raises(SondeError, match="does not hold"):
        Scattering(4, 9)
    with pytest.raises(SondeError, match="at least 1"):
        Scattering(28, 28, scales=0)
