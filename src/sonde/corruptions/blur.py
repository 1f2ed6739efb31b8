"""Blur: out of focus, through frosted glass, of a moving camera, of one that moves towards what it sees."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Generator, Tensor

from ._space import angles, factor, gaussian_blur, streaked, zoomed

# N rows, C channels, H height, W width

FINE = 8  # samples a pixel along a side, for the edge of the disc


def defocus_blur(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Every point becomes a disc, whose edge is softened."""
    radius, soft = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))[severity - 1]
    kernel = disc(radius * factor(x)).to(x.dtype)
    reach = kernel.shape[0] // 2
    flat = F.pad(x.reshape(-1, 1, *x.shape[2:]), [reach] * 4, "replicate")
    return gaussian_blur(F.conv2d(flat, kernel[None, None]).view(x.shape), soft * factor(x)).clamp(0, 1)


def disc(radius: float) -> Tensor:
    """The share of each pixel that a disc of this radius covers, of sum one."""
    reach = max(0, math.ceil(radius - 0.5))
    at = (torch.arange((2 * reach + 1) * FINE) + 0.5) / FINE - reach - 0.5
    inside = (at[:, None] ** 2 + at**2 <= radius**2).float()
    covered = F.avg_pool2d(inside[None, None], FINE)[0, 0]
    return covered / covered.sum()


def glass_blur(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Every pixel shows what is near it, at random, between two blurs; the rim stays.

    The authors mean to swap pixels; what their code does to colours, and CIFAR-10-C holds, is to copy.
    """
    sigma, reach, times = ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))[severity - 1]
    reach = max(1, round(reach * factor(x)))
    n, (h, w) = len(x), x.shape[2:]
    row, column = torch.arange(h)[:, None].expand(h, w), torch.arange(w).expand(h, w)
    inner = (row > reach) & (row <= h - reach) & (column > reach) & (column <= w - reach)
    here = row * w + column
    blurred = gaussian_blur(x, sigma * factor(x)).flatten(2)
    for _ in range(times):
        down, right = torch.randint(-reach, reach, (2, n, h, w), generator=generator)
        there = torch.where(inner, (row + down).clamp(0, h - 1) * w + (column + right).clamp(0, w - 1), here)
        blurred = blurred.gather(2, there.view(n, 1, -1).expand_as(blurred))
    return gaussian_blur(blurred.view(x.shape), sigma * factor(x)).clamp(0, 1)


def motion_blur(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """The camera moved, within 45 degrees of sideways."""
    radius, sigma = ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))[severity - 1]
    s = factor(x)
    return streaked(x, radius * s, sigma * s, angles(len(x), -45, 45, generator)).clamp(0, 1)


def zoom_blur(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """The camera moved towards the picture: the mean of ever larger ones."""
    most = (5, 10, 15, 20, 25)[severity - 1]  # per cent
    out = x.clone()
    for percent in range(most + 1):
        out += zoomed(x, 1 + percent / 100)
    return (out / (most + 2)).clamp(0, 1)
