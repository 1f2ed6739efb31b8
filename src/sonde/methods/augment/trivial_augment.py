"""TrivialAugment: one random operation at a random strength.

Müller and Hutter, TrivialAugment: tuning-free yet state-of-the-art data augmentation, 2021, section 3, with the two
spaces of its code. Differences: a factor on brightness, contrast, colour or sharpness is drawn to either side of 1, as
in torchvision, where the code spaces them evenly over the same range; posterize rounds bits to the nearest number.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch

from sonde.core import Batch, Method, Run, SondeError

from ._images import fraction, images
from ._space import OPERATIONS, STANDARD, WIDE, augment

# N rows

STEPS = 30  # strengths are 0, 1/30, ..., 1: the paper's 31


class TrivialAugment(Method):
    """Applies one operation to each picture, drawn out of fourteen, at a strength drawn for it.

    The operations are those of RandAugment. In the wide space they reach further: rotate 135 degrees, shear 0.99,
    translate 32 pixels whatever the size, factors 0.01 to 1.99, posterize to 2 bits.

    space: "wide", or "standard", RandAugment's, which is gentler.
    fill: what stands where a picture was moved away, in [0, 1].
    Reads and returns x: (N, C, H, W) in [0, 1]. Rows stay independent: `records` is kept.

    >>> x, _ = torch.full((500, 1, 8, 8), 0.5), torch.manual_seed(0)
    >>> out = TrivialAugment().batch(None, Batch(x)).x
    >>> round((out == x).flatten(1).all(1).float().mean().item(), 3)  # of flat grey pictures, what stays as it is
    0.516
    """

    def __init__(self, space: Literal["wide", "standard"] = "wide", fill: float = 0.0) -> None:
        spaces = {"wide": WIDE, "standard": STANDARD}
        if space not in spaces:
            raise SondeError(f"TrivialAugment knows no space {space!r}", "choose 'wide' or 'standard'")
        self.space, self.fill = space, fraction(fill, "fill")
        self._space = spaces[space]

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows, each after its own operation."""
        x = images(batch, self)
        shape = (1, len(x))  # one operation a row
        operation = torch.randint(len(OPERATIONS), shape, device=x.device)
        strength = torch.randint(STEPS + 1, shape, device=x.device).to(x.dtype) / STEPS
        sign = torch.randint(2, shape, device=x.device) * 2 - 1
        return replace(batch, x=augment(x, operation, sign * strength, self._space, self.fill))
