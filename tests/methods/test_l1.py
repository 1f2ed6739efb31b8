"""L1: the soft threshold, the lasso's optimality under every rule it knows, and exact zeros."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from sonde.core import Budget, Gradient, Method, Run, SondeError, fit
from sonde.data.rows import Rows
from sonde.methods import L1, Descend, adam, adamw, sgd
from sonde.methods.regularise.l1 import soft
from sonde.objectives import Regress
from tests.support import PLAIN_SGD, mlp, trained, weights


def lasso_rows(n: int = 80) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(2)
    x = torch.randn(n, 6, generator=g, dtype=torch.float64)
    true = torch.tensor([1.5, -2.0, 0.0, 0.0, 0.3, 0.0], dtype=torch.float64)
    return x, (x @ true)[:, None] + 0.1 * torch.randn(n, 1, generator=g, dtype=torch.float64)


class Squares(nn.Module):
    """A linear map of six numbers without an offset."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 1, bias=False).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)  # type: ignore[no-any-return]


def solved(rule: Method, strength: float, steps: int = 2000) -> tuple[Tensor, Tensor]:
    """The weights that the run rests at, and the gradient of the smooth part there."""
    torch.manual_seed(0)
    x, y = lasso_rows()
    run = Run(Regress(Squares(), targets=1).double(), [L1(strength), rule])
    fit(run, Rows(x, y, batch_size=len(x)), Budget(steps=steps))
    params = run.params("model")
    (batch,) = [b for b, _ in zip(Rows(x, y, batch_size=len(x)).batches(None), range(1), strict=False)]
    g = run.differentiate(run.loss("model", params, batch).total(), params)
    (name,) = params
    return params[name].detach(), g[name]


RULES = {
    "sgd": lambda: Descend(PLAIN_SGD),
    "momentum": lambda: sgd(0.02, momentum=0.9, nesterov=False),
    "nesterov": lambda: sgd(0.02),
    "dampened": lambda: Descend(partial(torch.optim.SGD, lr=0.1, momentum=0.5, dampening=0.5)),
    "adam": lambda: adam(0.01),
    "adamw": lambda: adamw(0.01, weight_decay=0.0),
}


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_rests_where_the_lasso_is_solved(rule: str) -> None:
    """Optimality: g = -strength sign(w) where w is not zero, |g| <= strength where it is."""
    strength = 0.3
    w, g = solved(RULES[rule](), strength)
    active = w != 0
    assert active.any() and not active.all()
    slack = 0.05 * strength if rule.startswith("adam") else 1e-6  # Adam circles its rest at the size of a step
    torch.testing.assert_close(g[active], -strength * w[active].sign(), rtol=0, atol=slack)
    assert (g[~active].abs() <= strength + slack).all()


def test_one_step_of_plain_sgd_is_a_gradient_step_and_a_soft_threshold() -> None:
    found = []
    for extra in ([], [L1(0.5)]):
        torch.manual_seed(0)
        found.append(trained(*extra, Descend(PLAIN_SGD), steps=1, net=mlp(4, 8, 3)).objective.state_dict())
    for k, plain in found[0].items():
        expected = nn.functional.softshrink(plain, 0.1 * 0.5) if plain.dim() > 1 else plain
        torch.testing.assert_close(found[1][k], expected, rtol=0, atol=1e-7)


def test_the_threshold_follows_the_schedule() -> None:
    torch.manual_seed(0)
    net = mlp(4, 8, 3)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    trained(L1(5.0), Descend(PLAIN_SGD, lambda step, total: 0.0), net=net, steps=3)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_the_soft_threshold_is_torchs() -> None:
    w = torch.randn(100, dtype=torch.float64)
    assert torch.equal(soft(w, 0.4), nn.functional.softshrink(w, 0.4) + 0.0)


@pytest.mark.parametrize("rule", RULES)
def test_without_strength_nothing_changes(rule: str) -> None:
    found = []
    for extra in ([], [L1(0.0)]):
        torch.manual_seed(0)
        found.append(weights(trained(*extra, RULES[rule]()).objective))
    assert torch.equal(*found)


def test_parameters_that_took_no_step_are_left_alone() -> None:
    net = mlp(4, 8, 3)
    net.register_parameter("idle", nn.Parameter(torch.full((3, 3), 0.001)))
    for rule in (Descend(PLAIN_SGD), adam(0.01)):
        trained(L1(1.0), rule, net=net)
        assert torch.equal(net.idle, torch.full((3, 3), 0.001))


class Still(Method):
    """An update rule of the caller's."""

    def update(self, run: Run, turn: str, gradient: Gradient) -> None:
        gradient()


@pytest.mark.parametrize("rule", [Still(), Descend(partial(torch.optim.Rprop, lr=0.1))], ids=["own", "rprop"])
def test_a_rule_whose_steps_it_cannot_measure_is_refused(rule: Method) -> None:
    with pytest.raises(SondeError, match="L1 does not know how far (Still|Rprop) goes in a step\n  use sgd"):
        trained(L1(0.1), rule)


@pytest.mark.parametrize("strength", [-1.0, float("nan"), float("inf")])
def test_an_impossible_strength_is_refused(strength: float) -> None:
    with pytest.raises(ValueError, match="strength is 0 or more"):
        L1(strength)
