"""PCGrad: the projection by hand, what it leaves alone, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sonde.core import Batch, Budget, Engine, Loss, Objective, Refused, Run, SondeError, Term, fit
from sonde.data.rows import Rows
from sonde.methods import Descend, Distil, PCGrad, sgd
from sonde.methods.optimise.pcgrad import projected
from sonde.objectives import Classify
from tests.support import GAN, L2, PLAIN_SGD, Joint, blobs, gan_rows, mlp, trained, weights


class Bowls(Objective):
    """Quadratic losses with minima at different points: half the squared distance to each, with a scale."""

    def __init__(self, minima: Tensor, scales: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.0, 0.0], dtype=torch.float64))
        self.minima, self.scales = minima, scales

    def forward(self, turn: str, batch: Batch) -> Loss:
        terms = {}
        for i, (m, s) in enumerate(zip(self.minima, self.scales, strict=True)):
            value = 0.5 * (s * (self.w - m).square()).sum()
            terms[f"bowl{i}"] = Term(value.expand(len(batch)))
        return Loss(terms)


def gradient_of(run: Run, record: bool = True) -> dict[str, Tensor]:
    return run.gradient("model", Batch(torch.zeros(4)), record)


def test_two_quadratic_losses_by_hand() -> None:
    # At w = 0: g1 = -(2, 0) and g2 = -(-1, 1): they conflict, g1.g2 = -2.
    bowls = Bowls(torch.tensor([[2.0, 0.0], [-1.0, 1.0]]).double(), torch.ones(2, 2).double())
    g1, g2 = torch.tensor([-2.0, 0.0]).double(), torch.tensor([1.0, -1.0]).double()
    one = g1 - (g1 @ g2) / (g2 @ g2) * g2  # (-1, -1)
    two = g2 - (g1 @ g2) / (g1 @ g1) * g1  # (0, -1)
    found = gradient_of(Run(bowls, [PCGrad(), sgd(0.1)]))["w"]
    torch.testing.assert_close(found, one + two, rtol=1e-12, atol=1e-12)
    assert found.tolist() == pytest.approx([-1.0, -2.0])


def test_losses_that_agree_are_left_alone() -> None:
    bowls = Bowls(torch.tensor([[2.0, 0.0], [1.0, 1.0]]).double(), torch.tensor([[1.0, 1.0], [3.0, 3.0]]).double())
    found = gradient_of(Run(bowls, [PCGrad(), sgd(0.1)]))["w"]
    assert found.tolist() == [-5.0, -3.0]


def test_without_conflict_training_equals_backpropagation() -> None:
    found = []
    for extra in ([], [PCGrad()]):
        torch.manual_seed(0)
        net = mlp(4, 8, 3).double()
        x, y = blobs()
        # Both terms are the same loss: they cannot conflict.
        run = Run(Twice(net), [*extra, Descend(PLAIN_SGD)])
        fit(run, Rows(x.double(), y, batch_size=16), Budget(steps=8))
        found.append(weights(net))
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


class Twice(Classify):
    def forward(self, turn: str, batch: Batch) -> Loss:
        loss = super().forward(turn, batch)
        return loss.with_term("again", Term(loss.terms["task"].value, "example", 0.5))


def test_no_term_keeps_what_is_against_another_after_one_projection() -> None:
    g = torch.Generator().manual_seed(1)
    for _ in range(50):
        pair = [torch.randn(6, generator=g, dtype=torch.float64) for _ in range(2)]
        for kept, other in zip(projected(pair, g), pair[::-1], strict=True):
            assert kept @ other >= -1e-12


def test_three_losses_by_the_algorithm_in_the_order_that_was_drawn() -> None:
    g = torch.Generator().manual_seed(3)
    three = [torch.randn(5, generator=g, dtype=torch.float64) for _ in range(3)]
    found = projected(three, torch.Generator().manual_seed(7))
    same = torch.Generator().manual_seed(7)
    for i, own in enumerate(three):
        expected = own.clone()
        for j in torch.randperm(3, generator=same).tolist():
            dot = expected @ three[j]
            if j != i and dot < 0:
                expected -= dot / three[j].norm() ** 2 * three[j]
        torch.testing.assert_close(found[i], expected, rtol=1e-12, atol=1e-12)


def test_a_penalty_is_added_as_it_is() -> None:
    bowls = Bowls(torch.tensor([[2.0, 0.0], [-1.0, 1.0]]).double(), torch.ones(2, 2).double())
    bowls.w.data = torch.tensor([0.5, 0.5]).double()
    plain = gradient_of(Run(bowls, [PCGrad(), sgd(0.1)]))["w"]
    with_l2 = gradient_of(Run(bowls, [PCGrad(), L2(100.0), sgd(0.1)]))["w"]
    torch.testing.assert_close(with_l2, plain + 100 * bowls.w.detach(), rtol=1e-12, atol=1e-12)


def test_terms_of_the_whole_batch_take_part() -> None:
    run = trained(PCGrad(), Joint())
    assert set(run.losses["model"].terms) == {"task", "spread"}


def test_a_probe_takes_nothing_from_the_order() -> None:
    bowls = Bowls(torch.randn(4, 2).double(), torch.ones(4, 2).double())
    method = PCGrad()
    run = Run(bowls, [method, sgd(0.1)])
    before = method.state_dict()["generator"].clone()
    probe = gradient_of(run, record=False)["w"]
    assert torch.equal(method.state_dict()["generator"], before)
    assert torch.equal(gradient_of(run)["w"], probe)
    assert not torch.equal(method.state_dict()["generator"], before)


def test_parameters_that_no_term_reaches_have_no_gradient() -> None:
    bowls = Bowls(torch.randn(2, 2).double(), torch.ones(2, 2).double())
    bowls.idle = nn.Parameter(torch.zeros(3).double())
    assert set(gradient_of(Run(bowls, [PCGrad(), sgd(0.1)]))) == {"w"}


def test_in_a_game_a_player_with_one_term_learns_as_ever() -> None:
    torch.manual_seed(0)
    run = Run(GAN(), [PCGrad(), sgd(0.1)])
    fit(run, gan_rows(), Budget(steps=4))
    assert run.step == 4


def test_a_loss_of_one_term_is_refused_before_a_step() -> None:
    run = Run(Classify(mlp(4, 8, 3)), [PCGrad(), L2(), sgd(0.1)])
    before = weights(run.objective)
    with pytest.raises(Refused, match=r"this one has only \['task'\]\n  leave PCGrad out"):
        fit(run, Rows(*blobs(), batch_size=16), Budget(steps=1))
    assert torch.equal(weights(run.objective), before)


def test_a_loss_that_is_no_number_is_named() -> None:
    bowls = Bowls(torch.tensor([[float("nan"), 0.0], [-1.0, 1.0]]).double(), torch.ones(2, 2).double())
    with pytest.raises(SondeError, match="step 0: loss term 'bowl0' is not finite"):
        gradient_of(Run(bowls, [PCGrad(), sgd(0.1)]))


def test_float16_is_refused() -> None:
    with pytest.raises(SondeError, match="use bf16-mixed"):
        Run(Classify(mlp(4, 8, 3)), [PCGrad(), Distil(mlp(4, 3)), sgd(0.1)], Engine("cpu", precision="16-mixed"))
