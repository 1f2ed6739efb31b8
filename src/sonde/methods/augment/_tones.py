"""What changes a picture's tones, not its shape, each row by its own strength: as Pillow does it, in [0, 1].

Each function changes the rows that it is given, in place, which saves a third of the time, and returns them. Pillow
rounds to 256 levels after each step; here only `posterize` and `equalize`, which are defined by levels, do.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .colour import blend, grey

# N rows, C channels, H height, W width, L levels

LEVELS = 256
TOP = LEVELS - 1


def autocontrast(x: Tensor) -> Tensor:
    """Stretch each channel of each row to reach from 0 to 1; one that spans less than half a level is kept."""
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)  # (N, C, 1, 1)
    span = high.sub_(low)
    flat = span < 0.5 / TOP
    return x.sub_(low.masked_fill_(flat, 0.0)).div_(span.masked_fill_(flat, 1.0))


def equalize(x: Tensor) -> Tensor:
    """Give every level about as many pixels, channel by channel: Pillow's table, from counts of 256 levels.

    A step of the table is the 255th part of the pixels below the brightest level; a channel with fewer is kept.
    """
    n, c, h, w = x.shape
    level = (x * TOP).round_().clamp_(0, TOP).view(n * c, h * w)
    brightest = level.amax(1, keepdim=True).long()  # (NC, 1)
    first = torch.arange(0, n * c * LEVELS, LEVELS, device=x.device, dtype=torch.int32).view(-1, 1)
    place = level.int().add_(first).view(-1)  # in the tables of all channels, one after the other
    count = torch.bincount(place, minlength=n * c * LEVELS).view(n * c, LEVELS)
    step = ((h * w - count.gather(1, brightest)) // TOP).float()  # (NC, 1), whole numbers that floats hold exactly
    below = (count.cumsum(1) - count).float()  # (NC, L)
    table = below.add_((step / 2).floor_()).div_(step.clamp(min=1)).floor_().clamp_(max=TOP)
    equal = table.to(x.dtype).div_(TOP).view(-1).index_select(0, place).view_as(x)
    return x.copy_(torch.where((step > 0).view(n, c, 1, 1), equal, x))


def posterize(x: Tensor, bits: Tensor) -> Tensor:
    """Keep the given number of leading bits of each pixel's 8. bits: (N,), 1 to 8."""
    block = torch.exp2(8 - _each(bits, x))  # levels that become one
    return x.mul_(TOP).round_().div_(block).floor_().mul_(block / TOP)


def solarize(x: Tensor, threshold: Tensor) -> Tensor:
    """Invert what is at least as bright as the threshold. threshold: (N,), in units of x; above 1 inverts nothing."""
    # A thousandth of a level keeps a pixel that is equal to the threshold from falling below it by rounding.
    bright = x >= _each(threshold - 1e-3 / TOP, x)
    return x.sub_(bright.to(x.dtype)).abs_()  # 1 - x where it is bright; five times as fast as choosing


def brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Multiply by the factor (N,), cut off at 1."""
    return x.mul_(_each(factor, x)).clamp_(0.0, 1.0)


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Multiply the distance from the mean of the row's grey by the factor (N,), cut off at 0 and 1."""
    return blend(grey(x.mean((2, 3), keepdim=True)), x, factor)


def saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Multiply each pixel's distance from its grey by the factor (N,), cut off at 0 and 1."""
    return x if x.shape[1] == 1 else blend(grey(x), x, factor)


def sharpness(x: Tensor, factor: Tensor) -> Tensor:
    """Multiply each pixel's distance from a smoothed picture by the factor (N,), cut off at 0 and 1.

    Smoothed: the mean of 3 x 3 pixels, the middle one counted five times. Pixels at the edge are kept.
    """
    inner = x[:, :, 1:-1, 1:-1]
    rows = (x[..., :-2] + x[..., 2:]).add_(x[..., 1:-1])  # (N, C, H, W - 2)
    nine = (rows[:, :, :-2] + rows[:, :, 2:]).add_(rows[:, :, 1:-1])  # (N, C, H - 2, W - 2)
    blend(nine.add_(inner, alpha=4).div_(13), inner, factor)
    return x


def _each(factor: Tensor, x: Tensor) -> Tensor:
    return factor.to(x.dtype).view(-1, 1, 1, 1)
