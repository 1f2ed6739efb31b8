"""Permutation: cut a series into pieces and put them together in another order.

Um et al., Data augmentation of wearable sensor data for Parkinson's disease monitoring using convolutional neural
networks, 2017, section 3, with pieces of equal length.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from sonde.core import Batch, Method, Run, SondeError

from ._series import Layout, layout_of, series, untimed

# N rows, C channels, T samples in time, S pieces


def permute(x: Tensor, place: Tensor) -> Tensor:
    """Move piece s of row i to place[i, s].

    x: (N, C..., T), cut into S pieces of equal length, or of lengths that differ by one; place: (N, S) int64, a
    permutation in each row. Returns (N, C..., T), samples copied.
    """
    samples, pieces = x.shape[-1], place.shape[1]
    t = torch.arange(samples, device=x.device)
    piece = t * pieces // samples  # (T,), which piece a sample lies in
    order = (place[:, piece] * samples + t).argsort(dim=1)  # (N, T)
    return x.gather(-1, order.view(len(x), *[1] * (x.ndim - 2), samples).expand_as(x))


class Permutation(Method):
    """Cuts each series into pieces and puts them together in a random order.

    For series whose answer does not hang on what comes first: a heart's rhythm, a gait.

    pieces: how many, at least 1, of equal length.
    layout: "NCT" for x (N, T) or (N, C, T), "NTC" for (N, T, C).
    Reads and returns x, floating point. Rows stay independent: `records` is kept.

    >>> permute(torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]), torch.tensor([[2, 0, 1]])).tolist()
    [[3.0, 4.0, 5.0, 6.0, 1.0, 2.0]]
    """

    def __init__(self, pieces: int = 4, layout: Layout = "NCT") -> None:
        if pieces < 1:
            raise SondeError(f"Permutation(pieces={pieces}) cuts nothing", "choose 2 pieces or more; 4 is usual")
        self.pieces, self.layout = pieces, layout_of(layout, self)

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows, their pieces in another order."""
        x = series(batch, self, self.layout, least=self.pieces)  # (N, C, T)
        place = torch.rand(len(x), self.pieces, device=x.device).argsort(dim=1)  # (N, S)
        return replace(batch, x=untimed(permute(x, place), self.layout))
