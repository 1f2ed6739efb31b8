"""Erase: blank a random square of each picture (cutout).

DeVries and Taylor, Improved regularization of convolutional neural networks with cutout, 2017, section 3.2: the
square's centre is uniform over the picture, so that part of the square may lie outside it. Here the square is filled
with the picture's own mean, which is about what zero is after the paper's normalisation.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from sonde.core import Batch, Method, Run

from ._images import fraction, images

# N rows, C channels, H height, W width


def erase(x: Tensor, top: Tensor, left: Tensor, side: int) -> Tensor:
    """Fill a square of row i, `side` pixels wide, its corner at (top[i], left[i]), with the row's mean colour.

    x: (N, C, H, W); top, left: (N,) int64, which may lie outside the picture. Returns (N, C, H, W).
    """
    inside = square(x, top, left, side)  # (N, 1, H, W)
    return torch.where(inside, x.mean((2, 3), keepdim=True), x)


def square(x: Tensor, top: Tensor, left: Tensor, side: int) -> Tensor:
    """Which pixels of row i lie in its square: (N, 1, H, W) bool."""
    row = torch.arange(x.shape[2], device=x.device)[:, None] - top[:, None, None]  # (N, H, 1)
    column = torch.arange(x.shape[3], device=x.device) - left[:, None, None]  # (N, 1, W)
    return ((row >= 0) & (row < side) & (column >= 0) & (column < side))[:, None]


class Erase(Method):
    """Blanks a random square of each picture, so that no single spot decides.

    side: of the square, as a fraction of the picture's shorter side, in [0, 1]; rounded to whole pixels, at least one.
    Reads and returns x: (N, C, H, W). Rows stay independent: `records` is kept.

    >>> x = torch.tensor([[[[0.0, 0.5, 1.0]]]])
    >>> erase(x, top=torch.tensor([0]), left=torch.tensor([2]), side=1).tolist()[0][0][0]
    [0.0, 0.5, 0.5]
    """

    def __init__(self, side: float = 0.25) -> None:
        self.side = fraction(side, "side")

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows, each with a blank square."""
        x = images(batch, self)
        height, width = x.shape[2:]
        side = max(1, round(self.side * min(height, width)))
        top, left = (torch.randint(0, n, (len(x),), device=x.device) - side // 2 for n in (height, width))  # (N,)
        return replace(batch, x=erase(x, top, left, side))
