"""Scaling: multiply each channel of a series by a random factor.

Um et al., Data augmentation of wearable sensor data for Parkinson's disease monitoring using convolutional neural
networks, 2017, section 3.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from sonde.core import Batch, Method, Run

from ._series import Layout, deviation, layout_of, refuse_clipping, series, untimed

# N rows, C channels, T samples in time


class Scaling(Method):
    """Multiplies each channel of each series by a random factor near 1, the same at all times.

        x'_ct = s_c x_ct,  s_c ~ N(1, sigma^2)

    sigma: the factor's standard deviation.
    layout: "NCT" for x (N, T) or (N, C, T), "NTC" for (N, T, C).
    Reads and returns x, floating point. Rows stay independent: `records` is kept.

    >>> _ = torch.manual_seed(0)
    >>> Scaling(0.1).batch(None, Batch(torch.tensor([[[1.0, 2.0], [1.0, 2.0]]]))).x
    tensor([[[1.1541, 2.3082],
             [0.9707, 1.9413]]])
    """

    def __init__(self, sigma: float = 0.1, layout: Layout = "NCT") -> None:
        self.sigma, self.layout = deviation(sigma, self), layout_of(layout, self)

    def setup(self, run: Run) -> None:
        """Refuse what would cut the new values off."""
        refuse_clipping(self, run)

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows, each channel scaled."""
        x = series(batch, self, self.layout, least=1)  # (N, C, T)
        factor = 1 + self.sigma * torch.randn(*x.shape[:-1], 1, device=x.device, dtype=x.dtype)  # (N, C, 1)
        return replace(batch, x=untimed(x * factor, self.layout))
