"""MixUp: train on weighted means of two rows and of their answers.

Zhang et al., mixup: beyond empirical risk minimization, 2018, equation 2. Three differences: the weight is drawn per
row, not per batch, and the larger part is the row's own (Berthelot et al., MixMatch, 2019, equation 9), so that
`fields` stay those of the row that dominates. Since partners are drawn uniformly, the pairs are distributed as in the
paper. And cells of a table that have no mean are not mixed but chosen, each by a coin that falls for the row itself
with the row's own weight: as CutMix does with pixels (Yun et al., 2019), so that the answer holds in the mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sonde.core import Batch, Method, Run, SondeError, map_tree

from ._labels import draw, mixed, positive, probabilities

# N rows, C classes, K columns


def mixup(x: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """share[i] * x[i] + (1 - share[i]) * x[partner[i]]. x: (N, ...); partner: (N,) int64; share: (N,)."""
    return torch.lerp(x[partner], x, _per_row(share, x).to(x.dtype))


def mix_cells(x: Tensor, partner: Tensor, share: Tensor, own: Tensor) -> Tensor:
    """`mixup` where both cells are numbers; elsewhere (codes, a missing value) the row's own cell where `own` says so.

    x: (N, K); partner: (N,) int64; share: (N,); own: (N, K) bool. Returns (N, K).
    """
    chosen = torch.where(own, x, x[partner])
    if not x.is_floating_point():
        return chosen
    means = mixup(x, partner, share)
    return torch.where(means.isnan(), chosen, means)


class MixUp(Method):
    """Replaces each row by a weighted mean of itself and another row of the batch, and its answer likewise.

    x'_i = lambda x_i + (1 - lambda) x_j,  y'_i = lambda y_i + (1 - lambda) y_j,
    lambda = max(l, 1 - l), l ~ Beta(a, a).

    In a table, categories have no mean, nor have missing values: such a cell is the row's own with chance lambda, else
    the other's.

    classes: how many, C, to turn class numbers into probabilities; floating-point answers are mixed as they are.
    alpha: a > 0; 0.2 mixes most rows lightly, 1 evenly.
    Reads x: floating point (N, ...), or a table's {"numeric": (N, F), "categorical": (N, K)}; y: (N,) int64 or (N, C).
    Returns y: (N, C). Rows now mix records: `records` is cleared, so per-record methods refuse the batch.

    >>> mixup(torch.tensor([[0.0], [1.0]]), partner=torch.tensor([1, 0]), share=torch.tensor([0.75, 1.0])).tolist()
    [[0.25], [1.0]]
    """

    def __init__(self, classes: int, alpha: float = 0.2) -> None:
        self.classes, self.alpha = classes, positive(alpha)

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows, mixed in pairs."""
        x = batch.x
        if not _numeric(x):
            raise SondeError(
                "MixUp takes means of rows, but x is not one floating-point tensor, nor a table with a numeric part",
                "remove MixUp from the methods: whole numbers have no means; for tables of categories there is Corrupt",
            )
        y = probabilities(batch, self.classes, self)  # (N, C)
        partner = torch.randperm(len(batch), device=y.device)  # (N,)
        share = draw(y, self.alpha)  # (N,), lambda
        share = torch.maximum(share, 1 - share)
        if isinstance(x, Tensor):
            rows: Any = mixup(x, partner, share)
        else:
            rows = map_tree(lambda cells: mix_cells(cells, partner, share, _coins(cells, share)), x)
        return replace(batch, x=rows, y=mixed(y, partner, share), records=None)


def _numeric(x: Any) -> bool:
    """Whether x is a floating-point tensor, or holds one."""
    if isinstance(x, Mapping):
        return any(_numeric(v) for v in x.values())
    return isinstance(x, Tensor) and x.is_floating_point()


def _coins(cells: Tensor, share: Tensor) -> Tensor:
    """Which cells are the row's own: each with the row's chance. (N, K) bool."""
    return torch.rand(cells.shape, device=cells.device, dtype=share.dtype) < _per_row(share, cells)


def _per_row(share: Tensor, x: Tensor) -> Tensor:
    return share.view(-1, *[1] * (x.ndim - 1))
