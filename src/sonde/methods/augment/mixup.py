"""MixUp: train on weighted means of two rows and of their answers.

Zhang et al., mixup: beyond empirical risk minimization, 2018, equation 2. Two differences: the weight is drawn per row,
not per batch, and the larger part is the row's own (Berthelot et al., MixMatch, 2019, equation 9), so that `fields`
stay those of the row that dominates. Since partners are drawn uniformly, the pairs are distributed as in the paper.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from sonde.core import Batch, Method, Run, SondeError

from ._labels import draw, mixed, positive, probabilities

# N rows, C classes


def mixup(x: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """share[i] * x[i] + (1 - share[i]) * x[partner[i]]. x: (N, ...); partner: (N,) int64; share: (N,)."""
    return torch.lerp(x[partner], x, share.to(x.dtype).view(-1, *[1] * (x.ndim - 1)))


class MixUp(Method):
    """Replaces each row by a weighted mean of itself and another row of the batch, and its answer likewise.

    x'_i = lambda x_i + (1 - lambda) x_j,  y'_i = lambda y_i + (1 - lambda) y_j,
    lambda = max(l, 1 - l), l ~ Beta(a, a).

    classes: how many, C, to turn class numbers into probabilities; floating-point answers are mixed as they are.
    alpha: a > 0; 0.2 mixes most rows lightly, 1 evenly.
    Reads x: floating point (N, ...); y: (N,) int64 or (N, C). Returns y: (N, C). Rows now mix records: `records` is
    cleared, so per-record methods refuse the batch.

    >>> mixup(torch.tensor([[0.0], [1.0]]), partner=torch.tensor([1, 0]), share=torch.tensor([0.75, 1.0])).tolist()
    [[0.25], [1.0]]
    """

    def __init__(self, classes: int, alpha: float = 0.2) -> None:
        self.classes, self.alpha = classes, positive(alpha)

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows, mixed in pairs."""
        x = batch.x
        if not (isinstance(x, Tensor) and x.is_floating_point()):
            raise SondeError(
                "MixUp takes means of rows, but x is not one floating-point tensor",
                "remove MixUp from the methods: categories and mixed columns have no means",
            )
        y = probabilities(batch, self.classes, self)  # (N, C)
        partner = torch.randperm(len(x), device=x.device)  # (N,)
        share = draw(x, self.alpha)  # (N,), lambda
        share = torch.maximum(share, 1 - share)
        return replace(batch, x=mixup(x, partner, share), y=mixed(y, partner, share), records=None)
