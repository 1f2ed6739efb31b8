"""Histograms of oriented gradients: what edges there are in each cell of a picture, compared with its neighbours.

Dalal and Triggs, Histograms of oriented gradients for human detection, 2005, with the paper's choices: centred
differences without smoothing, the channel with the greatest gradient, unsigned orientations, blocks of cells that
overlap, lengths clipped at 0.2 (L2-Hys). Differences: a pixel votes for its own cell alone and not for neighbouring
cells, blocks have no Gaussian window, and cells are small, as digits and thumbnails need them.

Entry: hand-made features.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from sonde.core import SondeError

# N rows, C channels, H height, W width, B orientations, h x w cells

CLIP, TINY = 0.2, 1e-5  # of L2-Hys, for pixels in [0, 1]; TINY keeps blocks without edges at zero


class OrientedGradients(nn.Module):
    """Describes every block of cells by the directions of its edges; there is nothing to learn.

    cell: pixels a side. block: cells a side; blocks overlap by all cells but one. orientations: B, of half a turn.
    Reads x: (N, C, H, W), floating point in [0, 1]. Returns (N, D) with D = (H / cell - block + 1)
    (W / cell - block + 1) block^2 B; pixels beyond the last whole cell are left out.

    >>> OrientedGradients()(torch.rand(5, 1, 28, 28)).shape
    torch.Size([5, 1296])
    """

    def __init__(self, cell: int = 4, block: int = 2, orientations: int = 9) -> None:
        super().__init__()
        if cell < 1 or block < 1 or orientations < 1:
            raise SondeError(
                f"OrientedGradients(cell={cell}, block={block}, orientations={orientations}) counts nothing",
                "give 1 or more of each",
            )
        self.cell, self.block, self.orientations = cell, block, orientations

    def forward(self, x: Tensor) -> Tensor:
        """The histograms (N, D)."""
        if min(x.shape[2:]) < self.cell * self.block:
            size = f"{x.shape[2]} x {x.shape[3]}"
            raise SondeError(
                f"a block of {self.block} cells of {self.cell} pixels does not fit into {size}", "give smaller cells"
            )
        padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
        right = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]  # (N, C, H, W)
        down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
        lengths, channel = torch.hypot(right, down).max(1, keepdim=True)  # (N, 1, H, W)
        angle = torch.atan2(down.gather(1, channel), right.gather(1, channel))
        turns = angle / math.pi * self.orientations - 0.5  # in bins; bin b has its middle at b
        low = turns.floor()
        share = turns - low
        votes = x.new_zeros(len(x), self.orientations, *x.shape[2:])  # (N, B, H, W)
        votes.scatter_(1, low.long() % self.orientations, lengths * (1 - share))
        votes.scatter_add_(1, (low.long() + 1) % self.orientations, lengths * share)
        cells = F.avg_pool2d(votes, self.cell) * self.cell**2  # (N, B, h, w)
        blocks = cells.unfold(2, self.block, 1).unfold(3, self.block, 1)  # (N, B, h', w', block, block)
        blocks = blocks.permute(0, 2, 3, 4, 5, 1).flatten(3)  # (N, h', w', block^2 B)
        clipped = (blocks / (blocks.square().sum(-1, keepdim=True) + TINY).sqrt()).clamp_max(CLIP)
        return (clipped / (clipped.square().sum(-1, keepdim=True) + TINY).sqrt()).flatten(1)
