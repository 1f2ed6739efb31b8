"""Jitter: add independent Gaussian noise to every sample of a series.

Um et al., Data augmentation of wearable sensor data for Parkinson's disease monitoring using convolutional neural
networks, 2017, section 3. Where the noise is a promise (randomised smoothing), use GaussianNoise; for a given ratio of
signal to noise, AddNoise.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from sonde.core import Batch, Method, Run

from ._series import deviation, refuse_clipping, series

# N rows, C channels, T samples in time


class Jitter(Method):
    """Adds independent Gaussian noise to every sample of each series.

        x' = x + sigma N(0, I)

    sigma: standard deviation, in units of x; 0.03 suits series of deviation 1.
    Reads and returns x: (N, T), (N, C, T) or (N, T, C), floating point. Rows stay independent: `records` is kept.

    >>> _ = torch.manual_seed(0)
    >>> Jitter(0.1).batch(None, Batch(torch.zeros(1, 3))).x
    tensor([[ 0.1541, -0.0293, -0.2179]])
    """

    def __init__(self, sigma: float = 0.03) -> None:
        self.sigma = deviation(sigma, self)

    def setup(self, run: Run) -> None:
        """Refuse what would cut the new values off."""
        refuse_clipping(self, run)

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows, with noise."""
        x = series(batch, self, least=1)
        return replace(batch, x=x + self.sigma * torch.randn_like(x))
