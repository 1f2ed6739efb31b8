"""Learning solutions of differential equations, against the closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from sonde.core import Batch, Budget, Objective, Run, SondeError, fit
from sonde.data.rows import Rows
from sonde.losses import Heat, Oscillator, derivative
from sonde.methods import Backprop, adam
from sonde.methods.observe.validate import mean_scores
from sonde.objectives import Physics
from sonde.optim.schedules import Cosine
from tests.support import mlp

DOUBLE = torch.float64
RATE = 0.2  # the diffusivity


class Closed(nn.Module):
    """A function in place of a net."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function, self.scale = function, nn.Parameter(torch.ones((), dtype=DOUBLE))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.function(x)  # type: ignore[operator, no-any-return]


def warm(x: Tensor) -> Tensor:
    """What solves the heat equation on [0, 1] with ends held at 0."""
    return torch.sin(math.pi * x[:, :1]) * torch.exp(-RATE * math.pi**2 * x[:, 1:])


def swing(t: Tensor) -> Tensor:
    """What solves u'' + 2 * 0.3 u' + 4 u = 0, u(0) = 1."""
    fast = math.sqrt(4 - 0.09)
    return torch.exp(-0.3 * t) * torch.cos(fast * t)


def test_derivatives_are_those_of_calculus() -> None:
    x = torch.rand(5, 2, dtype=DOUBLE, requires_grad=True)
    u = x[:, 0] ** 3 * x[:, 1]
    first = derivative(u, x)
    torch.testing.assert_close(first, torch.stack([3 * x[:, 0] ** 2 * x[:, 1], x[:, 0] ** 3], 1))
    torch.testing.assert_close(derivative(first[:, 0], x)[:, 0], 6 * x[:, 0] * x[:, 1])
    assert derivative(derivative(x[:, 0], x)[:, 0], x).eq(0).all()  # of something linear


@pytest.mark.parametrize(("equation", "solution", "width"), [(Heat(RATE), warm, 2), (Oscillator(2.0, 0.3), swing, 1)])
def test_the_residual_of_a_solution_is_zero_and_of_another_function_is_not(
    equation: object, solution: object, width: int
) -> None:
    x = torch.rand(20, width, dtype=DOUBLE)
    y = torch.full((20, 1), torch.nan, dtype=DOUBLE)
    for function, zero in ((solution, True), (lambda x: x[:, :1] ** 3, False)):
        loss = Physics(Closed(function), equation)("model", Batch(x, y))  # type: ignore[arg-type]
        assert loss.terms["data"].value.eq(0).all()
        assert (loss.terms["residual"].value.max() < 1e-20) == zero


def test_its_gradient_is_exact() -> None:
    net = mlp(2, 5, 1).double()
    x, y = torch.rand(4, 2, dtype=DOUBLE), torch.tensor([[0.3], [torch.nan], [torch.nan], [0.1]], dtype=DOUBLE)
    names = [k for k, _ in net.named_parameters()]

    def total(*values: Tensor) -> Tensor:
        objective = Physics(net, Heat(RATE), strength=0.5)
        params = {f"net.{k}": v for k, v in zip(names, values, strict=True)}
        return torch.func.functional_call(objective, params, ("model", Batch(x, y))).total()  # type: ignore[no-any-return]

    assert torch.autograd.gradcheck(total, [p.detach().requires_grad_() for p in net.parameters()])


def problem(n: int = 256) -> tuple[Tensor, Tensor]:
    """Places in [0, 1]^2; the solution is told at time 0 and at both ends, on half of them."""
    g = torch.Generator().manual_seed(3)
    x = torch.rand(n, 2, generator=g)
    x[: n // 4, 1] = 0.0
    x[n // 4 : n // 2, 0] = torch.arange(n // 4) % 2
    y = warm(x)
    y[n // 2 :] = torch.nan
    return x, y


def heated(strength: float, *methods: Backprop) -> Run:
    torch.manual_seed(0)
    x, y = problem()
    objective = Physics(mlp(2, 24, 24, 1), Heat(RATE), strength)
    return fit(Run(objective, [*methods, adam(0.01, schedule=Cosine())]), Rows(x, y, batch_size=256), Budget(steps=800))


def test_a_net_finds_the_heat_inside_from_the_edges_by_the_equation_alone() -> None:
    """Without the equation the same net is told nothing of what happens inside, and is wrong there."""
    line = torch.linspace(0, 1, 21)
    x = torch.cartesian_prod(line, line)
    errors = []
    for strength in (0.1, 0.0):
        with heated(strength).evaluating() as objective:
            errors.append((objective.predict(x) - warm(x)).abs().max().item())  # type: ignore[operator]
    assert errors[0] < 0.03 and errors[1] > 0.1, errors


def test_it_can_be_evaluated_where_gradients_are_off() -> None:
    objective: Objective = Physics(mlp(2, 4, 1), Heat())
    x, y = problem(8)
    with torch.no_grad():
        loss = objective("model", Batch(x, y))
        scores = mean_scores(objective, [Batch(x, y)])
    assert not loss.total().requires_grad and set(scores) == {"loss", "residual", "mse"}


def test_rows_may_be_taken_apart() -> None:
    x, y = problem(20)
    objective = Physics(mlp(2, 4, 1).double(), Heat())
    whole = objective("model", Batch(x.double(), y.double()))
    for name, term in whole.terms.items():
        parts = [
            objective("model", Batch(a.double(), b.double())).terms[name].value
            for a, b in zip(x.split(3), y.split(3), strict=True)
        ]
        torch.testing.assert_close(torch.cat(parts), term.value)


def test_what_does_not_fit_is_refused() -> None:
    x, y = problem(8)
    with pytest.raises(SondeError, match="rewards"):
        Physics(mlp(2, 1), Heat(), strength=-1.0)
    with pytest.raises(SondeError, match="the net answers"):
        Physics(mlp(2, 3), Heat())("model", Batch(x, y))
    with pytest.raises(SondeError, match="a residual a row"):
        Physics(mlp(2, 1), lambda u, x: u.mean())("model", Batch(x, y))
