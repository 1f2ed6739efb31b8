"""Flip: mirror some of the pictures.

Entry: flipping.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from sonde.core import Batch, Method, Run, SondeError

from ._images import fraction, images, uniform

# N rows, C channels, H height, W width


def flip(x: Tensor, chosen: Tensor, axis: int) -> Tensor:
    """Mirror the rows where `chosen` (N,) bool is true, along `axis` of x: 3 swaps left and right, 2 up and down.

    x: (N, C, H, W). Returns (N, C, H, W).
    """
    forward = torch.arange(x.shape[axis], device=x.device)
    index = torch.where(chosen[:, None], forward.flip(0), forward)  # (N, W) or (N, H): where each pixel comes from
    index = index[:, None, None] if axis == 3 else index[:, None, :, None]
    return x.gather(axis, index.expand_as(x))


class Flip(Method):
    """Mirrors each picture with a given probability.

    Right for photographs of things; wrong for writing, arrows and the heart's side of a chest.

    direction: "horizontal" swaps left and right, "vertical" swaps up and down.
    probability: of a row's being mirrored, in [0, 1].
    Reads and returns x: (N, C, H, W). Rows stay independent: `records` is kept.

    >>> flip(torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([True]), axis=3).tolist()[0][0][0]
    [2.0, 1.0]
    """

    def __init__(self, direction: Literal["horizontal", "vertical"] = "horizontal", probability: float = 0.5) -> None:
        axes = {"horizontal": 3, "vertical": 2}
        if direction not in axes:
            raise SondeError(f"Flip knows no direction {direction!r}", "choose 'horizontal' or 'vertical'")
        self.axis = axes[direction]
        self.probability = fraction(probability, "probability")

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows, some of them mirrored."""
        x = images(batch, self)
        return replace(batch, x=flip(x, uniform(x, 0.0, 1.0) < self.probability, self.axis))
