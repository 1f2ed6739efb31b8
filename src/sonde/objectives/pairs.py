"""Metric learning on pairs: rows that are alike come together, others part.

Entry: contrastive loss; embedding.
"""

# N rows, Z size of an embedding

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sonde.core import Batch, Loss, Objective, SondeError, Term
from sonde.losses import PairMargin


class Pairs(Objective):
    """The contrastive loss on pairs that the data gives (Hadsell, Chopra and LeCun, 2006, eq. 4): see `PairMargin`.

    net: rows (N, ...) -> embeddings (N, Z). x: one of each pair; the field `other`, of x's shape: its partner.
    y: (N,), 1 where they are alike, 0 where not. margin: a distance beyond which what is unlike is left alone.
    """

    def __init__(self, net: nn.Module, margin: float = 1.0) -> None:
        super().__init__()
        self.net, self.loss = net, PairMargin(margin)

    def forward(self, turn: str, batch: Batch) -> Loss:
        """See `Objective.forward`; `out` holds the distance within each pair."""
        if "other" not in batch.fields:
            raise SondeError("Pairs needs the field `other`, and the batch has none", "give the data a field `other`")
        a, b = self.net(batch.x), self.net(batch.fields["other"])  # (N, Z) each
        distance = torch.linalg.vector_norm(a - b, dim=1)  # (N,)
        return Loss({"pair": Term(self.loss(a, b, batch.y))}, {"distance": distance})

    def predict(self, x: Any) -> Tensor:
        """The embedding, (N, Z)."""
        z: Tensor = self.net(x)
        return z

    def scores(self, batch: Batch, loss: Loss) -> dict[str, Tensor]:
        """What validation averages over rows: how often half the margin tells alike from unlike."""
        return {"accuracy": ((loss.out["distance"] < self.loss.margin / 2) == (batch.y > 0.5)).float()}
