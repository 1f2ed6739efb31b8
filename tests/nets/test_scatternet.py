"""ScatterNet: the paper's sizes, and rows that stay apart."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from sonde.core import SondeError
from sonde.nets.scatternet import ScatterNet


def test_the_papers_small_net_has_its_sizes() -> None:
    net = ScatterNet(widths=(16, 32))
    kernels = [p.shape for p in net.parameters() if p.dim() > 1]
    assert kernels == [(16, 81, 3, 3), (32, 16, 3, 3), (32, 512), (10, 32)]  # as in the authors' code
    assert net(torch.rand(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("widths", [(), (4, 6)], ids=str)
def test_rows_are_independent_while_training(widths: tuple[int, ...]) -> None:
    net = ScatterNet(channels=3, height=12, width=17, outputs=5, widths=widths).double().train()
    x = torch.rand(4, 3, 12, 17, dtype=torch.float64)
    torch.testing.assert_close(net(x)[1:2], net(x[1:2]))
    torch.testing.assert_close(torch.vmap(lambda row: net(row[None])[0])(x), net(x))


def test_it_learns_sixteen_rows_by_heart() -> None:
    net, x, y = ScatterNet(height=12, width=12, outputs=4), torch.rand(16, 1, 12, 12), torch.arange(16) % 4
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(60):
        loss = F.cross_entropy(net(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert F.cross_entropy(net(x), y) < 1e-2


def test_brightness_and_contrast_change_nothing_but_the_first_average() -> None:
    """GroupNorm: a row's averages are measured against one another."""
    net, x = ScatterNet(groups=1), torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(net(3 * x), net(x), rtol=1e-3, atol=1e-3)  # GroupNorm's eps is 1e-5 of a variance


def test_groups_that_do_not_divide_are_refused() -> None:
    with pytest.raises(SondeError, match="1, 3, 9, 27, 81"):
        ScatterNet(groups=8)
