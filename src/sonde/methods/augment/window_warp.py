"""WindowWarp: a random part of a series at half or double speed.

Le Guennec, Malinowski and Tavenard, Data augmentation for time series classification using convolutional neural
networks, 2016, section 3; the default part, a tenth, is that of Iwana and Uchida, An empirical survey of data
augmentation for time series classification with neural networks, 2021. Their code interpolates twice, in the window and
over the whole; here once, at the places that both together would read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sonde.core import Batch, Method, Run, SondeError

from ._series import Layout, layout_of, read, series, untimed

# N rows, C channels, T samples in time


def window_warp(x: Tensor, start: Tensor, length: float, scale: Tensor) -> Tensor:
    """Stretch the window from start[i], `length` samples long, scale[i] times, and all of it back to the old length.

    x: (N, C..., T); start: (N,) in [0, T - 1 - length]; scale: (N,), positive; below 1 the window runs faster.
    Returns (N, C..., T), linear between samples; both ends stay.
    """
    samples = x.shape[-1]
    start, scale = start[:, None].double(), scale[:, None].double()
    longer = (scale - 1) * length  # (N, 1), samples by which the window grows
    steps = torch.linspace(0, 1, samples, device=x.device, dtype=torch.float64)  # (T,)
    at = steps * (samples - 1 + longer)  # (N, T), places in the stretched series
    inside = start + (at - start) / scale
    position = torch.where(at < start, at, torch.where(at < start + scale * length, inside, at - longer))
    return read(x, position.clamp(0, samples - 1))


class WindowWarp(Method):
    """Runs a random part of each series faster or slower, and the rest so that the length stays.

    share: of the series that is warped, in (0, 1). scales: factors by which that part may be stretched, each as likely.
    layout: "NCT" for x (N, T) or (N, C, T), "NTC" for (N, T, C).
    Reads and returns x, floating point. Rows stay independent: `records` is kept.

    >>> x = torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0]])
    >>> window_warp(x, start=torch.tensor([0]), length=2, scale=torch.tensor([2.0])).tolist()
    [[0.0, 0.75, 1.5, 2.5, 4.0]]
    """

    def __init__(self, share: float = 0.1, scales: Sequence[float] = (0.5, 2.0), layout: Layout = "NCT") -> None:
        if not 0.0 < share < 1.0:
            raise SondeError(f"WindowWarp(share={share}) is outside (0, 1)", "choose the share to warp; 0.1 is usual")
        if not scales or not all(0.0 < s < float("inf") for s in scales):
            raise SondeError(f"WindowWarp(scales={scales!r}) are no factors", "give positive numbers: scales=(0.5, 2)")
        self.share, self.scales, self.layout = float(share), tuple(scales), layout_of(layout, self)

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows, each with a part in another time."""
        x = series(batch, self, self.layout)  # (N, C, T)
        last = x.shape[-1] - 1
        length = self.share * last
        start = torch.rand(len(x), device=x.device) * (last - length)  # (N,)
        scales = torch.tensor(self.scales, device=x.device)
        scale = scales[torch.randint(0, len(scales), (len(x),), device=x.device)]  # (N,)
        return replace(batch, x=untimed(window_warp(x, start, length, scale), self.layout))
