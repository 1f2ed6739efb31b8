"""Language modelling: at every place of a sequence, the next token.

Bengio, Ducharme, Vincent and Jauvin, A neural probabilistic language model, 2003, sec. 2; Radford et al., Language
models are unsupervised multitask learners, 2019, eq. 1.

Entry: language model; cross-entropy.
"""

# N rows, T tokens, V vocabulary

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from sonde.core import Batch, Loss, Objective, Term

NONE = -1  # in y: no token is asked for here


class PredictNext(Objective):
    """The mean cross-entropy of a sequence's tokens, each given those before it.

        task_i = -1/T sum_t log softmax(net(x_i)_t)_(y_it),   y_it = x_i(t+1)

    net: x (N, T) int64 -> logits (N, T, V), which at t read nothing after t.
    y: (N, T) int64, what comes next; -1 where nothing is asked for (padding, a prompt), so that T counts the others.
    The field `weight` (N,), if there, weights the rows. A row is a sequence: privacy bounds are of whole sequences.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, turn: str, batch: Batch) -> Loss:
        """See `Objective.forward`; `out` holds the logits of all places."""
        logits = self.net(batch.x)  # (N, T, V)
        if batch.y is None or batch.y.shape != logits.shape[:2]:
            given = None if batch.y is None else tuple(batch.y.shape)
            raise ValueError(f"y is (N, T), the next token at each place; got {given}, logits {tuple(logits.shape)}")
        value = self.by_row(logits, batch.y)
        return Loss({"task": Term(value, "example", batch.fields.get("weight", 1.0))}, {"token_logits": logits})

    @staticmethod
    def by_row(logits: Tensor, y: Tensor) -> Tensor:
        """The mean cross-entropy of each row's tokens, (N,), in nats; 0 for a row of none."""
        z = logits.to(torch.promote_types(logits.dtype, torch.float32))
        each = F.cross_entropy(z.flatten(0, 1), y.flatten(), reduction="none", ignore_index=NONE).view_as(y)  # (N, T)
        return each.sum(1) / (y != NONE).sum(1).clamp_min(1)

    def predict(self, x: Any) -> Tensor:
        """The probabilities of the token after the last one of each row, (N, V)."""
        logits = self.net(x)[:, -1]
        return logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(-1)  # type: ignore[no-any-return]

    def scores(self, batch: Batch, loss: Loss) -> dict[str, Tensor]:
        """What validation averages over rows: the share of a row's tokens that were the likeliest."""
        asked = batch.y != NONE
        right = (loss.out["token_logits"].argmax(2) == batch.y) & asked
        return {"accuracy": right.sum(1) / asked.sum(1).clamp_min(1)}
