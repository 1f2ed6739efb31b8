"""Where each output pixel of a linear change reads its picture: the grid, in the units of torch's `grid_sample`."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

# N rows, C channels, H height, W width


def sample(
    x: Tensor,
    matrix: Tensor,
    centre: Tensor,
    mode: Literal["bilinear", "nearest"] = "bilinear",
    outside: Literal["border", "zeros"] = "border",
) -> Tensor:
    """Each output pixel p reads the input at `matrix @ p + centre`.

    Positions are (horizontal, vertical) pixel distances from the middle of the picture.
    x: (N, C, H, W); matrix: (N, 2, 2); centre: (N, 2). mode: mean of the four pixels around, or the one it falls into.
    outside: the nearest edge, or black. Returns (N, C, H, W).
    """
    positions = grid(matrix, centre, x.shape[2], x.shape[3])  # (N, H, W, 2)
    return F.grid_sample(x, positions, mode=mode, padding_mode=outside, align_corners=False)


def grid(matrix: Tensor, centre: Tensor, height: int, width: int) -> Tensor:
    """`matrix @ p + centre` for every pixel p, halves of the picture being the unit: (N, H, W, 2).

    Horizontal and vertical positions are added as the parts of one complex number: a fifth of `affine_grid`'s time.
    """
    unit = torch.tensor([[2 / width], [2 / height]], device=matrix.device, dtype=matrix.dtype)  # of one pixel
    matrix, centre = matrix * unit, (centre * unit.view(2))[:, None]
    # pixels from the middle: (W, 1) and (H, 1)
    x = torch.arange((1 - width) / 2, width / 2, device=matrix.device, dtype=matrix.dtype).view(-1, 1)
    y = torch.arange((1 - height) / 2, height / 2, device=matrix.device, dtype=matrix.dtype).view(-1, 1)
    row = torch.view_as_complex(x * matrix[:, None, :, 0])  # (N, W)
    column = torch.view_as_complex(torch.addcmul(centre, y, matrix[:, None, :, 1]))  # (N, H)
    return torch.view_as_real(row[:, None] + column[:, :, None])
