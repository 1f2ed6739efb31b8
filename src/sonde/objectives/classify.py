"""Classification: one of C classes for each row.

Entry: cross-entropy.
"""

# N rows, M members, C classes

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sonde.core import Batch, Loss, Objective
from sonde.losses import CrossEntropy, LossFunction, as_term

CROSS_ENTROPY = CrossEntropy()


class Classify(Objective):
    """The cross-entropy of a classifier, or another loss.

        task_i = -sum_c y_ic log softmax(net(x_i))_c

    net: x (N, ...) -> logits (N, C), or (N, M, C) for an ensemble of M members, each of which is trained on its own
        loss (the term is their mean) and whose prediction is the mean of their probabilities.
    y: (N,) int64 classes, or (N, C) probabilities. The field `weight` (N,), if there, weights the rows.
    loss: of logits (N, C) and y: one of `sonde.losses` (Focal, Hinge, a weighted cross-entropy) or any function that
        returns a value a row, (N,), or a scalar and is marked `sonde.losses.jointly`.
    """

    def __init__(self, net: nn.Module, loss: LossFunction = CROSS_ENTROPY) -> None:
        super().__init__()
        self.net, self.loss = net, loss

    def forward(self, turn: str, batch: Batch) -> Loss:
        """See `Objective.forward`; `out` holds the logits."""
        logits = self.net(batch.x)
        weight = batch.fields.get("weight", 1.0)
        return Loss({"task": as_term(self.loss, logits, batch.y, weight, members=logits.dim() > 2)}, {"logits": logits})

    def predict(self, x: Any) -> Tensor:
        """Class probabilities, (N, C)."""
        return probabilities(self.net(x))

    def scores(self, batch: Batch, loss: Loss) -> dict[str, Tensor]:
        """What validation averages over rows: accuracy, and the negative log-likelihood of the prediction."""
        p = probabilities(loss.out["logits"])
        y = batch.y if batch.y.dim() == 1 else batch.y.argmax(1)
        true = p.gather(1, y[:, None]).squeeze(1)
        return {"accuracy": (p.argmax(1) == y).float(), "nll": -true.clamp_min(torch.finfo(p.dtype).tiny).log()}


def probabilities(logits: Tensor) -> Tensor:
    """(N, C) from (N, C) or (N, M, C) logits: softmax, averaged over members. Always in float32 or wider."""
    p = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(-1)
    return p if p.dim() == 2 else p.mean(1)
