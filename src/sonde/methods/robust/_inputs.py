"""The numbers of a row that may be moved, in which unit, and between which bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from sonde.attacks import Range
from sonde.core import Batch, Method, Run, SondeError

# N rows, F numeric columns; "..." is whatever shape a row has

ROWS = 100_000  # enough for three digits of a standard deviation; a larger table need not be read whole


class _Moves(Method):
    """What the methods that move inputs share: finding the numbers, their unit and their bounds.

    bounds: of a tensor x, whose unit is its own. An input outside them, or NaN, is an error that names the record.
    scale: of a table, one unit for each numeric column. () measures the columns' standard deviations on the training
        rows before the first step, and bounds each column by the range it has there; that read is announced, so
        private training refuses it. Given units read nothing, and leave the columns unbounded.
    """

    def __init__(self, bounds: tuple[float, float], scale: Sequence[float]) -> None:
        low, high = bounds
        if not low < high:
            raise SondeError(
                f"bounds={tuple(bounds)} leave no room", "give the lowest and the highest value of an input"
            )
        if not all(0 <= s < float("inf") for s in scale):
            raise SondeError(f"scale={tuple(scale)} holds no units", "give one number >= 0 for each numeric column")
        self.bounds, self.scale = (float(low), float(high)), tuple(map(float, scale))
        self.units: dict[str, Tensor] = {}  # of a table: std, low and high of each numeric column, (F,)

    def range(self, run: Run, batch: Batch) -> Range:
        """Unit and bounds of the batch's numbers, which are checked against them."""
        v = numbers(batch.x, self)
        if isinstance(batch.x, Tensor):
            if self.scale:
                raise SondeError("scale gives units to the columns of a table, but x is one tensor", "leave scale out")
            low, high = self.bounds
            check_bounds(v, low, high, batch, self)
            return Range(1.0, low, high)
        if self.scale:
            if len(self.scale) != v.shape[1]:
                raise SondeError(
                    f"scale has {len(self.scale)} units, but the table {v.shape[1]} numeric columns",
                    "give one unit for each numeric column, in their order",
                )
            return Range(torch.tensor(self.scale, dtype=v.dtype, device=v.device), -torch.inf, torch.inf)
        if not self.units:
            self.units = self._measured(run)
        std, low_, high_ = (self.units[k].to(v) for k in ("std", "low", "high"))
        return Range(std, low_, high_)

    def _measured(self, run: Run) -> dict[str, Tensor]:
        if run.source is None:
            raise SondeError(f"{type(self).__name__} has no training rows to measure", "give it scale=(...)")
        seen: list[Tensor] = []
        for batch in islice(run.read(run.source, self), run.source.steps_per_epoch):
            seen.append(numbers(batch.x, self).double())
            if sum(map(len, seen)) >= ROWS:
                break
        v = torch.cat(seen)  # (N, F)
        known = v.isfinite()
        count = known.sum(0).clamp_min(1)
        mean = torch.where(known, v, 0.0).sum(0) / count
        std = (torch.where(known, v - mean, 0.0).square().sum(0) / count).sqrt()
        low = torch.where(known, v, torch.inf).amin(0)
        high = torch.where(known, v, -torch.inf).amax(0)
        return {"std": std, "low": low, "high": high}

    def state_dict(self) -> dict[str, Any]:
        """Units and bounds of a table's columns."""
        return {"units": dict(self.units)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.units = dict(state["units"])


def numbers(x: Any, method: Method) -> Tensor:
    """What may be moved: x itself, or the numeric columns of a table; a SondeError where there are none."""
    name = type(method).__name__
    v = x.get("numeric") if isinstance(x, Mapping) else x
    if isinstance(v, Tensor) and v.is_floating_point() and v.dim() > 1 and v[:1].numel():
        return v
    if isinstance(x, Mapping):
        given = "a table without numeric columns" if "numeric" in x or "categorical" in x else "made of several parts"
    else:
        given = f"a {x.dtype} tensor of shape {tuple(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
    raise SondeError(
        f"{name} moves numbers by small amounts, but x is {given}",
        f"remove {name} from the methods: categories and codes have no small changes",
    )


def with_numbers(x: Any, v: Tensor) -> Any:
    """x with its numbers replaced."""
    return v if isinstance(x, Tensor) else {**x, "numeric": v}


def check_bounds(x: Tensor, low: float, high: float, batch: Batch, method: Method) -> None:
    """A SondeError that names the first record outside [low, high]."""
    if not x.numel():
        return
    least, most = torch.stack(x.aminmax()).tolist()  # one pass, one wait; NaN if any is
    if low <= least and most <= high:
        return
    outside = ~((x >= low) & (x <= high)).flatten(1).all(1)
    i = int(outside.nonzero()[0])
    row = f"row {i} of the batch" if batch.records is None else f"record {int(batch.records[i])}"
    worst = x[i].flatten()
    value = float(worst[~((worst >= low) & (worst <= high))][0])
    raise SondeError(
        f"{type(method).__name__} expects inputs in [{low:g}, {high:g}], but {row} holds {value:g}",
        "scale the inputs to those bounds, or give the true ones: bounds=(low, high)",
    )
