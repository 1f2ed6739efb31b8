"""Where an attack may go: near each row, within the bounds of its inputs.

Entry: adversarial examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

# N rows, F numeric columns; "..." is whatever shape a row has

Norm = Literal["linf", "l2"]


@dataclass(frozen=True, slots=True)
class Range:
    """What one unit of a radius is, and where inputs must stay: numbers, or (F,) tensors, one a column."""

    unit: Tensor | float
    low: Tensor | float
    high: Tensor | float


class Ball:
    """All inputs near the rows: { v : ||(v - centre) / unit|| <= radius, low <= v <= high }, a ball for each row.

    centre: (N, ...); what is not finite (a table's missing number) stays as it is, and a number outside the bounds (a
    table's row of a later stage) may stay where it is.
    """

    def __init__(self, centre: Tensor, radius: float, norm: Norm, allowed: Range) -> None:
        self.centre, self.radius, self.norm, self.unit = centre, radius, norm, allowed.unit
        low, high = centre.clamp(max=allowed.low), centre.clamp(min=allowed.high)
        if norm == "linf":
            reach = radius * allowed.unit
            low, high = torch.maximum(low, centre - reach), torch.minimum(high, centre + reach)
        self.low, self.high = low, high  # (N, ...) each
        self.free: Tensor | None = None  # of a table: which numbers can move, (N, F)
        if isinstance(allowed.unit, Tensor):
            self.free = centre.isfinite() & (allowed.unit > 0)
            self.low, self.high = (torch.where(self.free, edge, centre) for edge in (low, high))

    def start(self, bounded: bool = True) -> Tensor:
        """A point of each row's ball, drawn uniformly and then, if `bounded`, brought within the bounds: (N, ...)."""
        x = self.centre
        if self.norm == "linf":
            drawn = x + self._free(self.radius * self.unit * (2 * torch.rand_like(x) - 1))
            return self.project(drawn) if bounded else drawn
        offset = self._free(torch.randn_like(x))
        dimension = (offset != 0).flatten(1).sum(1).clamp_min(1)  # (N,)
        share = torch.rand(len(x), device=x.device, dtype=x.dtype) ** (1 / dimension)  # a ball's volume grows as r^d
        return self.project(x + self.unit * self.radius * spread(share, x) * unit_length(offset))

    def step(self, v: Tensor, gradient: Tensor, length: float) -> Tensor:
        """From v, `length` units along the steepest ascent in this norm, and back into the ball. v is overwritten."""
        if self.norm == "linf":
            direction = gradient.sign_()
        else:
            direction = unit_length(self._free(gradient * self.unit))  # the gradient with respect to v / unit
        if self.free is not None:
            direction = direction * self.unit
        return self.project(v.add_(direction, alpha=length))

    def project(self, v: Tensor) -> Tensor:
        """The point of the ball that v (N, ...) is brought to; v is overwritten."""
        if self.norm == "l2":
            x = self.centre
            offset = self._free((v - x) / self.unit)
            length = offset.flatten(1).norm(dim=1)  # (N,)
            shrink = (self.radius / length.clamp_min(torch.finfo(x.dtype).tiny)).clamp_max(1.0)
            v = x + self.unit * offset * spread(shrink, x)
        # The centre is within low and high, so each number moves towards it: v stays in the ball.
        return v.clamp_(self.low, self.high)

    def _free(self, offset: Tensor) -> Tensor:
        return offset if self.free is None else torch.where(self.free, offset, 0.0)


def spread(per_row: Tensor, like: Tensor) -> Tensor:
    """A number a row, (N,), in the shape that multiplies rows (N, ...)."""
    return per_row.view(-1, *[1] * (like.dim() - 1))


def unit_length(offset: Tensor) -> Tensor:
    """Each row scaled to length 1; a row of zeros stays zero."""
    length = offset.flatten(1).norm(dim=1).clamp_min(torch.finfo(offset.dtype).tiny)
    return offset / spread(length, offset)
