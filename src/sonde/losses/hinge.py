"""Losses with a margin: what is right by enough costs nothing.

Entry: support vector machine.
"""

# N rows, C classes, L labels

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sonde.core import SondeError

from ._numbers import alike, of_class, wide, within_rows


@dataclass(frozen=True, slots=True)
class Hinge:
    """The multiclass hinge loss: by how much the best wrong class comes too near (Crammer and Singer, 2001, eq. 3).

        max(0, margin + max_{c != y} z_c - z_y)

    margin: how far ahead the right class should be, in units of the scores z. Scores learned so are no
    log-probabilities: classes are predicted well, probabilities are not.

    >>> Hinge()(torch.tensor([[2.0, 1.5, 0.0]]), torch.tensor([0]))
    tensor([0.5000])
    """

    margin: float = 1.0

    def __post_init__(self) -> None:
        _check(self.margin, "Hinge")

    def __call__(self, output: Tensor, y: Tensor) -> Tensor:
        """Scores (N, C), and classes (N,) or shares (N, C), to (N,)."""
        if output.shape[1] < 2:
            raise SondeError("Hinge compares classes, and there is one", "choose BinaryHinge for yes or no")
        z = wide(output)
        top, best = z.topk(2, dim=1)  # (N, 2)
        own = torch.arange(z.shape[1], device=z.device) == best[:, :1]  # (N, C), whether c is the best
        rival = torch.where(own, top[:, 1:], top[:, :1])  # (N, C), the best of the others
        return of_class((self.margin + rival - z).clamp_min(0), y)


@dataclass(frozen=True, slots=True)
class BinaryHinge:
    """The hinge loss of several labels, averaged: max(0, margin - z) for one that is there, max(0, margin + z) else.

    margin: how far from 0 the score should be, in units of the scores z (Cortes and Vapnik, 1995).
    """

    margin: float = 1.0

    def __post_init__(self) -> None:
        _check(self.margin, "BinaryHinge")

    def __call__(self, output: Tensor, y: Tensor) -> Tensor:
        """Scores (N, L) and labels (N, L) in [0, 1] to (N,)."""
        alike(output, y, "BinaryHinge")
        z = wide(output)
        return within_rows(y * (self.margin - z).clamp_min(0) + (1 - y) * (self.margin + z).clamp_min(0))


def _check(margin: float, loss: str) -> None:
    if not 0 < margin < math.inf:
        raise SondeError(f"{loss}(margin={margin}) separates nothing", "choose a margin above 0; 1 is usual")
