"""SI: the path integral on a quadratic, where it is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sonde.core import Batch, Budget, Loss, Objective, Run, Term, fit
from sonde.data.rows import Rows
from sonde.methods import SynapticIntelligence, sgd


class Quadratic(Objective):
    """1/2 sum_k a_k (theta_k - x_k)^2, whatever the row says: x is where the minimum is."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(3, dtype=torch.float64))
        self.register_buffer("a", torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64))

    def forward(self, turn: str, batch: Batch) -> Loss:
        return Loss({"task": Term(0.5 * (self.a * (self.theta - batch.x).square()).sum(1))})


def minimum(at: list[float]) -> Rows:
    return Rows(torch.tensor([at] * 4, dtype=torch.float64), None, 2)


def train(strength: float, steps: int, lr: float, stages: list[list[float]]) -> tuple[Quadratic, SynapticIntelligence]:
    si = SynapticIntelligence(strength, damping=0.1)
    run = Run(Quadratic(), [si, sgd(lr, momentum=0.0)])
    for at in stages:
        fit(run, minimum(at), Budget(steps=steps))
    return run.objective, si  # type: ignore[return-value]


def test_the_path_integral_is_each_parameters_share_in_the_fall_of_the_loss() -> None:
    """In the limit of small steps omega_k = a_k / 2 x_k^2, the fall of its own summand (eq. 3)."""
    where = torch.tensor([1.0, -2.0, 1.5], dtype=torch.float64)
    objective, si = train(0.1, 4000, 0.005, [where.tolist()])
    moved: Tensor = objective.theta.detach()
    omega = si.path["model"]["theta"]
    fall = 0.5 * objective.a * (where.square() - (moved - where).square())
    assert torch.allclose(omega, fall, rtol=0.01, atol=1e-9)
    importance = si.importance["model"]["theta"]
    assert torch.allclose(importance, omega / (moved.square() + 0.1))
    assert importance[0] == 0  # it did not matter


def test_one_step_by_hand() -> None:
    _, si = train(0.1, 1, 0.1, [[1.0, 1.0, 1.0]])
    a = torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64)
    assert torch.allclose(si.path["model"]["theta"], 0.1 * a.square())  # -g (-lr g) with g = -a


def test_the_penaltys_own_gradient_is_no_part_of_the_next_path() -> None:
    objective, si = train(10.0, 1, 0.01, [[1.0, 1.0, 1.0]])
    run = Run(objective, [si, sgd(0.01, momentum=0.0)])
    run.stage = 1
    with torch.no_grad():
        objective.theta.add_(0.3)  # away from the anchor, so that the penalty pulls
    before = objective.theta.detach().clone()
    fit(run, minimum([2.0, 0.0, 1.0]), Budget(steps=1))
    g = objective.a * (before - torch.tensor([2.0, 0.0, 1.0], dtype=torch.float64))
    way = objective.theta.detach() - before
    assert torch.allclose(si.path["model"]["theta"], -g * way, rtol=1e-6)
    pull = 2 * 10.0 * si.importance["model"]["theta"]
    assert not torch.allclose(way, -0.01 * g) and bool((pull[1:] > 0).all())


def test_it_holds_what_mattered_and_frees_what_did_not() -> None:
    held, _ = train(5.0, 400, 0.05, [[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]])
    free, _ = train(0.0, 400, 0.05, [[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]])
    assert torch.allclose(free.theta[1:], torch.tensor([-1.0, -1.0], dtype=torch.float64), atol=1e-3)
    assert bool((held.theta[1:] > 0).all())


def test_settings_that_cannot_be_meant_are_refused() -> None:
    for wrong in ({"strength": -1.0}, {"damping": 0.0}):
        with pytest.raises(ValueError):
            SynapticIntelligence(**wrong)
