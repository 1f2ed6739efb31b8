"""Multi-label classification: any number of L labels for each row."""

# N rows, M members, L labels

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sonde.core import Batch, Loss, Objective
from sonde.losses import BinaryCrossEntropy, LossFunction, as_term

CROSS_ENTROPY = BinaryCrossEntropy()


class Multilabel(Objective):
    """The mean binary cross-entropy over labels, or another loss.

        task_i = -1/L sum_l [ y_il log s_il + (1 - y_il) log(1 - s_il) ],    s = sigmoid(net(x))

    net: x (N, ...) -> logits (N, L), or (N, M, L) for M members. y: (N, L) in [0, 1].
    loss: of logits (N, L) and y: one of `sonde.losses` (Dice, Tversky, BinaryFocal) or a function of your own; see
        `Classify`.
    """

    def __init__(self, net: nn.Module, loss: LossFunction = CROSS_ENTROPY) -> None:
        super().__init__()
        self.net, self.loss = net, loss

    def forward(self, turn: str, batch: Batch) -> Loss:
        """See `Objective.forward`; `out` holds the logits, under a name of its own since they are not exclusive."""
        logits = self.net(batch.x)
        task = as_term(self.loss, logits, batch.y, batch.fields.get("weight", 1.0), members=logits.dim() > 2)
        return Loss({"task": task}, {"label_logits": logits})

    def predict(self, x: Any) -> Tensor:
        """The probability of each label, (N, L)."""
        return _probabilities(self.net(x))

    def scores(self, batch: Batch, loss: Loss) -> dict[str, Tensor]:
        """What validation averages over rows: the share of labels that are right, and of rows with all right."""
        right = ((_probabilities(loss.out["label_logits"]) > 0.5) == (batch.y > 0.5)).float()  # (N, L)
        return {"accuracy": right.mean(1), "exact": right.prod(1)}


def _probabilities(logits: Tensor) -> Tensor:
    p = logits.to(torch.promote_types(logits.dtype, torch.float32)).sigmoid()
    return p if p.dim() == 2 else p.mean(1)
