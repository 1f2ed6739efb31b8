"""Corrupt: give some cells of a row the values that other rows have in the same columns.

Bahri et al., SCARF: self-supervised contrastive learning using random feature corruption, 2022, section 3, and Yoon et
al., VIME: extending the success of self- and semi-supervised learning to tabular domain, 2020, section 4.1 (there the
default rate, 0.3, is p_m). The columns' marginal distributions are those of the batch, as in VIME's code; each cell is
corrupted by a coin of its own, as in VIME, where SCARF corrupts an exact number of columns.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sonde.core import Batch, Method, Run, SondeError, map_tree
from sonde.core.batch import first_tensor

from ._images import fraction

# N rows, F columns


def corrupt(x: Tensor, chosen: Tensor, partner: Tensor) -> Tensor:
    """Cell (i, f) where chosen takes the value of row partner[i, f] in the same column.

    x: (N, ...); chosen: (N, ...) bool; partner: (N, ...) int64. Returns (N, ...).
    """
    return torch.where(chosen, x.gather(0, partner), x)


class Corrupt(Method):
    """Gives random cells of each row of a table the value that another row of the batch has in that column.

    Numbers, categories and missing values are treated alike: whatever stands in the other row's cell is taken. The
    answer stays the row's own.

    rate: chance that a cell is corrupted, in [0, 1]. SCARF uses 0.6 to make views, VIME 0.3.
    Reads and returns x: a table's {"numeric": (N, F), "categorical": (N, K)}, or any tensor (N, ...), each number of
    which is a column. Cells now come from other records: `records` is cleared, so per-record methods refuse the batch.

    >>> x = torch.tensor([[1, 10], [2, 20]])
    >>> corrupt(x, torch.tensor([[True, False], [False, True]]), torch.tensor([[1, 0], [0, 0]])).tolist()
    [[2, 10], [2, 10]]
    """

    def __init__(self, rate: float = 0.3) -> None:
        self.rate = fraction(rate, "rate")

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows, some of their cells from elsewhere."""
        if first_tensor(batch.x) is None:
            raise SondeError(
                f"Corrupt changes the columns of a table, but x is a {type(batch.x).__name__}",
                "remove Corrupt from the methods, or give it a tensor or a dict of tensors",
            )
        return replace(batch, x=self._tree(batch.x), records=None)

    def _tree(self, x: Any) -> Any:
        def one(cells: Tensor) -> Tensor:
            chosen = torch.rand(cells.shape, device=cells.device) < self.rate
            return corrupt(cells, chosen, torch.randint(0, max(1, len(cells)), cells.shape, device=cells.device))

        return map_tree(one, x)
