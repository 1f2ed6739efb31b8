"""What several corruptions share: lengths, Gaussian blur, sampling between pixels, motion."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Generator, Tensor

# N rows, C channels, H height, W width

SIDE = 32  # px: of the pictures for which the lengths are given
LEAST = 0.5  # of the factor


def factor(x: Tensor) -> float:
    """What lengths in pixels of a picture with a side of 32 are multiplied by."""
    return max(LEAST, math.sqrt(x.shape[2] * x.shape[3]) / SIDE)


def gaussian_blur(x: Tensor, sigma: float, reach: float = 4.0) -> Tensor:
    """x (N, C, H, W) convolved with a Gaussian that is cut off at `reach` sigmas; the edge is repeated outside."""
    radius = math.ceil(reach * sigma)
    if radius < 1 or sigma < 0.1:  # the neighbour's weight is below e^-50
        return x
    at = torch.arange(-radius, radius + 1, dtype=x.dtype)
    weights = torch.exp(-0.5 * (at / sigma) ** 2)
    weights = weights / weights.sum()
    flat = x.reshape(-1, 1, *x.shape[2:])
    flat = F.conv2d(F.pad(flat, (radius, radius, 0, 0), "replicate"), weights[None, None, None])
    flat = F.conv2d(F.pad(flat, (0, 0, radius, radius), "replicate"), weights[None, None, :, None])
    return flat.view(x.shape)


def pixel_grid(x: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of every pixel, (H, W) each."""
    rows, columns = (torch.arange(side, dtype=x.dtype) for side in x.shape[2:])
    return rows[:, None].expand(x.shape[2:]), columns.expand(x.shape[2:])


def sample(x: Tensor, rows: Tensor, columns: Tensor, outside: str = "border") -> Tensor:
    """x at places between pixels, (N, H, W) each in pixels, bilinearly: (N, C, H, W)."""
    h, w = x.shape[2:]
    at = torch.stack([(2 * columns + 1) / w - 1, (2 * rows + 1) / h - 1], -1)
    return F.grid_sample(x, at.expand(len(x), -1, -1, -1), "bilinear", outside, align_corners=False)


def zoomed(x: Tensor, by: float) -> Tensor:
    """The middle of each picture, enlarged."""
    rows, columns = pixel_grid(x)
    middle = [(side - 1) / 2 for side in x.shape[2:]]
    return sample(x, ((rows - middle[0]) / by + middle[0])[None], ((columns - middle[1]) / by + middle[1])[None])


def streaked(x: Tensor, radius: float, sigma: float, angles: Tensor) -> Tensor:
    """Each picture moved along its own angle (N,) in radians: half a Gaussian of `sigma` pixels, up to `radius`."""
    rows, columns = pixel_grid(x)
    out, total = torch.zeros_like(x), 0.0
    down, right = angles.sin()[:, None, None], angles.cos()[:, None, None]
    for step in range(math.floor(2 * radius) + 1):
        weight = math.exp(-0.5 * (step / 2 / sigma) ** 2)
        out += weight * sample(x, rows - step / 2 * down, columns - step / 2 * right)
        total += weight
    return out / total


def angles(n: int, low: float, high: float, generator: Generator) -> Tensor:
    """n angles in radians, uniform between two in degrees."""
    return torch.deg2rad(low + (high - low) * torch.rand(n, generator=generator))


def plasma(n: int, size: Sequence[int], decay: float, generator: Generator) -> Tensor:
    """n cloudy maps of a size (H, W) in [0, 1], (n, 1, H, W): diamond-square, the noise of each finer level fainter.

    decay: the noise is divided by its square from level to level, as in the authors' code.

    Fournier, Fussell and Carpenter, Computer rendering of stochastic models, 1982.
    """
    height, width = size
    side = 1 << max(1, math.ceil(math.log2(max(size))))
    clouds = torch.zeros(n, 1, 1)  # the corners of a map that repeats itself
    amplitude = 1.0
    while clouds.shape[1] < side:
        m = clouds.shape[1]

        def noise(amplitude: float = amplitude, m: int = m) -> Tensor:
            return amplitude * (2 * torch.rand(n, m, m, generator=generator) - 1)

        across, down = clouds.roll(-1, 2), clouds.roll(-1, 1)
        centre = (clouds + across + down + across.roll(-1, 1)) / 4 + noise()  # the squares' middles
        top = (clouds + across + centre + centre.roll(1, 1)) / 4 + noise()  # the diamonds'
        left = (clouds + down + centre + centre.roll(1, 2)) / 4 + noise()
        clouds = torch.stack([torch.stack([clouds, top], 3), torch.stack([left, centre], 3)], 2)
        clouds = clouds.reshape(n, 2 * m, 2 * m)  # (n, m, 2, m, 2) read row by row
        amplitude /= decay**2
    low, high = clouds.amin((1, 2), keepdim=True), clouds.amax((1, 2), keepdim=True)
    return ((clouds - low) / (high - low).clamp_min(1e-12))[:, None, :height, :width]
