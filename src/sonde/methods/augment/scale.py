"""Scale: enlarge or shrink each picture about its middle.

Entry: scaling.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from sonde.core import Batch, Method, Run

from ._images import fraction, images, resample, uniform

# N rows, C channels, H height, W width


def scale(x: Tensor, factor: Tensor) -> Tensor:
    """Enlarge row i by factor[i] (shrink it below 1); edge pixels fill what is uncovered.

    x: (N, C, H, W); factor: (N,), positive. Returns (N, C, H, W), interpolated bilinearly.
    """
    matrix = torch.eye(2, device=x.device, dtype=x.dtype) / factor[:, None, None]  # (N, 2, 2)
    return resample(x, matrix, torch.zeros_like(matrix[:, 0]))


class Scale(Method):
    """Enlarges or shrinks each picture about its middle by a random factor in [1 - most, 1 + most].

    most: largest change of size, in [0, 0.9].
    Reads and returns x: (N, C, H, W). Rows stay independent: `records` is kept.

    >>> x = torch.tensor([[[[0.0, 1.0, 0.0, 0.0]]]])
    >>> scale(x, torch.tensor([2.0])).tolist()[0][0][0]
    [0.75, 0.75, 0.25, 0.0]
    """

    def __init__(self, most: float = 0.1) -> None:
        self.most = fraction(most, "most", below=0.9)

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows, rescaled."""
        x = images(batch, self)
        return replace(batch, x=scale(x, uniform(x, 1.0 - self.most, 1.0 + self.most)))
