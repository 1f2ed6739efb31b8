"""The net of 1989: the paper's counts, a convolution beside torch's, and what each map sees."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from sonde.core import SondeError
from sonde.nets.lecun1989 import LeCun1989, neighbourhoods


def test_it_has_the_papers_weights_units_and_connections() -> None:
    net = LeCun1989()
    sizes = {k: p.numel() for k, p in net.named_parameters()}
    assert sizes["h1"] + sizes["h1_bias"] == 1068 and sizes["h2"] + sizes["h2_bias"] == 2592
    assert sum(sizes.values()) == 9760
    units = {"h1": sizes["h1_bias"], "h2": sizes["h2_bias"], "h3": 30, "output": 10}
    inputs = {"h1": net.h1.shape[-1], "h2": net.h2.shape[-1], "h3": 192, "output": 30}
    assert 256 + sum(units.values()) == 1256
    assert sum(n * (inputs[k] + 1) for k, n in units.items()) == 64_660


def by_conv2d(net: LeCun1989, x: Tensor) -> Tensor:
    """The same net by torch's convolutions, map by map."""
    h1 = F.conv2d(F.pad(2 * x - 1, (2, 2, 2, 2), value=-1.0), net.h1.view(12, 1, 5, 5), stride=2)
    h1 = F.pad(net.bend(h1 + net.h1_bias), (2, 2, 2, 2), value=-1.0)
    seen = (range(8), range(4, 12), [*range(4), *range(8, 12)])
    h2 = [F.conv2d(h1[:, list(s)], net.h2[i].view(4, 8, 5, 5), stride=2) for i, s in enumerate(seen)]
    z: Tensor = net.output(net.bend(net.h3(net.bend(torch.cat(h2, 1) + net.h2_bias).flatten(1))))
    return torch.tanh(z) if net.squash else z


@pytest.mark.parametrize("settings", [{}, {"activation": "relu", "squash": False, "outputs": 4}])
def test_it_equals_torchs_convolutions(settings: dict[str, object]) -> None:
    net = LeCun1989(**settings).double()  # type: ignore[arg-type]
    for p in (net.h1_bias, net.h2_bias):
        torch.nn.init.normal_(p)
    x = torch.rand(3, 1, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(net(x), by_conv2d(net, x))


def test_neighbourhoods_are_five_by_five_two_apart_with_background_beyond() -> None:
    plane = torch.arange(64.0).view(1, 1, 8, 8)
    near = neighbourhoods(plane)
    assert near.shape == (1, 25, 16)
    assert near[0, 12].tolist() == plane[0, 0, ::2, ::2].flatten().tolist()  # the middle of each
    assert near[0, :10, 0].tolist() == [-1.0] * 10  # two rows above the picture


def test_weights_begin_within_the_papers_range() -> None:
    net = LeCun1989()
    for weight, inputs in ((net.h1, 25), (net.h2, 200), (net.h3.weight, 192), (net.output.weight, 30)):
        assert 0.9 * 2.4 / inputs**0.5 < float(weight.detach().abs().max()) <= 2.4 / inputs**0.5
    assert net.output.bias.tolist() == [-1.0] * 10 and not net.h1_bias.any()


def test_dropout_is_of_training_alone() -> None:
    net, x = LeCun1989(dropout=0.5), torch.rand(4, 1, 16, 16)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_what_it_cannot_read_is_refused() -> None:
    with pytest.raises(SondeError, match="16 x 16"):
        LeCun1989()(torch.rand(2, 1, 28, 28))
    with pytest.raises(SondeError, match="activation"):
        LeCun1989(activation="sigmoid")  # type: ignore[arg-type]
    with pytest.raises(SondeError, match="outside"):
        LeCun1989(dropout=1.0)
