"""Accuracy under attack: exact for a linear model, never above the accuracy, and nothing of the model is changed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sonde.audits.quality.intervals import wilson
from sonde.audits.robustness import pgd
from sonde.core import SondeError


def linear(seed: int = 0) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    x = 0.5 + 0.2 * torch.rand(200, 12) - 0.1
    return net, x, (net(x).argmax(1) ^ (torch.arange(200) % 10 == 0)).long()


@pytest.mark.parametrize("radius", [0.0, 0.01, 0.05, 0.2])
def test_a_linear_model_stands_exactly_where_its_margin_reaches(radius: float) -> None:
    net, x, y = linear()
    w, b = net[1].weight.detach(), net[1].bias.detach()
    direction = (w[0] - w[1]) * torch.where(y == 0, 1.0, -1.0)[:, None]
    margin = ((x @ (w[0] - w[1])) + (b[0] - b[1])) * torch.where(y == 0, 1.0, -1.0)
    least = margin - radius * direction.abs().sum(1)
    clear = (least.abs() > 1e-5).all()
    assert clear
    found = pgd(net, x, y, radius, step=0.05, steps=20, restarts=1, batch_size=64)
    assert found.value == pytest.approx(float((least > 0).float().mean()))
    assert found.interval == wilson(round(found.value * 200), 200)


def test_without_a_radius_it_is_the_accuracy() -> None:
    net, x, y = linear()
    assert pgd(net, x, y, 0.0, step=0.1).value == pytest.approx(0.9)


def test_more_restarts_and_a_larger_ball_never_help_the_model() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 3))
    x = torch.rand(300, 6)
    y = net(x).argmax(1)
    one, many = (pgd(net, x, y, 0.1, step=0.02, steps=5, restarts=k, batch_size=300).value for k in (1, 4))
    wide = pgd(net, x, y, 0.2, step=0.04, steps=5, restarts=4, batch_size=300).value
    assert 1.0 >= one >= many >= wide < 1.0


def test_every_tried_point_is_within_ball_and_bounds() -> None:
    seen: list[Tensor] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(5, 2)

        def forward(self, v: Tensor) -> Tensor:
            seen.append(v.detach().clone())
            return self.net(v)

    x = torch.rand(40, 5)
    net = Watched()
    pgd(net, x, net.net(x).argmax(1), 0.3, step=0.1, steps=4, restarts=2, batch_size=40)
    for v in seen:
        assert v.min() >= 0 and v.max() <= 1
        assert ((v[:, None] - x[None]).abs().amax(2).amin(1) <= 0.3 + 1e-6).all()


def test_the_model_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 2))
    net[2].bias.requires_grad_(False)
    net.train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    pgd(net, torch.rand(20, 5), torch.zeros(20, dtype=torch.int64), 0.1, step=0.05, steps=2, restarts=1)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert net.training and net[2].weight.requires_grad and not net[2].bias.requires_grad
    assert net[2].weight.grad is None


@pytest.mark.parametrize(("x", "reason"), [(torch.rand(3, 5) + 1, "outside"), (torch.rand(0, 5), "no rows")])
def test_what_cannot_be_attacked_is_said(x: Tensor, reason: str) -> None:
    with pytest.raises(SondeError, match=reason):
        pgd(nn.Linear(5, 2), x, torch.zeros(len(x), dtype=torch.int64), 0.1, step=0.1)
