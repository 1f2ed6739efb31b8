"""Losses of embeddings: what is alike is near, what is not is far.

Unlike the others they read embeddings in place of (output, y): two of each row, three, or two whose partners are to be
found in the batch. `sonde.objectives` has what trains with them; `Contrast` is InfoNCE over two views of every row, in
SimCLR's form.

Entry: contrastive loss; embedding.
"""

# N rows, Z size of an embedding

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from sonde.core import SondeError

from ._numbers import row_sum, wide


@dataclass(frozen=True, slots=True)
class PairMargin:
    """Draw pairs that are alike together, and push others apart to a margin (Hadsell, Chopra and LeCun, 2006, eq. 4).

        alike D^2 / 2 + (1 - alike) max(0, margin - D)^2 / 2,   D = |a - b|

    alike is 1 - Y in the paper. margin: m, a distance.

    >>> PairMargin(1.0)(torch.zeros(2, 1), torch.tensor([[0.5], [0.5]]), torch.tensor([1.0, 0.0]))
    tensor([0.1250, 0.1250])
    """

    margin: float = 1.0

    def __post_init__(self) -> None:
        _check_margin(self.margin, "PairMargin")

    def __call__(self, a: Tensor, b: Tensor, alike: Tensor) -> Tensor:
        """Embeddings (N, Z) twice, and which pairs are alike (N,), in [0, 1], to (N,)."""
        gap = wide(a) - wide(b)  # (N, Z)
        squared = row_sum(gap.pow(2))  # (N,)
        short = (self.margin - torch.linalg.vector_norm(gap, dim=1)).clamp_min(0)  # at 0 the norm's slope is 0
        return 0.5 * (alike * squared + (1 - alike) * short.pow(2))


@dataclass(frozen=True, slots=True)
class TripletMargin:
    """The anchor should be nearer to the row like it than to the other by a margin (Schroff et al., 2015, eq. 3).

        max(0, |a - p|^2 - |a - n|^2 + margin)

    margin: alpha, a squared distance.
    """

    margin: float = 0.2

    def __post_init__(self) -> None:
        _check_margin(self.margin, "TripletMargin")

    def __call__(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Embeddings (N, Z) three times to (N,)."""
        return (self.margin - self.nearer(anchor, positive, negative)).clamp_min(0)

    @staticmethod
    def nearer(anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """By how much nearer, in squared distance, the positive is than the negative, (N,)."""
        a, p, n = wide(anchor), wide(positive), wide(negative)
        return row_sum((a - n).pow(2)) - row_sum((a - p).pow(2))


@dataclass(frozen=True, slots=True)
class InfoNCE:
    """Find the partner of each row among the partners of all rows (van den Oord, Li and Vinyals, 2018, eq. 4).

        mean_i -log( exp(s_ii / t) / sum_j exp(s_ij / t) ),   s_ij = cos(a_i, b_j)

    temperature: t. The negatives are the rows of the batch: a `batch` term, never below log N - I in the
    mean, I being the mutual information of a and b (eq. 5).
    """

    temperature: float = 0.1
    kind: ClassVar[str] = "batch"

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise SondeError(f"InfoNCE(temperature={self.temperature}) is not positive", "choose e.g. 0.1")

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Embeddings (N, Z) twice to a scalar."""
        similarity = F.normalize(wide(a), dim=1) @ F.normalize(wide(b), dim=1).T  # (N, N)
        own = torch.arange(len(a), device=a.device)
        return F.cross_entropy(similarity / self.temperature, own)


def _check_margin(margin: float, loss: str) -> None:
    if not 0 < margin < math.inf:
        raise SondeError(f"{loss}(margin={margin}) is not above 0", "choose a margin above 0")
