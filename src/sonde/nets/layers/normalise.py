"""Per-channel normalisation by the training rows, as a network's first layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# N rows, C channels (or columns), ... positions (none, or H, W)

ROWS = 4096  # turned to float64 at a time, so that the statistics of a large set need little memory


class Normalise(nn.Module):
    """Subtracts each channel's mean over the training rows and divides by its standard deviation.

    Because this is a layer, the network takes inputs in the user's units, and whatever asks it (an attack, an
    explanation, an export) works there too. Until `fit_input` is called it changes nothing.

    channels: C. positions: how many axes follow the channels: 2 for images (N, C, H, W), 0 for columns (N, C).
    Reads and returns floating point (N, C, ...). A channel that is constant in training is only centred.

    >>> layer = Normalise(channels=2)
    >>> layer.fit_input(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    >>> layer(torch.tensor([[4.0, 6.0]])).tolist()
    [[2.0, 1.0]]
    """

    mean: Tensor  # (C, 1, ...)
    std: Tensor  # (C, 1, ...)

    def __init__(self, channels: int, positions: int = 0) -> None:
        super().__init__()
        shape = (channels, *[1] * positions)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))

    def fit_input(self, x: Tensor) -> None:
        """Take the statistics of the training rows x (N, C, ...), as the network will see them."""
        axes = [0, *range(2, x.ndim)]
        parts = [slice(start, start + ROWS) for start in range(0, len(x), ROWS)]
        count = x.numel() // x.shape[1]  # numbers a channel
        # On the CPU, since not every accelerator has float64.
        total = square = torch.zeros(x.shape[1], dtype=torch.float64)  # (C,) each
        for part in parts:
            total = total + x[part].to("cpu", torch.float64).sum(axes)
        mean = total / count
        for part in parts:
            distance = x[part].to("cpu", torch.float64) - mean.view(self.mean.shape)  # (ROWS, C, ...)
            square = square + distance.square().sum(axes)
        std = (square / count).sqrt()
        # Rounding leaves a constant channel a deviation of some 1e-16 of its mean, which is none.
        std = torch.where(std > 1e-12 * mean.abs(), std, torch.ones_like(std))
        self.mean.copy_(mean.view_as(self.mean))
        self.std.copy_(std.view_as(self.std))

    def forward(self, x: Tensor) -> Tensor:
        """(x - mean) / std."""
        return (x - self.mean) / self.std
