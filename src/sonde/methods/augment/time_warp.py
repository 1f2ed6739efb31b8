"""TimeWarp: let time run faster here and slower there.

Um et al., Data augmentation of wearable sensor data for Parkinson's disease monitoring using convolutional neural
networks, 2017, section 3. Two differences: the channels of a row share one warp, so that they stay simultaneous (the
paper's code warps each by itself), and the speed at which a series is read is drawn, not the speed at which it is
written, so that no inverse is needed.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from sonde.core import Batch, Method, Run

from ._series import Layout, deviation, knots_of, layout_of, read, series, smooth, untimed

# N rows, C channels, T samples in time


def positions(speed: Tensor) -> Tensor:
    """Where each sample is read when time runs at `speed` (N, T) >= 0: from 0 to T - 1, never backwards. (N, T)."""
    gone = F.pad(torch.cumsum((speed[:, 1:] + speed[:, :-1]) / 2, dim=1), (1, 0))  # (N, T)
    return gone / gone[:, -1:].clamp_min(torch.finfo(speed.dtype).tiny) * (speed.shape[1] - 1)


class TimeWarp(Method):
    """Reads each series at a smoothly changing speed; both ends stay where they are.

    The speed is the cubic spline through values from N(1, sigma^2) at both ends and at `knots` even places between,
    divided by its mean. Between samples the series is read linearly.

    sigma: the values' standard deviation; a speed below 0 counts as 0. knots: at least 2.
    layout: "NCT" for x (N, T) or (N, C, T), "NTC" for (N, T, C).
    Reads and returns x, floating point. Rows stay independent: `records` is kept.
    """

    def __init__(self, sigma: float = 0.2, knots: int = 4, layout: Layout = "NCT") -> None:
        self.sigma, self.knots = deviation(sigma, self), knots_of(knots, self)
        self.layout = layout_of(layout, self)

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows, in another time."""
        x = series(batch, self, self.layout)  # (N, C, T)
        if self.sigma == 0.0:
            return batch
        speed = smooth((len(x),), x.shape[-1], self.sigma, self.knots, x).clamp_min(0)  # (N, T)
        return replace(batch, x=untimed(read(x, positions(speed)), self.layout))
