"""The fourteen operations that RandAugment and TrivialAugment draw from, each row its own, and how strong they get.

Cubuk et al., RandAugment, 2020, section 3 (the list); AutoAugment's ranges, as the authors of TrivialAugment and
torchvision read them. Geometry copies pixels (nearest neighbour, as those do) and shears about the top left corner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from . import _tones as tones
from ._affine import sample

# N rows (n of one operation), C channels, H height, W width

TONES = ("autocontrast", "equalize", "posterize", "solarize", "brightness", "contrast", "colour", "sharpness")
MOVES = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
OPERATIONS = ("identity", *TONES, *MOVES)
SIGNED = ("brightness", "contrast", "colour", "sharpness", *MOVES)
"""Operations whose strength has a direction; the others go by its size."""


@dataclass(frozen=True, slots=True)
class Space:
    """What strength 1 means.

    degrees: of a turn. shear: sideways pixels a pixel. bits: left by posterize, of 8.
    factor: the distance from 1 of what brightness, contrast, colour and sharpness multiply by.
    pixels: of a translation; where it is 0, `share` of the side counts.
    """

    degrees: float
    shear: float
    bits: int
    factor: float
    pixels: float = 0.0
    share: float = 0.0

    def reach(self, side: int) -> float:
        """Pixels that strength 1 moves a picture of that side by."""
        return self.pixels or self.share * side


# AutoAugment moved pictures of 331 pixels by up to 150.
STANDARD = Space(degrees=30.0, shear=0.3, bits=4, factor=0.9, share=150 / 331)
WIDE = Space(degrees=135.0, shear=0.99, bits=2, factor=0.99, pixels=32.0)


def augment(x: Tensor, operations: Tensor, strengths: Tensor, space: Space, fill: float = 0.0) -> Tensor:
    """Apply to each row its operations, one after the other. All rows of an operation are done at once.

    x: (N, C, H, W) in [0, 1]; operations: (R, N) int64, places in OPERATIONS; strengths: (R, N) in [-1, 1].
    fill: what stands where a picture was moved away, in [0, 1]. Returns (N, C, H, W) in [0, 1].
    """
    first = len(OPERATIONS) - len(MOVES)  # the moves lie side by side, and are one change of places
    orders = operations.argsort(1)  # (R, N)
    operations, strengths = operations.gather(1, orders), strengths.to(x.dtype).gather(1, orders)
    place = torch.arange(len(x), device=x.device)  # where each row stands
    for order, operation, strength in zip(orders, operations, strengths, strict=True):
        counts = torch.bincount(operation, minlength=len(OPERATIONS)).tolist()
        counts = [*counts[:first], sum(counts[first:])]
        x = x.index_select(0, place.index_select(0, order))  # rows of an operation side by side: a copy
        place = torch.empty_like(order).index_copy_(0, order, torch.arange(len(x), device=x.device))
        parts = (t.split(counts) for t in (x, operation, strength))
        for name, part, which, s in zip((*OPERATIONS[:first], "moves"), *parts, strict=True):
            if not len(part) or name == "identity":
                continue
            if name == "moves":
                part.copy_(move(part, which - first, s, space, fill))
            else:
                _tone(name, part, s, space)
    return x.index_select(0, place)


def move(x: Tensor, which: Tensor, strength: Tensor, space: Space, fill: float) -> Tensor:
    """Rotate, shear or translate each row. which: (n,), a place in MOVES. The rest is as in `augment`."""
    _, _, height, width = x.shape
    most = (math.radians(space.degrees), space.shear, space.shear, space.reach(width), space.reach(height))
    unit = torch.tensor(most, device=x.device, dtype=x.dtype).diag()  # (5, 5)
    amount = unit.index_select(0, which).mul_(strength.to(x.dtype).view(-1, 1))  # (n, 5), of which four are 0
    angle, across, along, right, down = amount.unbind(1)
    cos, sin = angle.cos(), angle.sin()
    matrix = torch.stack([cos, across - sin, along + sin, cos], dim=1).view(-1, 2, 2)  # (n, 2, 2)
    # Sheared about the corner: what is half a side away from the middle there is not moved.
    centre = torch.stack([across * (height / 2) - right.trunc(), along * (width / 2) - down.trunc()], dim=1)  # (n, 2)
    # A position between two pixels belongs to the later one, in Pillow; rounding alone would take the even one.
    moved = sample(x - fill if fill else x, matrix, centre.add_(1e-4), mode="nearest", outside="zeros")
    return moved.add_(fill) if fill else moved


def _tone(name: str, x: Tensor, strength: Tensor, space: Space) -> Tensor:
    """Change the rows in place."""
    match name:
        case "autocontrast":
            return tones.autocontrast(x)
        case "equalize":
            return tones.equalize(x)
        case "posterize":
            return tones.posterize(x, 8 - (strength.abs() * (8 - space.bits)).round_())
        case "solarize":
            return tones.solarize(x, (1 - strength.abs()) * (tones.LEVELS / (tones.LEVELS - 1)))
    return ENHANCE[name](x, 1 + strength * space.factor)


ENHANCE = {
    "brightness": tones.brightness,
    "contrast": tones.contrast,
    "colour": tones.saturation,
    "sharpness": tones.sharpness,
}
