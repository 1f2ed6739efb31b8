"""WindowSlice: keep a random part of a series and stretch it to the old length.

Le Guennec, Malinowski and Tavenard, Data augmentation for time series classification using convolutional neural
networks, 2016, section 3. There the slices stay short and vote when the model is used; here each is stretched linearly,
as Iwana and Uchida do (An empirical survey of data augmentation for time series classification with neural networks,
2021), so that the model reads whole series at both times. The default share is theirs.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from sonde.core import Batch, Method, Run, SondeError

from ._series import Layout, layout_of, read, series, untimed

# N rows, C channels, T samples in time


def window_slice(x: Tensor, start: Tensor, length: int) -> Tensor:
    """Samples start[i] to start[i] + length - 1 of row i, stretched to the old length.

    x: (N, C..., T); start: (N,) int64 in [0, T - length]. Returns (N, C..., T), linear between samples.
    """
    steps = torch.linspace(0, length - 1, x.shape[-1], device=x.device, dtype=torch.float64)  # (T,)
    return read(x, start[:, None] + steps)


class WindowSlice(Method):
    """Keeps a random part of each series, stretched to the old length.

    share: of the series that is kept, in (0, 1]; rounded up to whole samples, two at least.
    layout: "NCT" for x (N, T) or (N, C, T), "NTC" for (N, T, C).
    Reads and returns x, floating point. Rows stay independent: `records` is kept.

    >>> window_slice(torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0]]), start=torch.tensor([2]), length=3).tolist()
    [[2.0, 2.5, 3.0, 3.5, 4.0]]
    """

    def __init__(self, share: float = 0.9, layout: Layout = "NCT") -> None:
        if not 0.0 < share <= 1.0:
            raise SondeError(f"WindowSlice(share={share}) is outside (0, 1]", "choose the share to keep; 0.9 is usual")
        self.share, self.layout = float(share), layout_of(layout, self)

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows, each a part of itself."""
        x = series(batch, self, self.layout)  # (N, C, T)
        samples = x.shape[-1]
        length = max(2, math.ceil(self.share * samples - 1e-6))  # 1e-6: 0.7 * 10 is 7.000000000000001 in some orders
        if length == samples:
            return batch
        start = torch.randint(0, samples - length + 1, (len(x),), device=x.device)
        return replace(batch, x=untimed(window_slice(x, start, length), self.layout))
