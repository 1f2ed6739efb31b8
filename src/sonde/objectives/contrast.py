"""Contrastive learning: two views of a row are alike, views of different rows are not.

Entry: SimCLR; contrastive loss.
"""

# N rows, H size of a representation, Z size of an embedding

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sonde.core import Batch, Loss, Objective, SondeError, Term


class Contrast(Objective):
    """The normalised, temperature-scaled cross-entropy of SimCLR (Chen et al., 2020, eq. 1; InfoNCE on two views).

        l(i, j) = -log( exp(s_ij / t) / sum_{k != i} exp(s_ik / t) ),    s_ij = cos(z_i, z_j)

    averaged over the 2 N views i of a batch, j being the other view of i's row and k running over all views.

    net: rows (N, ...) -> representations h (N, H), which are what is used afterwards: `predict` gives them.
    head: h -> embeddings z (N, Z), thrown away afterwards (sec. 4.2); nn.Identity() for none.
    augment: makes a random view of rows, called twice a batch. Without it x is one view and the field `view`,
        of x's shape, the other.

    The negatives of a row are the other rows of its batch, so the term is a `batch` term: per-record methods and
    microbatches refuse it, and its value depends on the batch's size.
    """

    def __init__(
        self,
        net: nn.Module,
        head: nn.Module,
        temperature: float = 0.5,  # t; sec. 5.1 finds 0.1 to 0.5 good, the more so the shorter the training
        augment: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise SondeError(f"temperature={temperature} is not positive", "choose temperature above 0, e.g. 0.5")
        self.net, self.head, self.temperature, self.augment = net, head, temperature, augment

    def forward(self, turn: str, batch: Batch) -> Loss:
        """See `Objective.forward`; `out` holds each row's own share of the loss and the similarities of views."""
        first, second = self._views(batch)
        z = F.normalize(torch.cat([self.head(self.net(first)), self.head(self.net(second))]), dim=1)  # (2N, Z)
        similarity = (z @ z.T).fill_diagonal_(-torch.inf)  # (2N, 2N); k != i
        other = torch.arange(len(z), device=z.device).roll(len(z) // 2)  # (2N,), the other view of i's row
        views = F.cross_entropy(similarity / self.temperature, other, reduction="none")  # (2N,)
        rows = views.unflatten(0, (2, -1)).mean(0)  # (N,)
        return Loss({"contrast": Term(rows.mean(), "batch")}, {"row_loss": rows, "similarity": similarity})

    def _views(self, batch: Batch) -> tuple[Any, Any]:
        if self.augment is not None:
            return self.augment(batch.x), self.augment(batch.x)
        if "view" not in batch.fields:
            raise SondeError(
                "Contrast needs two views of every row, and the batch has one",
                "give the objective augment=..., or the data a field `view`",
            )
        return batch.x, batch.fields["view"]

    def predict(self, x: Any) -> Tensor:
        """The representation, (N, H)."""
        h: Tensor = self.net(x)
        return h

    def scores(self, batch: Batch, loss: Loss) -> dict[str, Tensor]:
        """What validation averages over rows: the loss, and how often a row's other view is the nearest of all."""
        similarity = loss.out["similarity"]
        other = torch.arange(len(similarity), device=similarity.device).roll(len(similarity) // 2)
        found = (similarity.argmax(1) == other).float().unflatten(0, (2, -1)).mean(0)  # (N,)
        return {"loss": loss.out["row_loss"], "matched": found}
