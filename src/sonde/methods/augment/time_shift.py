"""TimeShift: let a sound begin earlier or later."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from sonde.core import Batch, Method, Run, SondeError

from ._images import fraction
from ._series import Layout, layout_of, series, untimed

# N rows, C channels, T samples in time

Fill = Literal["silence", "wrap"]


def time_shift(x: Tensor, offset: Tensor, fill: Fill = "silence") -> Tensor:
    """Row i, offset[i] samples later (earlier if negative).

    x: (N, C..., T); offset: (N,) int64 in (-T, T). fill: what comes in: zeros, or what went out at the other end.
    Returns (N, C..., T), samples copied.
    """
    samples = x.shape[-1]
    source = torch.arange(samples, device=x.device) - offset[:, None]  # (N, T)
    shape = (len(x), *[1] * (x.ndim - 2), samples)
    moved = x.gather(-1, source.remainder(samples).view(shape).expand_as(x))
    if fill == "wrap":
        return moved
    return torch.where(((source >= 0) & (source < samples)).view(shape), moved, torch.zeros_like(moved))


class TimeShift(Method):
    """Moves each sound, or series, by a random time, earlier or later.

    most: largest shift as a fraction of the length, in [0, 1], rounded down to whole samples.
    fill: "silence" puts zeros where nothing is left; "wrap" what went out at the other end.
    layout: "NCT" for x (N, T) or (N, C, T), "NTC" for (N, T, C).
    Reads and returns x, floating point. Rows stay independent: `records` is kept.

    >>> time_shift(torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]), torch.tensor([1, -2])).tolist()
    [[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]]
    """

    def __init__(self, most: float = 0.1, fill: Fill = "silence", layout: Layout = "NCT") -> None:
        if fill not in ("silence", "wrap"):
            raise SondeError(f"TimeShift(fill={fill!r}) is not known", "choose fill='silence' or fill='wrap'")
        self.most, self.fill, self.layout = fraction(most, "most"), fill, layout_of(layout, self)

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows, moved in time."""
        x = series(batch, self, self.layout, least=1)
        reach = min(int(self.most * x.shape[-1] + 1e-6), x.shape[-1] - 1)  # 1e-6: 0.29 * 100 is 28.999...
        offset = torch.randint(-reach, reach + 1, (len(x),), device=x.device)  # (N,)
        return replace(batch, x=untimed(time_shift(x, offset, self.fill), self.layout))
