"""MagnitudeWarp: multiply a series by a smooth random curve.

Um et al., Data augmentation of wearable sensor data for Parkinson's disease monitoring using convolutional neural
networks, 2017, section 3: a cubic spline through knots around 1, a curve of its own for each channel.
"""

from __future__ import annotations

from dataclasses import replace

from sonde.core import Batch, Method, Run

from ._series import Layout, deviation, knots_of, layout_of, refuse_clipping, series, smooth, untimed

# N rows, C channels, T samples in time


class MagnitudeWarp(Method):
    """Multiplies each channel of each series by a smooth random curve around 1.

    The curve is the cubic spline through values from N(1, sigma^2) at both ends and at `knots` even places between.

    sigma: the values' standard deviation. knots: at least 2; more of them bend the curve more often.
    layout: "NCT" for x (N, T) or (N, C, T), "NTC" for (N, T, C).
    Reads and returns x, floating point. Rows stay independent: `records` is kept.
    """

    def __init__(self, sigma: float = 0.2, knots: int = 4, layout: Layout = "NCT") -> None:
        self.sigma, self.knots = deviation(sigma, self), knots_of(knots, self)
        self.layout = layout_of(layout, self)

    def setup(self, run: Run) -> None:
        """Refuse what would cut the new values off."""
        refuse_clipping(self, run)

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows, louder here and softer there."""
        x = series(batch, self, self.layout)  # (N, C, T)
        if self.sigma == 0.0:
            return batch
        curve = smooth(x.shape[:-1], x.shape[-1], self.sigma, self.knots, x)  # (N, C, T)
        return replace(batch, x=untimed(x * curve, self.layout))
