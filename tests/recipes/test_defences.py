"""The experiments on defences, small: what a transformation hides, what BPDA and the logits still see."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sonde import nets
from sonde.attacks import pgd
from sonde.attacks.losses import margin
from sonde.data import Dataset, load
from sonde.experiment import Check, Figure, Table
from sonde.recipes.defences import (
    Warm,
    _lower_end,
    distillation_findings,
    fewer_bits,
    learned,
    median,
    transformation_findings,
    transformed,
)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def small() -> nn.Module:
    return nets.ConvNet(1, 8, 8, 10, widths=(16,), hidden=32)


def test_bits_are_levels_and_the_median_drops_specks() -> None:
    x = torch.linspace(0, 1, 101)
    assert len(fewer_bits(x, 2).unique()) == 4 and float((fewer_bits(x, 3) - x).abs().max()) <= 0.5 / 7 + 1e-6
    speck = torch.zeros(1, 1, 7, 7)
    speck[0, 0, 3, 3] = 1.0
    assert not median(speck).any()
    from scipy.ndimage import median_filter

    y = torch.rand(1, 1, 9, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(median(y)[0, 0], torch.from_numpy(median_filter(y[0, 0].numpy(), 3, mode="mirror")))


def test_a_step_hides_the_gradient_and_bpda_finds_it() -> None:
    class Sum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            z = x.flatten(1).sum(1) - 2.0
            return torch.stack([-z, z], 1)

    net, x = Sum(), torch.full((20, 1, 2, 2), 0.6)
    y = torch.ones(20, dtype=torch.int64)

    def bits(v: Tensor) -> Tensor:
        return fewer_bits(v, 1)

    blind = pgd(lambda v: net(bits(v) + 0 * v), x, y, 0.2, steps=20)  # the rounding itself has no gradient
    stood = transformed(net, bits, x, y, 0.2, 20, 0)
    assert stood.clean.all() and not stood.found["BPDA"].any()
    assert (net(bits(blind)).argmax(1) == y).any() and stood.found["DeepFool"].float().mean() < 1.01


def test_the_temperature_scales_logits_and_is_left_behind(digits: Dataset) -> None:
    rows = digits.batch(digits.splits["train"][:300])
    bare = Warm(nn.Identity(), 4.0)
    assert torch.equal(bare(torch.tensor([[8.0]])), torch.tensor([[2.0]]))
    cold, hot = (learned(rows.x, rows.y, t, 0, 30, small) for t in (1.0, 10.0))
    spread = [float(net(rows.x).std()) for net in (cold, hot)]
    assert spread[1] > 1.3 * spread[0]  # without a temperature the two are one net
    assert not any(p.requires_grad for p in hot.parameters()) and not hot.training


def test_a_hot_net_starves_the_loss_of_gradient_but_not_the_margin(digits: Dataset) -> None:
    rows, test = digits.batch(digits.splits["train"]), digits.batch(digits.splits["test"][:100])
    net = Warm(learned(rows.x, rows.y, 1.0, 0, 12, small), 0.002)  # logits as a temperature of 500 leaves them
    right = net(test.x).argmax(1) == test.y
    x, y = test.x[right], test.y[right]
    assert len(y) > 60
    softmax, logits = (pgd(net, x, y, 0.3, steps=20, **kind) for kind in ({}, {"loss": margin}))
    turned = [float((net(v).argmax(1) != y).float().mean()) for v in (softmax, logits)]
    assert turned[1] > 0.95 and turned[0] < turned[1] - 0.2, turned


def test_everything_is_found_for_every_transformation(digits: Dataset) -> None:
    found = list(transformation_findings(digits, train=400, rows=40, radius=0.3, steps=8, epochs=8, net=small))
    checks = {f.measure.name: f for f in found if isinstance(f, Check)}
    assert len(checks) == 10 and sum(isinstance(f, Figure) for f in found) == 1
    (table,) = (f for f in found if isinstance(f, Table))
    assert [row[0] for row in table.rows] == ["none", "3 bits", "JPEG", "median"]
    assert checks["input transformation/3 bits under BPDA"].measure.n == 40
    assert checks["input transformation/3 bits under BPDA"].measure.value < table.rows[1][1] / 100


def test_everything_is_found_for_every_temperature(digits: Dataset) -> None:
    found = list(distillation_findings(digits, (1.0, 50.0), train=400, rows=15, steps=8, epochs=8, net=small))
    (table,) = (f for f in found if isinstance(f, Table))
    assert [row[0] for row in table.rows] == [1.0, 50.0] and table.rows[0][4] is None
    names = [f.measure.name for f in found if isinstance(f, Check)]
    assert len(names) == 5 and len(set(names)) == 5
    assert {f.name for f in found if isinstance(f, Figure)} == {"temperatures"}


def test_the_lower_end_is_of_paired_differences() -> None:
    measure = _lower_end("x", torch.tensor([1.0, 1.0, 0.0, 0.0]), {})
    assert measure.value == pytest.approx(0.5 - 1.96 * (1 / 3) ** 0.5 / 2) and measure.settings["mean"] == 0.5
