"""Noise: of the sensor, of few photons, of broken pixels."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

# N rows, C channels, H height, W width


def gaussian_noise(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Gaussian noise in every pixel, as in low light."""
    sigma = (0.04, 0.06, 0.08, 0.09, 0.10)[severity - 1]
    return (x + sigma * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def shot_noise(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """The noise of counting photons, of which a white pixel has as many as given here."""
    photons = (500, 250, 100, 75, 50)[severity - 1]
    return (torch.poisson(x * photons, generator) / photons).clamp(0, 1)


def impulse_noise(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Salt and pepper: some numbers are 0 or 1, whatever they were."""
    share = (0.01, 0.02, 0.03, 0.05, 0.07)[severity - 1]
    u = torch.rand(x.shape, generator=generator)
    return torch.where(u < share, (u < share / 2).to(x.dtype), x)
