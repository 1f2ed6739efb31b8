"""RandAugment: a few random operations in a row, all at one strength.

Cubuk, Zoph, Shlens and Le, RandAugment: practical automated data augmentation with a reduced search space, 2020,
section 3. Differences: a factor on brightness, contrast, colour or sharpness is drawn to either side of 1, as in
torchvision; strengths follow torchvision's scale of 30, not the section's of 10.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from sonde.core import Batch, Method, Run, SondeError

from ._images import fraction, images
from ._space import OPERATIONS, STANDARD, augment

# N rows, R operations in a row

SCALE = 30.0  # torchvision's default number of steps to the largest strength


class RandAugment(Method):
    """Applies a few operations, drawn anew for each picture out of fourteen, at one strength.

    Identity, autocontrast, equalize, posterize (to 4 bits), solarize, brightness, contrast, colour, sharpness (factors
    0.1 to 1.9), rotate (30 degrees), shear (0.3) and translate (150/331 of the side) along either axis; in brackets
    the strongest. Operations may repeat; directions are drawn.

    operations: N, how many in a row, at least 1. magnitude: M in [0, 30]; 30 is the strongest, which the paper's
        text calls 10.
    fill: what stands where a picture was moved away, in [0, 1].
    Reads and returns x: (N, C, H, W) in [0, 1]. Rows stay independent: `records` is kept.

    >>> _ = torch.manual_seed(0)
    >>> RandAugment(magnitude=0).batch(None, Batch(torch.full((2, 3, 4, 4), 0.5))).x.unique()
    tensor([0.5000, 0.5020])
    """

    def __init__(self, operations: int = 2, magnitude: float = 9.0, fill: float = 0.0) -> None:
        if operations < 1:
            raise SondeError(f"RandAugment(operations={operations}) changes nothing", "choose at least 1")
        self.operations = operations
        self.magnitude = fraction(magnitude, "magnitude", below=SCALE)
        self.fill = fraction(fill, "fill")

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows, each after its own operations."""
        x = images(batch, self)
        shape = (self.operations, len(x))  # (R, N)
        operation = torch.randint(len(OPERATIONS), shape, device=x.device)
        sign = torch.randint(2, shape, device=x.device) * 2 - 1
        return replace(batch, x=augment(x, operation, sign * (self.magnitude / SCALE), STANDARD, self.fill))
