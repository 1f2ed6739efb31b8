"""Contrastive objectives: SimCLR's loss and the triplet loss by hand, gradients, refusals, and what they learn."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sonde.core import Batch, Budget, Run, SondeError, fit
from sonde.data.rows import Rows
from sonde.methods import Backprop, adam, sgd
from sonde.methods.observe.validate import mean_scores
from sonde.objectives import Contrast, Triplet
from tests.support import mlp

DOUBLE = torch.float64
N = 5


def numbers(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def views(n: int = N) -> Batch:
    return Batch(numbers(n, 4), None, torch.arange(n), {"view": numbers(n, 4, seed=2)})


# ---------------------------------------------------------------- Contrast
@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_the_loss_is_equation_1(temperature: float) -> None:
    objective = Contrast(mlp(4, 6), nn.Linear(6, 3), temperature).double()
    batch = views()
    z = [objective.head(objective.net(v)) for pair in zip(batch.x, batch.fields["view"], strict=True) for v in pair]
    s = lambda i, k: torch.cosine_similarity(z[i], z[k], dim=0) / temperature  # noqa: E731

    def l(i: int, j: int) -> Tensor:  # noqa: E743 - the paper's name
        return -(s(i, j).exp() / sum(s(i, k).exp() for k in range(2 * N) if k != i)).log()

    byhand = sum(l(2 * k, 2 * k + 1) + l(2 * k + 1, 2 * k) for k in range(N)) / (2 * N)
    loss = objective("model", batch)
    torch.testing.assert_close(loss.total(), byhand)
    assert loss.terms["contrast"].kind == "batch"
    rows = torch.stack([(l(2 * k, 2 * k + 1) + l(2 * k + 1, 2 * k)) / 2 for k in range(N)])
    torch.testing.assert_close(objective.scores(batch, loss)["loss"], rows)


def test_its_gradient_is_exact() -> None:
    objective = Contrast(nn.Identity(), nn.Identity()).double()

    def total(x: Tensor, view: Tensor) -> Tensor:
        return objective("model", Batch(x, fields={"view": view})).total()

    assert torch.autograd.gradcheck(total, (numbers(N, 3).requires_grad_(), numbers(N, 3, seed=2).requires_grad_()))


def test_equal_views_of_different_rows_are_matched() -> None:
    objective = Contrast(nn.Identity(), nn.Identity()).double()
    x = numbers(N, 8)
    with torch.no_grad():
        values = mean_scores(objective, [Batch(x, fields={"view": 2 * x})])
    assert values["matched"] == 1 and values["loss"] > 0


def test_a_row_without_others_costs_nothing() -> None:
    objective = Contrast(nn.Identity(), nn.Identity()).double()
    assert objective("model", views(1)).total() == 0


def test_an_augmentation_makes_two_views() -> None:
    seen: list[Tensor] = []

    def augment(x: Tensor) -> Tensor:
        seen.append(x + torch.randn_like(x))
        return seen[-1]

    objective = Contrast(mlp(4, 6), nn.Linear(6, 3), augment=augment).double()
    loss = objective("model", Batch(numbers(N, 4)))
    other = Contrast(objective.net, objective.head)("model", Batch(seen[0], fields={"view": seen[1]}))
    assert len(seen) == 2 and not torch.equal(*seen)
    torch.testing.assert_close(loss.total(), other.total())


def test_views_of_one_cloud_come_together_and_clouds_part() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 4)
    rows = Rows(x, batch_size=16, fields={"view": x + 0.1 * torch.randn(64, 4)})
    objective = Contrast(mlp(4, 32), nn.Linear(32, 8), temperature=0.2)
    with torch.no_grad():
        before = mean_scores(objective, [rows.whole])
    fit(Run(objective, [adam(1e-2)]), rows, Budget(steps=200))
    with torch.no_grad():
        after = mean_scores(objective, [rows.whole])
    assert after["loss"] < before["loss"] - 1 and after["matched"] > 0.8


def test_what_is_used_afterwards_is_the_representation() -> None:
    objective = Contrast(mlp(4, 6), nn.Linear(6, 3)).double()
    x = numbers(N, 4)
    assert torch.equal(objective.predict(x), objective.net(x)) and objective.predict(x).shape == (N, 6)


def test_one_view_is_refused() -> None:
    with pytest.raises(
        SondeError, match=r"two views of every row, and the batch has one\n  give the objective augment"
    ):
        Contrast(nn.Identity(), nn.Identity())("model", Batch(numbers(N, 3)))


def test_microbatches_are_refused() -> None:
    run = Run(Contrast(nn.Linear(4, 4).double(), nn.Identity()), [Backprop(2), sgd(0.1)])
    with pytest.raises(SondeError, match=r"microbatches cannot give the terms \['contrast'\]"):
        run.gradient("model", views())


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_an_impossible_temperature_is_refused(temperature: float) -> None:
    with pytest.raises(SondeError, match="is not positive"):
        Contrast(nn.Identity(), nn.Identity(), temperature)


# ---------------------------------------------------------------- Triplet
def triplets() -> Batch:
    return Batch(numbers(N, 4), fields={"positive": numbers(N, 4, seed=2), "negative": numbers(N, 4, seed=3)})


def test_the_triplet_loss_is_equation_3() -> None:
    objective, batch = Triplet(mlp(4, 6), margin=0.7).double(), triplets()
    byhand = []
    for i in range(N):
        a, p, n = (
            (z := objective.net(v[i])) / z.norm() for v in (batch.x, batch.fields["positive"], batch.fields["negative"])
        )
        byhand.append(max(torch.tensor(0.0, dtype=DOUBLE), (a - p).norm() ** 2 - (a - n).norm() ** 2 + 0.7))
    loss = objective("model", batch)
    torch.testing.assert_close(loss.terms["triplet"].value, torch.stack(byhand))
    assert loss.terms["triplet"].kind == "example"
    assert objective.scores(batch, loss)["ordered"].tolist() == [float(v < 0.7) for v in byhand]


def test_its_gradient_is_exact_where_the_margin_is_not_met() -> None:
    objective = Triplet(nn.Identity(), margin=4.0)  # squared distances of unit vectors differ by less than 4

    def total(a: Tensor, p: Tensor, n: Tensor) -> Tensor:
        return objective("model", Batch(a, fields={"positive": p, "negative": n})).total()

    assert torch.autograd.gradcheck(total, tuple(numbers(N, 3, seed=i).requires_grad_() for i in (1, 2, 3)))


def test_rows_alike_end_nearer_than_rows_unlike() -> None:
    torch.manual_seed(0)
    side = torch.randint(2, (48,))
    draw = lambda s: torch.randn(48, 4) + 2 * torch.stack([s, 1 - s, s, 1 - s], 1)  # noqa: E731
    rows = Rows(draw(side), batch_size=16, fields={"positive": draw(side), "negative": draw(1 - side)})
    objective = Triplet(mlp(4, 8, 2))
    fit(Run(objective, [adam(1e-2)]), rows, Budget(steps=150))
    with torch.no_grad():
        values = mean_scores(objective, [rows.whole])
    assert values["ordered"] > 0.9 and values["loss"] < 0.1


def test_missing_rows_are_named() -> None:
    with pytest.raises(SondeError, match="needs the field `negative`"):
        Triplet(nn.Identity())("model", Batch(numbers(N, 3), fields={"positive": numbers(N, 3)}))


@pytest.mark.parametrize("margin", [0.0, 5.0, float("nan")])
def test_an_impossible_margin_is_refused(margin: float) -> None:
    with pytest.raises(SondeError, match="is outside"):
        Triplet(nn.Identity(), margin)
