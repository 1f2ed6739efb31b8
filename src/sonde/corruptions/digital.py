"""Light, contrast, shape, and what file formats lose."""

from __future__ import annotations

import io

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Generator, Tensor

from ._space import gaussian_blur, pixel_grid, sample

# N rows, C channels, H height, W width


def brightness(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """More light: the value of the colour (its largest channel) grows; hue and saturation stay."""
    more = (0.05, 0.1, 0.15, 0.2, 0.3)[severity - 1]
    value = x.amax(1, keepdim=True)
    return torch.where(value > 0, x * ((value + more).clamp_max(1) / value.clamp_min(1e-12)), more).clamp(0, 1)


def contrast(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Every channel nearer to its mean."""
    kept = (0.75, 0.5, 0.4, 0.3, 0.15)[severity - 1]
    mean = x.mean((2, 3), keepdim=True)
    return ((x - mean) * kept + mean).clamp(0, 1)


def elastic_transform(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Stretched and bent: three points of the picture are moved, then every pixel along a smooth field.

    Simard, Steinkraus and Platt, Best practices for convolutional neural networks, 2003, for the field.
    """
    bend, smooth, stretch = ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))[
        severity - 1
    ]  # in sides of the picture
    n, (h, w) = len(x), x.shape[2:]
    side = (h * w) ** 0.5
    middle, third = torch.tensor([h // 2, w // 2]).float(), max(1, min(h, w) // 3)
    corners = middle + third * torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])  # (3, 2)
    moved = corners + stretch * side * (2 * torch.rand(n, 3, 2, generator=generator) - 1)
    affine = torch.linalg.solve(torch.cat([corners, torch.ones(3, 1)], 1).expand(n, 3, 3), moved)  # (N, 3, 2)
    rows, columns = pixel_grid(x)
    at = torch.einsum("hwk,nkd->nhwd", torch.stack([rows, columns, torch.ones_like(rows)], -1), affine)
    field = 2 * torch.rand(n, 2, h, w, generator=generator) - 1
    at = at + (bend * side * gaussian_blur(field, smooth * side, reach=3)).movedim(1, 3)
    return sample(x, at[..., 0], at[..., 1], "reflection").clamp(0, 1)


def pixelate(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Fewer pixels, drawn as large as before."""
    kept = (0.95, 0.9, 0.85, 0.75, 0.65)[severity - 1]
    down, across = (shares(side, max(1, int(side * kept))) for side in x.shape[2:])
    small = torch.einsum("nchw,ah,bw->ncab", x, down.to(x.dtype), across.to(x.dtype))
    return F.interpolate(small, x.shape[2:], mode="nearest-exact").clamp(0, 1)


def shares(side: int, fewer: int) -> Tensor:
    """How much of each of `fewer` equal pieces of a line every one of its `side` pixels is: (fewer, side)."""
    edge = torch.arange(fewer + 1) * side / fewer
    at = torch.arange(side)
    overlap = torch.minimum(edge[1:, None], at + 1) - torch.maximum(edge[:-1, None], at)
    return overlap.clamp_min(0) * fewer / side


def jpeg_compression(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Written as JPEG and read again."""
    return jpeg(x, (80, 65, 58, 50, 40)[severity - 1])


def jpeg(x: Tensor, quality: int) -> Tensor:
    """x (N, C, H, W) in [0, 1] through JPEG of this quality (1 to 95): colours for three channels, gray for others."""
    from PIL import Image

    def through(array: Tensor) -> Tensor:  # (H, W) or (H, W, 3) uint8
        buffer = io.BytesIO()
        Image.fromarray(array.numpy()).save(buffer, "JPEG", quality=quality)
        buffer.seek(0)
        with Image.open(buffer) as image:
            return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(array.shape)

    eight = (255 * x).round().to(torch.uint8)
    if x.shape[1] == 3:
        out = torch.stack([through(p) for p in eight.movedim(1, 3).contiguous()]).movedim(3, 1)
    else:
        out = torch.stack([through(p) for p in eight.flatten(0, 1)]).view(x.shape)
    return out.to(x.dtype) / 255
