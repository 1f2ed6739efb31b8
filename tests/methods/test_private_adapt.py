"""Layers that mix or remember records are replaced, wherever they stand, or refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

import sonde.data
from sonde.bundle import Bundle
from sonde.core import Build, Refused
from sonde.core.objective import Objective
from sonde.data import Dataset
from sonde.methods.private.adapt import built_private, in_a_line, make_private
from sonde.nets.layers.rowwise import Frozen, groups_for
from sonde.nets.resnet import ResNet
from sonde.objectives import Classify
from tests.support import LAW


def mixes(net: nn.Module, x: Tensor) -> bool:
    """Whether a row's output moves with another row, in training mode."""
    y = net(x)
    other = x.clone()
    other[1:] += torch.rand_like(other[1:])
    return not torch.allclose(net(other)[0], y[0], atol=1e-6)


class Odd(nn.Module):
    """Layers under attribute names of all sorts, one of them in two places."""

    def __init__(self) -> None:
        super().__init__()
        shared = nn.BatchNorm2d(8)
        self.weight = shared  # a name that torch gives to parameters
        self._b = nn.ModuleDict({"batch norm": nn.BatchNorm2d(8), "deep": nn.ModuleList([nn.Sequential(shared)])})
        self.first = nn.Conv2d(3, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self._b["batch norm"](self.weight(self.first(x)))
        return self._b["deep"][0](h).mean((2, 3))  # type: ignore[index, no-any-return]


# ---------------------------------------------------------------- what replaces what
@pytest.mark.parametrize(
    "layer, shape, groups",
    [
        (nn.BatchNorm1d(12), (5, 12), 1),
        (nn.BatchNorm1d(12), (5, 12, 7), 1),
        (nn.BatchNorm2d(64), (5, 64, 3, 3), 16),
        (nn.BatchNorm2d(37), (5, 37, 3, 3), 1),
        (nn.BatchNorm3d(8), (5, 8, 2, 3, 2), 2),
        (nn.SyncBatchNorm(32), (5, 32, 3, 3), 8),
        (nn.BatchNorm2d(16, affine=False), (5, 16, 3, 3), 4),
        (nn.BatchNorm2d(16, eps=0.5, track_running_stats=False), (5, 16, 3, 3), 4),
    ],
    ids=str,
)
def test_batch_norm_becomes_group_norm_with_its_parameters(layer: Any, shape: tuple[int, ...], groups: int) -> None:
    net = nn.Sequential(layer)
    if layer.affine:
        nn.init.uniform_(layer.weight)
        nn.init.uniform_(layer.bias)
    assert make_private(net) == [f"0: {type(layer).__name__} became GroupNorm of {groups} group{'s' * (groups > 1)}"]
    new: Any = net[0]
    assert type(new) is nn.GroupNorm and new.num_groups == groups and new.eps == layer.eps
    assert new.affine is layer.affine and new.weight is layer.weight and new.bias is layer.bias
    x = torch.randn(shape)
    assert not mixes(net, x) and net(x).std() > 0.1
    assert not list(net.buffers())


@LAW
@given(st.integers(1, 2000))
def test_groups_divide_the_channels_and_hold_four_or_more(channels: int) -> None:
    g = groups_for(nn.BatchNorm2d(1), channels)
    assert channels % g == 0 and g <= 32 and (g == 1 or channels // g >= 4)
    assert all(channels % h or channels // h < 4 for h in range(g + 1, 33))


def test_layers_are_found_wherever_they_stand_and_shared_ones_stay_shared() -> None:
    net = Odd()
    x = torch.rand(4, 3, 6, 6)
    assert mixes(net, x)
    assert make_private(net) == [
        "weight: BatchNorm2d became GroupNorm of 2 groups",
        "_b.batch norm: BatchNorm2d became GroupNorm of 2 groups",
    ]
    assert net.weight is net._b["deep"][0][0] and isinstance(net.weight, nn.GroupNorm)  # type: ignore[index]
    assert not mixes(net, x) and make_private(net) == []


def test_resnet_becomes_one_that_reads_rows_alone() -> None:
    net = ResNet(channels=1, outputs=10, widths=(8, 16))
    x = torch.rand(6, 1, 12, 12)
    assert mixes(net, x)
    before = sum(p.numel() for p in net.parameters())
    replaced = make_private(net)
    assert len(replaced) == 6 and not mixes(net, x)
    assert sum(p.numel() for p in net.parameters()) == before
    net(x).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    assert in_a_line(replaced) == (
        "6 layers replaced for privacy: stages.0.1, stages.1.change.0.1, stages.1.change.1.1: BatchNorm2d became "
        "GroupNorm of 2 groups; stages.2.1, stages.3.change.0.1, stages.3.change.1.1: BatchNorm2d became "
        "GroupNorm of 4 groups"
    )
    assert in_a_line(["a: b"] * 6) == "6 layers replaced for privacy: a, a and 4 more: b"


def test_types_modes_and_what_is_frozen_are_kept() -> None:
    net = nn.Sequential(nn.BatchNorm2d(8), nn.BatchNorm2d(8), nn.BatchNorm2d(8)).double().to("meta")
    net[1].eval()
    net[2].weight.requires_grad_(False)
    make_private(net)
    assert [m.training for m in net] == [True, False, True]
    assert all(p.dtype == torch.float64 and p.device.type == "meta" for p in net.parameters())
    assert [p.requires_grad for p in net.parameters()] == [True, True, True, True, False, True]


@pytest.mark.parametrize("kind, shape", [(nn.InstanceNorm1d, (4, 6, 5)), (nn.InstanceNorm2d, (4, 6, 5, 5))])
def test_instance_norm_forgets_but_stays(kind: Any, shape: tuple[int, ...]) -> None:
    plain, tracking = kind(6, affine=True), kind(6, affine=True, track_running_stats=True)
    net = nn.Sequential(plain, tracking)
    assert make_private(net) == [f"1: {kind.__name__} keeps no running statistics any more"]
    assert net[0] is plain and type(net[1]) is kind and net[1].weight is tracking.weight
    x = torch.randn(shape)
    assert torch.allclose(net[1](x), tracking(x)) and not list(net.buffers())


# ---------------------------------------------------------------- what is left
def test_a_frozen_batch_norm_stays_as_it_is_even_in_training_mode() -> None:
    net = nn.Sequential(nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.BatchNorm2d(8))
    net(torch.rand(9, 2, 5, 5))
    net[1].eval().requires_grad_(False)
    want, names = copy.deepcopy(net[1]), list(net.state_dict())
    assert make_private(net) == [
        "1: BatchNorm2d stays frozen, with the statistics it has", "2: BatchNorm2d became GroupNorm of 2 groups"
    ]  # fmt: skip
    net.train()
    x = torch.rand(9, 8, 5, 5)
    assert isinstance(net[1], Frozen) and torch.equal(net[1](x), want(x)) and not mixes(net, torch.rand(4, 2, 5, 5))
    assert torch.equal(net[1].running_mean, want.running_mean)  # type: ignore[arg-type]
    assert list(net.state_dict()) == [n for n in names if not n.startswith("2.") or n in ("2.weight", "2.bias")]


def test_a_network_without_such_layers_is_left() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.ReLU(inplace=True), nn.GroupNorm(1, 3))
    layers = list(net)
    assert make_private(net) == [] and list(net) == layers


# ---------------------------------------------------------------- what is refused
class Activated(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


class Listed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.all = [self.norm]


def hooked() -> nn.Module:
    layer = nn.BatchNorm2d(4)
    layer.register_forward_hook(lambda *_: None)
    return layer


def parametrised() -> nn.Module:
    layer = nn.BatchNorm2d(4)
    parametrize.register_parametrization(layer, "weight", nn.Softplus())
    return layer


@pytest.mark.parametrize(
    "make, cause",
    [
        (lambda: nn.Sequential(hooked()), "0 .BatchNorm2d. mixes the rows of a batch and has hooks .forward_hooks."),
        (lambda: nn.Sequential(parametrised()), "has parametrisations"),
        (lambda: nn.Sequential(Activated(4)), "0 .Activated. mixes the rows of a batch in a way of its own"),
        (lambda: nn.Sequential(nn.LazyBatchNorm2d()), "does not know its size yet"),
        (lambda: nn.BatchNorm2d(4), "is the whole model"),
        (lambda: nn.Sequential(nn.BatchNorm1d(1)), "single number a row"),
        (Listed, "Listed.all holds a BatchNorm beside the model's modules"),
    ],
)
def test_what_cannot_be_replaced_is_refused(make: Callable[[], nn.Module], cause: str) -> None:
    net = make()
    kinds = [type(m) for m in net.modules()]
    with pytest.raises(Refused, match=cause):
        make_private(net)
    assert [type(m) for m in net.modules()] == kinds  # refused before anything was changed


def test_spectral_norm_elsewhere_is_no_reason_to_refuse() -> None:
    net = nn.Sequential(parametrizations.spectral_norm(nn.Conv2d(2, 4, 3)), nn.BatchNorm2d(4))
    assert len(make_private(net)) == 1


# ---------------------------------------------------------------- what is shipped
def test_a_model_that_was_made_private_is_shipped_as_it_was_trained(tmp_path: Path) -> None:
    arrays = torch.randint(256, (40, 8, 8), dtype=torch.uint8).numpy(), (torch.arange(40) % 2).numpy()
    data: Dataset = sonde.data.open(arrays)
    build: Build[Objective] = Build(Classify, net=Build(ResNet, channels=1, outputs=2, widths=(8, 16)))
    trained = build()
    make_private(trained)
    objective = built_private(build)()
    objective.load_state_dict(trained.state_dict())
    Bundle.of(objective.eval(), built_private(build), data).save(tmp_path / "model")
    again = Bundle.load(tmp_path / "model")
    x = data.batch(torch.arange(9)).x
    assert torch.equal(again.raw(x), trained.eval().predict(x).detach())  # type: ignore[operator]
