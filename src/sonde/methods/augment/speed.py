"""Speed: play a sound faster or slower, pitch and all.

Ko, Peddinti, Povey and Khudanpur, Audio augmentation for speech recognition, 2015, section 2.2: x(t) becomes
x(alpha t), alpha 0.9, 1 or 1.1. There the length changes; here it stays, the end cut off or filled with silence, since
rows of a batch are of one length. Between samples the sound is read linearly, without a filter: what lies near the
highest frequency is softened a little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sonde.core import Batch, Method, Run, SondeError

from ._series import Layout, layout_of, read, series, untimed

# N rows, C channels, T samples in time


def speed(x: Tensor, factor: Tensor) -> Tensor:
    """Row i played factor[i] times as fast: x_i(factor[i] t), silence after its end.

    x: (N, C..., T); factor: (N,), positive. Returns (N, C..., T), linear between samples.
    """
    last = x.shape[-1] - 1
    at = torch.arange(last + 1, device=x.device, dtype=torch.float64) * factor[:, None]  # (N, T)
    over = (at > last).view(len(x), *[1] * (x.ndim - 2), last + 1)
    return read(x, at.clamp_max(last)).masked_fill(over, 0.0)


class Speed(Method):
    """Plays each sound faster or slower, which moves its pitch too.

    factors: how many times as fast, each as likely.
    layout: "NCT" for x (N, T) or (N, C, T), "NTC" for (N, T, C).
    Reads and returns x, floating point, around 0 as sounds are. Rows stay independent: `records` is kept.

    >>> speed(torch.tensor([[0.0, 1.0, 2.0, 3.0]]), torch.tensor([2.0])).tolist()
    [[0.0, 2.0, 0.0, 0.0]]
    """

    def __init__(self, factors: Sequence[float] = (0.9, 1.0, 1.1), layout: Layout = "NCT") -> None:
        if not factors or not all(0.0 < f < float("inf") for f in factors):
            raise SondeError(f"Speed(factors={factors!r}) are no factors", "give positive numbers: factors=(0.9, 1.1)")
        self.factors, self.layout = tuple(factors), layout_of(layout, self)

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows, faster or slower."""
        x = series(batch, self, self.layout)
        factors = torch.tensor(self.factors, device=x.device, dtype=torch.float64)
        factor = factors[torch.randint(0, len(factors), (len(x),), device=x.device)]  # (N,)
        return replace(batch, x=untimed(speed(x, factor), self.layout))
