"""Metric learning on triplets: an anchor is nearer to a row like it than to one unlike it.

Entry: contrastive loss; embedding.
"""

# N rows, Z size of an embedding

from __future__ import annotations

from typing import Any

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sonde.core import Batch, Loss, Objective, SondeError, Term
from sonde.losses import TripletMargin


class Triplet(Objective):
    """The triplet loss (Schroff et al., 2015, eq. 3), on triplets that the data gives.

        triplet_i = max(0, |f(a_i) - f(p_i)|^2 - |f(a_i) - f(n_i)|^2 + margin),    |f| = 1

    net: rows (N, ...) -> embeddings (N, Z), scaled here to length 1. x: the anchors a; the fields `positive` and
    `negative`, of x's shape: rows like and unlike them. margin: alpha in the paper, squared distance, in (0, 4].

    A triplet is one row and depends on no other, so the term is `example`, where `Contrast` takes its negatives from
    the batch.
    """

    def __init__(self, net: nn.Module, margin: float = 0.2) -> None:
        super().__init__()
        if not 0 < margin <= 4:
            raise SondeError(f"margin={margin} is outside (0, 4]", "choose margin within; the paper has 0.2")
        self.net, self.margin = net, margin

    def forward(self, turn: str, batch: Batch) -> Loss:
        """See `Objective.forward`; `out` holds by how much nearer (squared) the positive is."""
        if missing := [name for name in ("positive", "negative") if name not in batch.fields]:
            raise SondeError(
                f"Triplet needs the field `{missing[0]}`, and the batch has none",
                "give the data the fields `positive` and `negative`",
            )
        a, p, n = (self.predict(v) for v in (batch.x, batch.fields["positive"], batch.fields["negative"]))  # (N, Z)
        nearer = TripletMargin.nearer(a, p, n)  # (N,)
        return Loss({"triplet": Term((self.margin - nearer).clamp_min(0))}, {"nearer": nearer})

    def predict(self, x: Any) -> Tensor:
        """The embedding, (N, Z), of length 1."""
        return F.normalize(self.net(x), dim=1)

    def scores(self, batch: Batch, loss: Loss) -> dict[str, Tensor]:
        """What validation averages over rows: how often the positive is nearer."""
        return {"ordered": (loss.out["nearer"] > 0).float()}
