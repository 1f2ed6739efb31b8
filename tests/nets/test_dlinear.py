"""DLinear: the split of the paper, one map for all channels, and forecasts of what continues by itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sonde.core import SondeError
from sonde.nets import DLinear

L, H, C = 30, 6, 3


def series(rows: int = 4) -> Tensor:
    return torch.randn(rows, L, C, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def net(kernel: int = 5) -> DLinear:
    torch.manual_seed(0)
    return DLinear(L, H, kernel).double()


def by_hand(model: DLinear, x: Tensor) -> Tensor:
    """Each number by itself: the mean of the steps around, ends repeated; then both maps."""
    beside = model.kernel // 2
    out = torch.empty(len(x), H, x.shape[2], dtype=x.dtype)
    for n, row in enumerate(x):
        for c in range(x.shape[2]):
            s = row[:, c]
            trend = torch.stack(
                [
                    torch.stack([s[min(max(t + k, 0), L - 1)] for k in range(-beside, beside + 1)]).mean()
                    for t in range(L)
                ]
            )
            t, w = model.trend, model.seasonal
            out[n, :, c] = t.weight @ trend + t.bias + w.weight @ (s - trend) + w.bias
    return out


@pytest.mark.parametrize("kernel", [1, 5, 25])
def test_it_is_the_papers_formula(kernel: int) -> None:
    torch.testing.assert_close(net(kernel)(series()), by_hand(net(kernel), series()))


def test_rows_and_channels_do_not_mix() -> None:
    model, x = net(), series()
    y = model(x)
    torch.testing.assert_close(model(x[1:2]), y[1:2])
    torch.testing.assert_close(model(x[..., 2:]), y[..., 2:])


def test_a_straight_line_has_no_remainder_but_at_its_ends() -> None:
    line = torch.arange(float(L), dtype=torch.float64).view(1, 1, L)
    rest = line - net(5).average(line)
    assert rest[..., 2:-2].abs().max() < 1e-12 and rest[..., 0].abs().min() > 0.5


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(SondeError, match="kernel=4"):
        DLinear(kernel=4)
