"""Networks: right shapes, right sums, statistics in the first layer, and the ability to learn sixteen rows by heart."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sonde.core import SondeError
from sonde.nets import for_images
from sonde.nets.layers.normalise import Normalise
from sonde.nets.lenet import LeNet, squash
from sonde.nets.linear import Linear
from sonde.nets.mlp import MLP
from sonde.nets.resnet import ResNet, channels_last, fold

IMAGE_NETS = {
    "linear": lambda: Linear(shape=(3, 16, 12), outputs=5),
    "mlp": lambda: MLP(shape=(3, 16, 12), outputs=5, widths=(32,)),
    "mlp with dropout": lambda: MLP(shape=(3, 16, 12), outputs=5, widths=(32, 16), dropout=0.2),
    "lenet": lambda: LeNet(channels=3, height=16, width=12, outputs=5),
    "resnet": lambda: ResNet(channels=3, outputs=5, widths=(8, 16)),
    "resnet unfolded": lambda: ResNet(channels=3, outputs=5, widths=(8,), blocks=2, fold=1),
}


@pytest.fixture(params=IMAGE_NETS.values(), ids=IMAGE_NETS.keys())
def net(request: pytest.FixtureRequest) -> nn.Module:
    made: nn.Module = request.param()
    return made


def fit_inputs(net: nn.Module, x: Tensor) -> None:
    """What training does first: every module that asks for statistics of the rows gets them."""
    for module in net.modules():
        if hasattr(module, "fit_input"):
            module.fit_input(x)


# ---------------------------------------------------------------- laws
def test_every_net_returns_one_row_of_outputs_a_row(net: nn.Module) -> None:
    assert net(torch.rand(4, 3, 16, 12)).shape == (4, 5)


def test_rows_are_independent_in_use(net: nn.Module) -> None:
    net.double().eval()
    x = torch.rand(4, 3, 16, 12, dtype=torch.float64)
    torch.testing.assert_close(net(x)[2:3], net(x[2:3]))


def test_every_parameter_is_used(net: nn.Module) -> None:
    net(torch.rand(4, 3, 16, 12)).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_parameters_and_gradients_lie_in_memory_in_the_same_order(net: nn.Module) -> None:
    """Fused optimisers pair them by place."""
    net(torch.rand(4, 3, 16, 12)).square().sum().backward()
    for p in net.parameters():
        assert p.is_contiguous() and p.grad is not None and p.grad.stride() == p.stride()


def test_units_of_the_input_do_not_matter(net: nn.Module) -> None:
    net.double().eval()
    x = torch.rand(64, 3, 16, 12, dtype=torch.float64)
    fit_inputs(net, x)
    answer = net(x)
    change = torch.tensor([255.0, 3.0, 0.1], dtype=torch.float64).view(3, 1, 1)
    fit_inputs(net, change * x - 7)
    torch.testing.assert_close(net(change * x - 7), answer)


def test_a_net_learns_sixteen_rows_by_heart(net: nn.Module) -> None:
    x, y = torch.rand(16, 3, 16, 12), torch.arange(16) % 5
    fit_inputs(net, x)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(200):
        loss = F.cross_entropy(net(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    net.eval()
    assert F.cross_entropy(net(x), y) < 1e-2


def test_a_net_maps_over_rows_one_by_one(net: nn.Module) -> None:
    """Per-record methods map over rows; running statistics are frozen by evaluation mode."""
    net.eval()
    x = torch.rand(4, 3, 16, 12)
    torch.testing.assert_close(torch.vmap(lambda row: net(row[None])[0])(x), net(x), rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- layers
@pytest.mark.parametrize("shape", [(5000, 2, 3, 4), (10, 3)], ids=str)
def test_normalise_uses_the_statistics_of_all_rows(shape: tuple[int, ...]) -> None:
    x = torch.rand(shape) * 9 - 2
    layer = Normalise(shape[1], positions=len(shape) - 2)
    layer.fit_input(x)
    flat = x.movedim(1, 0).flatten(1).double()
    torch.testing.assert_close(layer.mean.flatten(), flat.mean(1).float())
    torch.testing.assert_close(layer.std.flatten(), flat.std(1, correction=0).float())
    out = layer(x).movedim(1, 0).flatten(1)
    torch.testing.assert_close(out.mean(1), torch.zeros(shape[1]), rtol=0, atol=1e-5)


def test_normalise_only_centres_a_constant_channel() -> None:
    layer = Normalise(1)
    layer.fit_input(torch.full((1000, 1), 0.1))
    assert layer(torch.full((1, 1), 0.1)).item() == 0.0 and layer.std.item() == 1.0


def test_normalise_changes_nothing_before_it_has_seen_rows() -> None:
    x = torch.rand(3, 2, 4, 4)
    assert torch.equal(Normalise(2, positions=2)(x), x)


def test_statistics_travel_with_the_weights() -> None:
    a, b = LeNet(), LeNet()
    fit_inputs(a, torch.rand(100, 1, 28, 28))
    b.load_state_dict(a.state_dict())
    x = torch.rand(2, 1, 28, 28)
    assert torch.equal(a(x), b(x))


# ---------------------------------------------------------------- architectures
def test_mlp_without_hidden_layers_is_linear() -> None:
    mlp, linear = MLP(shape=(7,), outputs=3, widths=()), Linear(shape=(7,), outputs=3)
    linear.load_state_dict(mlp.state_dict())
    x = torch.rand(5, 7)
    assert torch.equal(mlp(x), linear(x))


def test_lenet_has_the_papers_sizes() -> None:
    net = LeNet()
    sizes = {name: sum(p.numel() for p in getattr(net, name).parameters()) for name in ("c1", "c5", "f6")}
    assert sizes == {"c1": 156, "c5": 48_120, "f6": 10_164}  # section II.B
    torch.testing.assert_close(squash(torch.tensor([1.0, -1.0])), torch.tensor([1.0, -1.0]), rtol=0, atol=1e-4)


def test_lenet_refuses_pictures_too_small_for_it() -> None:
    LeNet(height=12, width=12)(torch.rand(1, 1, 12, 12))
    with pytest.raises(SondeError, match="11 x 30 is too small"):
        LeNet(height=11, width=30)


def test_folding_moves_each_square_of_pixels_into_channels() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert fold(x, 2)[0, :, 0, 1].tolist() == [2, 3, 6, 7]
    assert fold(x, 1) is x


def test_folding_repeats_the_last_row_and_column_where_a_side_is_no_multiple() -> None:
    x = torch.arange(9.0).view(1, 1, 3, 3)
    assert fold(x, 2).shape == (1, 4, 2, 2)
    assert fold(x, 2)[0, :, 1, 1].tolist() == [8, 8, 8, 8]


def test_channels_last_is_a_matter_of_memory_only() -> None:
    x = torch.rand(2, 8, 5, 6)
    assert torch.equal(channels_last(x), x)
    assert channels_last(x).is_contiguous(memory_format=torch.channels_last)


def test_resnet_refuses_to_have_no_stage() -> None:
    with pytest.raises(SondeError, match="has no stage"):
        ResNet(widths=())


@pytest.mark.parametrize("side", [1, 2, 5, 8, 28, 31, 32, 64, 97, 224])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_there_is_a_net_for_every_image(side: int, channels: int) -> None:
    kind, kwargs = for_images(channels, side, max(1, side // 2), outputs=7)
    assert kwargs == {**json.loads(json.dumps(kwargs)), "widths": kwargs["widths"]}
    net = kind(**kwargs).eval()
    with torch.no_grad():
        assert net(torch.rand(1, channels, side, max(1, side // 2))).shape == (1, 7)
