"""Next tokens: the cross-entropy by hand, places that are not asked for, and rows by themselves."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from sonde.core import Batch, Budget, Run, fit
from sonde.data.rows import Rows
from sonde.methods import adamw
from sonde.nets import GPT
from sonde.objectives import PredictNext

V, T = 5, 4


class Fixed(nn.Module):
    """Answers given logits, whatever it reads."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits


def test_a_rows_loss_is_the_mean_of_its_tokens_cross_entropies() -> None:
    logits = torch.randn(2, T, V, dtype=torch.float64)
    y = torch.tensor([[0, 1, 2, 3], [4, 0, 0, 1]])
    term = PredictNext(Fixed(logits))("model", Batch(torch.zeros(2, T), y)).terms["task"]
    for n in range(2):
        expected = sum(
            -math.log(math.exp(logits[n, t, y[n, t]]) / sum(math.exp(v) for v in logits[n, t])) for t in range(T)
        )
        assert term.value[n].item() == pytest.approx(expected / T)
    assert term.kind == "example"


def test_places_that_are_not_asked_for_count_for_nothing() -> None:
    logits = torch.randn(2, T, V)
    y = torch.tensor([[0, 1, -1, -1], [-1, -1, -1, -1]])
    objective = PredictNext(Fixed(logits))
    batch = Batch(torch.zeros(2, T), y)
    loss = objective("model", batch)
    head = PredictNext(Fixed(logits[:1, :2]))("model", Batch(torch.zeros(1, 2), y[:1, :2])).terms["task"].value
    torch.testing.assert_close(loss.terms["task"].value[:1], head)
    assert loss.terms["task"].value[1] == 0
    loss.total().backward()
    assert not objective.net.logits.grad[0, 2:].any() and objective.net.logits.grad[0, :2].any()
    right = (logits.argmax(2) == y)[0, :2].float().mean()
    assert objective.scores(batch, loss)["accuracy"].tolist() == [right, 0]


def test_what_comes_next_is_predicted_from_the_last_place() -> None:
    logits = torch.randn(2, T, V)
    torch.testing.assert_close(PredictNext(Fixed(logits)).predict(torch.zeros(2, T)), logits[:, -1].softmax(1))


def test_one_class_a_row_is_refused() -> None:
    with pytest.raises(ValueError, match="y is"):
        PredictNext(Fixed(torch.randn(2, T, V)))("model", Batch(torch.zeros(2, T), torch.zeros(2)))
    with pytest.raises(ValueError, match="got None"):
        PredictNext(Fixed(torch.randn(2, T, V)))("model", Batch(torch.zeros(2, T)))


def test_sixteen_rows_are_learned_by_heart() -> None:
    torch.manual_seed(0)
    x = torch.randint(V, (16, T + 1))
    x[:, 0], x[:, 1] = torch.arange(16) % V, torch.arange(16) // V
    y = x[:, 1:].clone()
    y[:, 0] = -1  # the first two tokens name the row, and are not asked for
    objective = PredictNext(GPT(V, T, 16, 2, 2))
    fit(Run(objective, [adamw(lr=0.01)]), Rows(x[:, :-1], y, batch_size=16), Budget(steps=250))
    assert objective("model", Batch(x[:, :-1], y)).total().item() < 1e-2
