"""CutMix: paste a window of another picture into each, and share the answer by area.

Yun et al., CutMix: regularization strategy to train strong classifiers with localizable features, 2019, section 3.1,
with a window drawn per row, not per batch.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from sonde.core import Batch, Method, Run

from ._images import images, uniform
from ._labels import draw, mixed, positive, probabilities

# N rows, C channels (of x) or classes (of y), H height, W width


def cutmix(x: Tensor, partner: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    """Paste row partner[i]'s pixels in `window` into row i.

    x: (N, C, H, W); partner: (N,) int64; window: (N, 4) int64, (top, bottom, left, right), ends excluded.
    Returns the pictures (N, C, H, W) and the share of each that is its own (N,), in [0, 1].
    """
    top, bottom, left, right = window[:, :, None].unbind(1)  # (N, 1) each
    row, column = (torch.arange(n, device=x.device) for n in x.shape[2:])
    inside_rows = (row >= top) & (row < bottom)  # (N, H)
    inside_columns = (column >= left) & (column < right)  # (N, W)
    inside = inside_rows[:, :, None] & inside_columns[:, None, :]  # (N, H, W)
    share = 1 - inside.to(torch.float32).mean((1, 2))  # (N,)
    return torch.where(inside[:, None], x[partner], x), share


class CutMix(Method):
    """Pastes a random window of another picture of the batch into each, and shares the answer by area.

    The window covers 1 - lambda of the picture before it is cut off at the border, lambda ~ Beta(a, a), its
    proportions are the picture's, its centre is uniform: sides sqrt(1 - lambda) of the picture's. Answers are shared by
    the area really covered. `fields` stay those of the picture that was pasted into.

    classes: how many, C, to turn class numbers into probabilities.
    alpha: a > 0; 1, the paper's choice, makes every area equally likely.
    Reads x: (N, C, H, W); y: (N,) int64 or (N, C). Returns y: (N, C). Rows now mix records: `records` is cleared, so
    per-record methods refuse the batch.

    >>> x, share = cutmix(torch.tensor([[[[0.0, 0.0]]], [[[1.0, 1.0]]]]), torch.tensor([1, 0]),
    ...                   window=torch.tensor([[0, 1, 1, 2], [0, 0, 0, 0]]))
    >>> x.flatten(1).tolist(), share.tolist()
    ([[0.0, 1.0], [1.0, 1.0]], [0.5, 1.0])
    """

    def __init__(self, classes: int, alpha: float = 1.0) -> None:
        self.classes, self.alpha = classes, positive(alpha)

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows, each with a window of another."""
        x = images(batch, self)
        y = probabilities(batch, self.classes, self)  # (N, C)
        partner = torch.randperm(len(x), device=x.device)  # (N,)
        cut = (1 - draw(x, self.alpha)).sqrt()  # (N,), the window's side as a fraction of the picture's
        ends = []
        for n in x.shape[2:]:
            side, centre = (cut * n).round(), uniform(x, 0, n).floor()  # (N,) pixels
            start = centre - (side / 2).floor()
            ends += [start.clamp(0, n), (start + side).clamp(0, n)]
        x, share = cutmix(x, partner, torch.stack(ends, dim=1).long())
        return replace(batch, x=x, y=mixed(y, partner, share), records=None)
