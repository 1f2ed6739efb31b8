"""Common corruptions of pictures: what cameras, weather and files do to them, at five severities.

Hendrycks and Dietterich, Benchmarking neural network robustness to common corruptions and perturbations, 2019. The
fifteen kinds and their strengths are those of CIFAR-10-C, whose pictures have 32 x 32 pixels: strengths of light and
shares of the picture as they are there, lengths in pixels multiplied by the side over 32. Below 16 pixels the factor
stays 1/2: a blur far below a pixel would be none.

Different here: frost is drawn (needles of ice) where the authors lay photographs over the picture; motion
blur has the weights of ImageMagick's, sampled at half pixels; pieces of a pixel count as such where pictures are
pixelated.

Every function takes x (N, C, H, W) in [0, 1], a severity from 1 to 5 and a generator on the CPU, and returns new
pictures in [0, 1]; every row is corrupted in its own way.

Entry: distribution shift.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Generator, Tensor

from .blur import defocus_blur, glass_blur, motion_blur, zoom_blur
from .digital import brightness, contrast, elastic_transform, jpeg_compression, pixelate
from .noise import gaussian_noise, impulse_noise, shot_noise
from .weather import fog, frost, snow

__all__ = ["CORRUPTIONS", "SEVERITIES", "Corruption", "corrupt"]

Corruption = Callable[[Tensor, int, Generator], Tensor]
SEVERITIES = (1, 2, 3, 4, 5)
CORRUPTIONS: Mapping[str, Corruption] = {
    f.__name__: f
    for f in (
        gaussian_noise, shot_noise, impulse_noise,
        defocus_blur, glass_blur, motion_blur, zoom_blur,
        snow, frost, fog, brightness,
        contrast, elastic_transform, pixelate, jpeg_compression,
    )
}  # fmt: skip
"""The fifteen by name, in the order of the paper's tables."""


def corrupt(x: Tensor, name: str, severity: int, seed: int = 0) -> Tensor:
    """Pictures x (N, C, H, W) in [0, 1] with one of `CORRUPTIONS`; severity 0 gives them back.

    The same pictures, name, severity and seed give the same result.

    >>> x = torch.full((1, 1, 8, 8), 0.5)
    >>> round(float(corrupt(x, "brightness", 5).mean()), 3), torch.equal(corrupt(x, "snow", 0), x)
    (0.8, True)
    """
    if not 0 <= severity <= len(SEVERITIES):
        raise ValueError(f"severities go from 0 to {len(SEVERITIES)}; got {severity}")
    if severity == 0 or not len(x):
        return x
    drawn = 1000 * (1 + list(CORRUPTIONS).index(name)) + severity  # each its own numbers
    generator = torch.Generator().manual_seed(1_000_003 * seed + drawn)
    return CORRUPTIONS[name](x, severity, generator)
