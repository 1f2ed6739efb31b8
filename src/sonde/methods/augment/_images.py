"""What the image augmentations share: asking for images, drawing numbers, resampling on an affine grid."""

from __future__ import annotations

import torch
from torch import Tensor

from sonde.core import Batch, SondeError

from ._affine import sample

# N rows, C channels, H height, W width


def images(batch: Batch, method: object) -> Tensor:
    """The batch's pictures (N, C, H, W), floating point in [0, 1]; a SondeError for anything else."""
    x = batch.x
    if isinstance(x, Tensor) and x.ndim == 4 and x.is_floating_point():
        return x
    given = f"a {x.dtype} tensor of shape {tuple(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
    raise SondeError(
        f"{type(method).__name__} changes images, floating point of shape (N, C, H, W), but x is {given}",
        f"remove {type(method).__name__} from the methods, or give it images scaled to [0, 1]",
    )


def fraction(value: float, name: str, below: float = 1.0) -> float:
    """`value`, if it lies in [0, below]; a SondeError that names the option otherwise."""
    if not 0.0 <= value <= below:
        raise SondeError(f"{name}={value} is outside [0, {below:g}]", f"choose {name} between 0 and {below:g}")
    return float(value)


def uniform(x: Tensor, low: float, high: float) -> Tensor:
    """One number per row of x, (N,), uniform in [low, high), on x's device, in x's precision."""
    return torch.empty(len(x), device=x.device, dtype=x.dtype).uniform_(low, high)


def resample(x: Tensor, matrix: Tensor, centre: Tensor) -> Tensor:
    """Each output pixel p reads the input at `matrix @ p + centre`, bilinearly; outside the image, the nearest edge.

    Positions are (horizontal, vertical) pixel distances from the middle of the image.
    x: (N, C, H, W); matrix: (N, 2, 2); centre: (N, 2). Returns (N, C, H, W).
    """
    return sample(x, matrix, centre).clamp_(0.0, 1.0)
