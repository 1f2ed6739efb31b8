"""Weather: snow, frost and fog."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from ._space import angles, factor, plasma, streaked, zoomed

# N rows, C channels, H height, W width


def snow(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Falling flakes over a picture that snow has made paler."""
    mean, spread, size, least, radius, sigma, kept = (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    )[severity - 1]
    s = factor(x)
    flakes = mean + spread * torch.randn(len(x), 1, *x.shape[2:], generator=generator)
    flakes = zoomed(flakes, size)
    flakes = torch.where(flakes < least, 0.0, flakes.clamp(0, 1))
    flakes = streaked(flakes, radius * s, sigma * s, angles(len(x), -135, -45, generator))
    pale = torch.maximum(x, 1.5 * gray(x) + 0.5)
    return (kept * x + (1 - kept) * pale + flakes + flakes.rot90(2, (2, 3))).clamp(0, 1)


def frost(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Needles of ice on the pane, thicker in places."""
    kept, ice = ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))[severity - 1]
    s, n = factor(x), len(x)
    seeds = (torch.rand(n, 1, *x.shape[2:], generator=generator) < 0.08).float()
    first = angles(n, 0, 360, generator)
    needles = torch.zeros_like(seeds)
    for turn in range(6):  # ice grows in six directions
        grown = streaked(seeds, 4 * s, 2 * s, first + turn * math.pi / 3)
        needles = torch.maximum(needles, grown / grown.amax((2, 3), keepdim=True).clamp_min(1e-12))
    layer = 0.5 * needles + 0.5 * plasma(n, x.shape[2:], 2.0, generator)
    return (kept * x + ice * layer).clamp(0, 1)


def fog(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """A bank of fog, a plasma fractal, and less light through it."""
    thick, decay = ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))[severity - 1]
    most = x.amax((1, 2, 3), keepdim=True)
    cloud = plasma(len(x), x.shape[2:], decay, generator)
    return ((x + thick * cloud) * most / (most + thick)).clamp(0, 1)


def gray(x: Tensor) -> Tensor:
    """The brightness of each pixel, (N, 1, H, W): of red, green and blue by ITU-R BT.601, of others the mean."""
    if x.shape[1] == 3:
        return (x * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    return x.mean(1, keepdim=True)
