"""Losses of predicted numbers: squared and absolute error, Huber's between them, and the quantile loss.

All read an output (N, ...) and targets y of its shape, and return the mean within each row, (N,). `Regress` shows them
targets in units of their standard deviation.

Entry: MSE.
"""

# N rows, T targets, Q quantiles

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from sonde.core import SondeError

from ._numbers import alike, wide, within_rows


@dataclass(frozen=True, slots=True)
class SquaredError:
    """Mean squared error: (output - y)^2.

    >>> SquaredError()(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 0.0]]))
    tensor([5.])
    """

    def __call__(self, output: Tensor, y: Tensor) -> Tensor:
        """(N, ...) and (N, ...) to (N,)."""
        alike(output, y, "SquaredError")
        return within_rows((wide(output) - y).pow(2))


@dataclass(frozen=True, slots=True)
class AbsoluteError:
    """Mean absolute error: |output - y|, whose minimum is the median where the squared error's is the mean."""

    def __call__(self, output: Tensor, y: Tensor) -> Tensor:
        """(N, ...) and (N, ...) to (N,)."""
        alike(output, y, "AbsoluteError")
        return within_rows((wide(output) - y).abs())


@dataclass(frozen=True, slots=True)
class Huber:
    """Squared near zero and linear beyond, so that outliers pull with bounded force (Huber, 1964).

        e^2 / 2 for |e| <= delta,   delta (|e| - delta / 2) beyond,   e = output - y

    delta: where it turns linear, in units of y.
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.delta < math.inf:
            raise SondeError(f"Huber(delta={self.delta}) has no bend", "choose delta above 0, e.g. 1")

    def __call__(self, output: Tensor, y: Tensor) -> Tensor:
        """(N, ...) and (N, ...) to (N,)."""
        alike(output, y, "Huber")
        output = wide(output)
        return within_rows(F.huber_loss(output, y.to(output.dtype), reduction="none", delta=self.delta))


@dataclass(frozen=True, slots=True)
class Quantile:
    """The pinball loss, whose minimum is a quantile of y given x (Koenker and Bassett, 1978).

        max(q e, (q - 1) e),   e = y - output

    levels: the quantiles q, each in (0, 1). With Q levels the output is (N, Q T) for T targets: those of the first
    level come first; `Regress` predicts those of the level nearest to one half.

    >>> Quantile((0.9,))(torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [1.0]]))
    tensor([0.9000, 0.1000])
    """

    levels: tuple[float, ...] = (0.5,)

    def __post_init__(self) -> None:
        if not self.levels or not all(0 < q < 1 for q in self.levels):
            raise SondeError(f"Quantile has the levels {self.levels}", "choose levels between 0 and 1, e.g. (0.1, 0.9)")

    @property
    def width(self) -> int:
        """Outputs for each target."""
        return len(self.levels)

    @property
    def point(self) -> int:
        """Which of them is the prediction."""
        return min(range(self.width), key=lambda i: abs(self.levels[i] - 0.5))

    def __call__(self, output: Tensor, y: Tensor) -> Tensor:
        """(N, Q T) and (N, T) to (N,)."""
        blocks = wide(output).unflatten(1, (self.width, -1))  # (N, Q, T)
        alike(blocks[:, 0], y, "Quantile")
        e = y[:, None] - blocks
        q = e.new_tensor(self.levels)[:, None]  # (Q, 1)
        return within_rows(torch.maximum(q * e, (q - 1) * e))
