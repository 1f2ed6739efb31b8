"""A linear model: one weight for each input and output.

Entry: artificial neuron; weights and biases.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from .layers.normalise import Normalise

# N rows, F numbers a row, T outputs


class Linear(nn.Module):
    """Reads a row as F numbers and returns T weighted sums: softmax regression under Classify, linear under Regress.

    z = W (x - mean) / std + b, per channel for images, per column for flat rows.

    shape: of one row: (C, H, W) for images, (F,) for columns. outputs: T, classes or targets.
    Reads x: (N, *shape), floating point. Returns (N, T).

    >>> import torch
    >>> Linear(shape=(1, 8, 8), outputs=10)(torch.rand(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """

    def __init__(self, shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.normalise = Normalise(shape[0], positions=len(shape) - 1)
        self.output = nn.Linear(math.prod(shape), outputs)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs (N, T)."""
        z: Tensor = self.output(self.normalise(x).flatten(1))  # (N, F) -> (N, T)
        return z
