"""Signs of masked gradients: none for nets whose gradients tell the truth, and each kind of lie is seen."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sonde.audits.robustness.masking import MEASURES, GradientMasking
from sonde.core import Audited, Subject, run_audits
from tests.attacks.nets import curved

AUDIT = GradientMasking(radius=0.1, rows=80, steps=20, queries=100, draws=50)


class Reversed(torch.autograd.Function):
    """The identity, whose gradient points the wrong way."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, g: Tensor) -> Tensor:
        return -g


class Lying(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.net = how, curved(4)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "stairs":
            return self.net(x + (x.mul(20).round().div(20) - x).detach() - x + x.detach())
        if self.how == "reversed":
            return self.net(Reversed.apply(x))
        if self.how == "true at the rows alone":  # multiples of 1/16 tell the truth
            at_home = (x * 16 == (x * 16).round()).flatten(1).double().mean(1) > 0.4
            both = torch.where(at_home[:, None, None, None], x, Reversed.apply(x))
            return self.net(both)
        if self.how == "everything alike":
            return self.net(torch.zeros_like(x)) + 0 * x.sum((1, 2, 3))[:, None]
        return self.net(x)


def signs(how: str) -> tuple[Audited, dict[str, str]]:
    net = Lying(how)
    torch.manual_seed(2)
    x = torch.randint(0, 17, (80, 1, 5, 4)) / 16
    y = net(x).argmax(1)
    (found,) = run_audits(Subject.of(net, x, y, kind="image", bounds=(0.0, 1.0)), [AUDIT])
    assert found.outcome == "done", found.reason
    assert {m.name for m in found.measures} == set(MEASURES)
    (table,) = found.tables
    names = [name.removeprefix("robustness/masking/") for name in MEASURES[:-1]]
    said = {name: str(row[3]) for name, row in zip(names, table.rows, strict=True)}
    assert found.measures[-1].value == sum(s.startswith("yes") for s in said.values())
    return found, {name for name, s in said.items() if s.startswith("yes")}  # type: ignore[return-value]


def test_an_honest_net_shows_no_sign() -> None:
    assert signs("honest")[1] == set()


@pytest.mark.parametrize(
    ("how", "seen"),
    [
        ("stairs", {"without_gradient_share", "black_box_only_share", "standing_at_large_radius_share"}),
        ("reversed", {"black_box_only_share"}),
        ("true at the rows alone", {"one_step_only_share"}),
        ("everything alike", {"without_gradient_share", "standing_at_large_radius_share"}),
    ],
)
def test_every_lie_is_seen(how: str, seen: set[str]) -> None:
    assert seen <= set(signs(how)[1])


def test_where_no_row_is_right_nothing_is_claimed() -> None:
    net = curved(3)
    x = torch.rand(10, 1, 5, 4)
    subject = Subject.of(net, x, (net(x).argmax(1) + 1) % 3, kind="image", bounds=(0.0, 1.0))
    (found,) = run_audits(subject, [AUDIT])
    assert {m.name for m in found.measures} == set(MEASURES) and all(m.settings["omitted"] for m in found.measures)
