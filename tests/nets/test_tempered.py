"""Tempered: the paper's activation and sizes."""

from __future__ import annotations

import pytest
import torch

from sonde.core import SondeError
from sonde.nets.tempered import Tempered


@pytest.mark.parametrize(("s", "t", "o"), [(2.0, 2.0, 1.0), (1.58, 3.0, 0.71), (1.0, 1.0, 0.0)])
def test_the_activation_is_a_scaled_and_shifted_sigmoid(s: float, t: float, o: float) -> None:
    x = torch.linspace(-4, 4, 33, dtype=torch.float64)
    net = Tempered(scale=s, inverse_temperature=t, offset=o)
    torch.testing.assert_close(net.temper(x), s * torch.sigmoid(t * x) - o)


def test_by_default_it_is_the_hyperbolic_tangent() -> None:
    x = torch.randn(50)
    assert torch.equal(Tempered().temper(x), torch.tanh(x))


@pytest.mark.parametrize(("height", "width"), [(28, 28), (14, 15), (31, 22), (17, 40)])
def test_pictures_of_any_size_are_read(height: int, width: int) -> None:
    net = Tempered(channels=3, height=height, width=width, outputs=4)
    assert net(torch.rand(2, 3, height, width)).shape == (2, 4)


def test_rows_are_independent_while_training() -> None:
    net, x = Tempered().double().train(), torch.rand(3, 1, 28, 28, dtype=torch.float64)
    torch.testing.assert_close(torch.vmap(lambda row: net(row[None])[0])(x), net(x))


def test_a_picture_that_is_too_small_is_refused() -> None:
    with pytest.raises(SondeError, match="13 x 28 is too small"):
        Tempered(height=13)
