"""Shift: move each picture by whole pixels."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from sonde.core import Batch, Method, Run

from ._images import fraction, images

# N rows, C channels, H height, W width, R reach (the largest shift, in pixels)


def shift(x: Tensor, offset: Tensor, reach: int) -> Tensor:
    """Move row i's content down by offset[i, 0] and right by offset[i, 1] pixels; edge pixels fill what is uncovered.

    x: (N, C, H, W); offset: (N, 2) int64 in [-reach, reach]. Returns (N, C, H, W), pixels copied, none interpolated.
    """
    _, _, height, width = x.shape
    padded = F.pad(x, [reach] * 4, mode="replicate")  # (N, C, H+2R, W+2R)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (N, C, 2R+1, 2R+1, H, W), a view
    top, left = (reach - offset).unbind(1)  # (N,)
    return windows[torch.arange(len(x), device=x.device), :, top, left]  # (N, C, H, W)


class Shift(Method):
    """Moves each picture by a random whole number of pixels, at most `most` of its side, up or down and left or right.

    Uncovered pixels repeat the edge, so that a white page stays white and a black one black.

    most: largest shift as a fraction of each side, in [0, 0.5], rounded down to whole pixels: a side of fewer than
        1 / most pixels, where one pixel would already cut strokes off, is left alone.
    Reads and returns x: (N, C, H, W). Rows stay independent: `records` is kept.

    >>> x = torch.tensor([[[[0.0, 0.2, 0.4]]]])
    >>> shift(x, torch.tensor([[0, 1]]), reach=1).tolist()[0][0][0]
    [0.0, 0.0, 0.20000000298023224]
    """

    def __init__(self, most: float = 0.1) -> None:
        self.most = fraction(most, "most", below=0.5)

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows, moved."""
        x = images(batch, self)
        down, right = (int(self.most * side + 1e-6) for side in x.shape[2:])  # 1e-6: 0.29 * 100 is 28.999...
        offset = torch.stack(
            [torch.randint(-reach, reach + 1, (len(x),), device=x.device) for reach in (down, right)], dim=1
        )  # (N, 2)
        return replace(batch, x=shift(x, offset, max(down, right)))
