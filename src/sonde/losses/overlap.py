"""Losses of overlap: how much of what was marked is what should have been marked, however little that is.

Where one pixel in a thousand matters, a cross-entropy is nearly content with none; an overlap is not.

Entry: Dice loss; segmentation.
"""

# N rows

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from sonde.core import SondeError

from ._numbers import alike, row_sum, sigmoid, wide

Over = Literal["row", "batch"]


@dataclass(frozen=True, slots=True)
class Dice:
    """One less the Dice coefficient of prediction and truth (Dice, 1945; Milletari, Navab and Ahmadi, 2016, sec. 3).

        1 - (2 sum p y + smooth) / (sum p + sum y + smooth),   p = sigmoid(z)

    The denominator has p and y where Milletari et al. have their squares. smooth: makes nothing of nothing perfect.
    over: `row`, the overlap of each row, which is `example`; or `batch`, of all rows at once, which is a `batch` term
    and does not weigh a row with little to find as much as one with a lot.

    >>> import torch
    >>> Dice(smooth=0.0)(torch.tensor([[50.0, 50.0, -50.0]]), torch.tensor([[1.0, 0.0, 0.0]]))  # 1 - 2 / 3
    tensor([0.3333])
    """

    smooth: float = 1.0
    over: Over = "row"

    def __post_init__(self) -> None:
        _check(self.smooth, self.over, "Dice")

    @property
    def kind(self) -> str:
        """What its term depends on."""
        return KIND[self.over]

    def __call__(self, output: Tensor, y: Tensor) -> Tensor:
        """Logits (N, ...) and marks (N, ...) in [0, 1] to (N,), or to a scalar over the batch."""
        alike(output, y, "Dice")
        return _lack(output, y, 0.5, 0.5, 0.5 * self.smooth, self.over)


@dataclass(frozen=True, slots=True)
class Tversky:
    """Dice with a price of its own for each kind of error (Salehi, Erdogmus and Gholipour, 2017, eq. 3 and 4).

        1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth)
        TP = sum p y,   FP = sum p (1 - y),   FN = sum (1 - p) y,   p = sigmoid(z)

    alpha, beta: the price of what was marked wrongly and of what was missed; 1/2 and 1/2 is Dice (of twice the smooth),
    1 and 1 the Jaccard index. smooth, over: as of `Dice`.
    """

    alpha: float = 0.3
    beta: float = 0.7
    smooth: float = 1.0
    over: Over = "row"

    def __post_init__(self) -> None:
        _check(self.smooth, self.over, "Tversky")
        if not (0 <= self.alpha < math.inf and 0 <= self.beta < math.inf):
            raise SondeError(
                f"Tversky(alpha={self.alpha}, beta={self.beta}) rewards errors", "choose 0 or more for both"
            )

    @property
    def kind(self) -> str:
        """What its term depends on."""
        return KIND[self.over]

    def __call__(self, output: Tensor, y: Tensor) -> Tensor:
        """Logits (N, ...) and marks (N, ...) in [0, 1] to (N,), or to a scalar over the batch."""
        alike(output, y, "Tversky")
        return _lack(output, y, self.alpha, self.beta, self.smooth, self.over)


KIND = {"row": "example", "batch": "batch"}


def _lack(output: Tensor, y: Tensor, alpha: float, beta: float, smooth: float, over: Over) -> Tensor:
    p = sigmoid(wide(output))
    y = y.to(p.dtype)
    hit, false, missed = (
        row_sum(t) if over == "row" else t.sum() for t in (p * y, p * (1 - y), (1 - p) * y)
    )  # (N,) or ()
    whole = hit + alpha * false + beta * missed + smooth
    return (alpha * false + beta * missed) / whole  # 1 - (hit + smooth) / whole, without its rounding


def _check(smooth: float, over: str, loss: str) -> None:
    if not 0 <= smooth < math.inf:
        raise SondeError(f"{loss}(smooth={smooth}) is negative", "choose smooth of 0 or more; 1 is usual")
    if over not in KIND:
        raise SondeError(f"{loss}(over={over!r}) is neither", "choose over='row' or over='batch'")
