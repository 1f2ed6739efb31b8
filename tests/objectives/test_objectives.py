"""Objectives: closed forms, exact gradients, and nets that can learn sixteen rows by heart."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonde.core import Batch, Budget, Objective, Run, fit
from sonde.data.rows import Rows
from sonde.methods import adam
from sonde.methods.observe.validate import mean_scores, row_scores
from sonde.objectives import Classify, Multilabel, Regress
from tests.support import blobs, mlp, weights

N, M, C = 6, 4, 3
Draw = Callable[..., Tensor]
DOUBLE = torch.float64


class Answer(nn.Module):
    """Answers the same, whatever is asked: the numbers under test."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = nn.Parameter(output)

    def forward(self, x: Tensor) -> Tensor:
        return self.output


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))


def asked(objective: Objective, y: Tensor, **fields: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The values of the task term, its total, and the scores."""
    batch = Batch(torch.zeros(len(y), 1), y, fields=fields)
    loss = objective.eval()("model", batch)
    return loss.terms["task"].value.detach(), loss.total().detach(), row_scores(objective, "model", batch)


# ---------------------------------------------------------------- classification
Y = torch.tensor([0, 1, 2, 2, 1, 0])
SOFT = F.softmax(numbers(N, C), dim=1)


def test_cross_entropy_is_minus_the_log_probability_of_the_class() -> None:
    logits = numbers(N, C)
    value, total, scores = asked(Classify(Answer(logits)), Y)
    p = logits.exp() / logits.exp().sum(1, keepdim=True)
    byhand = torch.stack([-p[i, Y[i]].log() for i in range(N)])
    torch.testing.assert_close(value, byhand)
    torch.testing.assert_close(total, byhand.mean())
    torch.testing.assert_close(scores["nll"], byhand)
    assert scores["accuracy"].tolist() == [float(p[i].argmax() == Y[i]) for i in range(N)]


def test_soft_labels_weigh_the_classes() -> None:
    logits = numbers(N, C)
    value, _, scores = asked(Classify(Answer(logits)), SOFT)
    torch.testing.assert_close(value, -(SOFT * logits.log_softmax(1)).sum(1))
    hard, _, right = asked(Classify(Answer(logits)), F.one_hot(Y, C).double())
    torch.testing.assert_close(hard, asked(Classify(Answer(logits)), Y)[0])
    torch.testing.assert_close(right["accuracy"], asked(Classify(Answer(logits)), Y)[2]["accuracy"])


@pytest.mark.parametrize("y", [Y, SOFT], ids=["classes", "probabilities"])
def test_each_member_is_trained_on_its_own_loss_and_the_mean_probability_is_the_prediction(y: Tensor) -> None:
    logits = numbers(N, M, C)
    objective = Classify(Answer(logits))
    value, _, scores = asked(objective, y)
    alone = torch.stack([asked(Classify(Answer(logits[:, m])), y)[0] for m in range(M)], 1)  # (N, M)
    torch.testing.assert_close(value, alone.mean(1))
    mean = logits.softmax(-1).mean(1)
    torch.testing.assert_close(objective.predict(None), mean)
    hard = y if y.dim() == 1 else y.argmax(1)
    torch.testing.assert_close(scores["nll"], -mean[torch.arange(N), hard].log())


# ---------------------------------------------------------------- several labels
LABELS = (numbers(N, C) > 0).double()


def test_binary_cross_entropy_is_averaged_over_labels() -> None:
    logits = numbers(N, C) * 2
    value, total, scores = asked(Multilabel(Answer(logits)), LABELS)
    s = 1 / (1 + (-logits).exp())
    byhand = -(LABELS * s.log() + (1 - LABELS) * (1 - s).log()).mean(1)
    torch.testing.assert_close(value, byhand)
    torch.testing.assert_close(total, byhand.mean())
    right = (s > 0.5) == (LABELS > 0.5)
    torch.testing.assert_close(scores["accuracy"].double(), right.double().mean(1))
    torch.testing.assert_close(scores["exact"].double(), right.all(1).double())


def test_members_of_several_labels_are_trained_alone_and_answer_together() -> None:
    logits = numbers(N, M, C)
    objective = Multilabel(Answer(logits))
    alone = torch.stack([asked(Multilabel(Answer(logits[:, m])), LABELS)[0] for m in range(M)], 1)
    torch.testing.assert_close(asked(objective, LABELS)[0], alone.mean(1))
    torch.testing.assert_close(objective.predict(None), logits.sigmoid().mean(1))


# ---------------------------------------------------------------- regression
def regress(output: Tensor, y: Tensor) -> Regress:
    objective = Regress(Answer(output), targets=y.shape[1]).double()
    objective.fit_target(y)
    return objective


def test_squared_error_is_taken_on_standardised_targets() -> None:
    y = 50 + 10 * numbers(N, 2)
    output = numbers(N, 2).flip(0)
    objective = regress(output, y)
    mean, std = y.mean(0), y.std(0, correction=0)
    value, total, scores = asked(objective, y)
    byhand = ((output - (y - mean) / std) ** 2).mean(1)
    torch.testing.assert_close(value, byhand)
    torch.testing.assert_close(total, byhand.mean())
    predicted = output * std + mean
    torch.testing.assert_close(objective.predict(None), predicted)
    torch.testing.assert_close(scores["mse"], ((predicted - y) ** 2).mean(1))
    torch.testing.assert_close(scores["mae"], (predicted - y).abs().mean(1))


def test_a_constant_target_is_predicted_and_not_divided_by_zero() -> None:
    y = torch.full((N, 1), 7.0, dtype=DOUBLE)
    objective = regress(torch.zeros(N, 1, dtype=DOUBLE), y)
    assert asked(objective, y)[1].item() == 0 and objective.predict(None).eq(7).all()


def test_the_mean_of_members_is_the_predicted_value() -> None:
    y, output = numbers(N, 2), numbers(N, M, 2)
    objective = regress(output, y)
    alone = torch.stack([asked(regress(output[:, m], y), y)[0] for m in range(M)], 1)
    torch.testing.assert_close(asked(objective, y)[0], alone.mean(1))
    torch.testing.assert_close(objective.predict(None), regress(output.mean(1), y).predict(None))


@pytest.mark.parametrize("y, output", [((N,), (N, 1)), ((N, 1), (N, 2)), ((N, 2), (N, M, 1)), ((N, 1, 1), (N, 1))])
def test_targets_that_would_broadcast_rows_against_rows_are_refused(y: tuple[int], output: tuple[int]) -> None:
    with pytest.raises(ValueError, match=r"y is \(N, T\) and the net answers"):
        Regress(Answer(numbers(*output))).double()("model", Batch(torch.zeros(N, 1), numbers(*y)))


# ---------------------------------------------------------------- laws
ALL: list[tuple[str, Callable[[nn.Module], Objective], Tensor]] = [
    ("classify", Classify, Y),
    ("soft", Classify, SOFT),
    ("multilabel", Multilabel, LABELS),
    ("regress", partial(Regress, targets=C), numbers(N, C)),
]
EACH = pytest.mark.parametrize("make, y", [pytest.param(m, y, id=name) for name, m, y in ALL])


@EACH
@pytest.mark.parametrize("shape", [(N, C), (N, M, C)], ids=["one", "members"])
def test_gradients_are_exact(make: Callable[[nn.Module], Objective], y: Tensor, shape: tuple[int, ...]) -> None:
    objective = make(Answer(numbers(*shape))).double()
    weight = torch.rand(N, dtype=DOUBLE)

    def total(output: Tensor) -> Tensor:
        batch = Batch(torch.zeros(N, 1), y, fields={"weight": weight})
        return torch.func.functional_call(objective, {"net.output": output}, ("model", batch)).total()

    assert torch.autograd.gradcheck(total, numbers(*shape).requires_grad_())


@EACH
def test_a_row_is_worth_its_weight(make: Callable[[nn.Module], Objective], y: Tensor) -> None:
    objective = make(Answer(numbers(N, C))).double()
    weight = torch.tensor([1.0, 0, 2, 0, 0.5, 3], dtype=DOUBLE)
    value, total, _ = asked(objective, y, weight=weight)
    torch.testing.assert_close(total, (weight * value).sum() / N)


@EACH
def test_a_row_depends_on_itself_alone(make: Callable[[nn.Module], Objective], y: Tensor) -> None:
    objective = make(mlp(4, 8, C)).double()
    x = numbers(N, 4)
    other = x.clone()
    other[0] += 1
    a, b = (objective("model", Batch(v, y)).terms["task"].value for v in (x, other))
    assert torch.equal(a[1:], b[1:]) and a[0] != b[0]


@EACH
def test_every_parameter_is_reached(make: Callable[[nn.Module], Objective], y: Tensor) -> None:
    objective = make(mlp(4, 8, C)).double()
    objective("model", Batch(numbers(N, 4), y)).total().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in objective.parameters())


@EACH
def test_scores_are_means_over_rows_however_the_rows_are_split(make: Callable, y: Tensor) -> None:  # type: ignore[type-arg]
    objective, x = make(mlp(4, 8, C)).double(), numbers(N, 4)
    with torch.no_grad():
        whole = mean_scores(objective, [Batch(x, y)])
        parts = mean_scores(objective, [Batch(x[i], y[i]) for i in torch.arange(N).split([1, 3, 2])])
    assert whole == pytest.approx(parts) and "loss" in whole and all(map(math.isfinite, whole.values()))


@pytest.mark.parametrize("members", [0, 3])
@pytest.mark.parametrize("kind", ["classify", "multilabel", "regress"])
def test_sixteen_rows_are_learned_by_heart(kind: str, members: int) -> None:
    x, y = blobs(16, seed=2)
    targets = {"classify": y, "multilabel": F.one_hot(y, 3).float(), "regress": 40 + 10 * torch.randn(16, 3)}[kind]
    net = mlp(4, 64, 3 * max(1, members))
    if members:
        net.append(nn.Unflatten(1, (members, 3)))
    make = {"classify": Classify, "multilabel": Multilabel, "regress": partial(Regress, targets=3)}[kind]
    objective = make(net)
    if isinstance(objective, Regress):
        objective.fit_target(targets)
    run = fit(Run(objective, [adam(1e-2)]), Rows(x, targets, batch_size=16), Budget(steps=800))
    assert run.losses["model"].total().item() < 1e-2


def test_parameters_are_the_nets_and_nothing_else() -> None:
    net = mlp(4, 8, 3)
    assert torch.equal(weights(Classify(net)), weights(net))
    assert [k for k, _ in Regress(net).named_buffers()] == ["mean", "std"]
