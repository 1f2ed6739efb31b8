"""Crop: cut a random window out of each picture and enlarge it to the full size.

Entry: cropping.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from sonde.core import Batch, Method, Run

from ._images import fraction, images, resample, uniform

# N rows, C channels, H height, W width


def crop(x: Tensor, corner: Tensor, size: Tensor) -> Tensor:
    """Row i becomes the window whose top left corner is corner[i] and whose sides are size[i], at full resolution.

    x: (N, C, H, W); corner, size: (N, 2), (vertical, horizontal), as fractions of the sides.
    Returns (N, C, H, W), interpolated bilinearly.
    """
    sides = torch.tensor(x.shape[2:], device=x.device, dtype=x.dtype)  # (2,)
    centre = ((corner + size / 2 - 0.5) * sides).flip(1)  # (N, 2), (horizontal, vertical), pixels from the middle
    return resample(x, torch.diag_embed(size.flip(1)), centre)


class Crop(Method):
    """Cuts a random window out of each picture and enlarges it to the picture's own size.

    The window's area is a random fraction in [least, 1] of the picture's, its proportions are the picture's, its place
    is anywhere within. (Szegedy et al., Going deeper with convolutions, 2015, section 6, there with varying
    proportions.)

    least: smallest area kept, a fraction in (0, 1]. What is cut away may be what the label speaks of.
    Reads and returns x: (N, C, H, W). Rows stay independent: `records` is kept.

    >>> x = torch.tensor([[[[0.0, 0.2], [0.4, 0.6]]]])
    >>> crop(x, corner=torch.tensor([[0.5, 0.0]]), size=torch.tensor([[0.5, 0.5]])).mean().item()  # bottom left
    0.375
    """

    def __init__(self, least: float = 0.5) -> None:
        self.least = fraction(least, "least")

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: a window of each row."""
        x = images(batch, self)
        side = uniform(x, self.least, 1.0).sqrt()[:, None]  # (N, 1)
        corner = torch.rand(len(x), 2, device=x.device, dtype=x.dtype) * (1 - side)  # (N, 2)
        return replace(batch, x=crop(x, corner, side.expand(-1, 2)))
