"""Rotate: turn each picture about its middle.

Entry: rotation.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from sonde.core import Batch, Method, Run

from ._images import fraction, images, resample, uniform

# N rows, C channels, H height, W width


def rotate(x: Tensor, angle: Tensor) -> Tensor:
    """Turn row i anticlockwise by angle[i] radians; edge pixels fill what is uncovered.

    x: (N, C, H, W); angle: (N,). Returns (N, C, H, W), interpolated bilinearly.
    """
    cos, sin = angle.cos(), angle.sin()
    # Where an output pixel comes from. The vertical axis points down, so this inverse of an anticlockwise turn has
    # the signs of a turn by +angle in the usual axes.
    matrix = torch.stack([cos, -sin, sin, cos], dim=1).view(-1, 2, 2)  # (N, 2, 2)
    return resample(x, matrix, torch.zeros_like(matrix[:, 0]))


class Rotate(Method):
    """Turns each picture about its middle by a random angle of at most `degrees`, either way.

    degrees: largest angle, in [0, 180]. Beyond about 30 a 6 begins to look like a 9: know your classes.
    Reads and returns x: (N, C, H, W). Rows stay independent: `records` is kept.

    >>> x = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    >>> rotate(x, torch.tensor([torch.pi / 2])).round().abs().tolist()[0][0]
    [[0.0, 0.0], [1.0, 0.0]]
    """

    def __init__(self, degrees: float = 10.0) -> None:
        self.degrees = fraction(degrees, "degrees", below=180.0)

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows, turned."""
        x = images(batch, self)
        return replace(batch, x=rotate(x, uniform(x, -self.degrees, self.degrees).deg2rad()))
