"""The gradients of a batch, record by record."""

# N rows, R records, K rows a record

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sonde.core.method import Grads, Params

from .uses import Use


@dataclass(frozen=True, slots=True)
class Together:
    """Which rows belong to one record.

    ids: (R,) int64, the records; None when row i is record i. of_row: (N,), the position in `ids` of each row's record.
    k: the most rows that a record has. order: (R k,) rows by record, -1 where a record has fewer; None: as they are.
    """

    records: int
    k: int
    ids: Tensor | None = None
    of_row: Tensor | None = None
    order: Tensor | None = None

    @staticmethod
    def of(records: Tensor) -> Together:
        """From each row's record id, (N,)."""
        ids, of_row, counts = records.unique(return_inverse=True, return_counts=True)
        n, k = len(records), int(counts.max()) if len(ids) else 1
        if len(ids) == n:
            return Together(n, 1, records, torch.arange(n, device=records.device))
        place = of_row.argsort(stable=True)  # rows, record after record
        first = counts.cumsum(0) - counts
        slot = torch.arange(n, device=records.device) - first.repeat_interleave(counts)
        order = records.new_full((len(ids), k), -1)
        order[of_row[place], slot] = place
        return Together(len(ids), k, ids, of_row, order.flatten())

    def gather(self, t: Tensor) -> Tensor:
        """(N, ...) -> (R k, ...), with zeros where a record has fewer rows."""
        if self.order is None:
            return t
        picked = t[self.order.clamp_min(0)]
        missing = self.order < 0
        return picked.masked_fill(missing.view(-1, *[1] * (t.dim() - 1)), 0) if t.is_floating_point() else picked

    def rows(self, weights: Tensor) -> Tensor:
        """(R,) weights of records -> (N,) weights of rows."""
        return weights if self.of_row is None else weights[self.of_row]


def one_each(n: int) -> Together:
    """Every row a record of its own."""
    return Together(n, 1)


class PerRecord:
    """The gradients of R records with respect to named parameters. A parameter that no record reaches has no entry.

    params: the parameters. uses: by parameter. together: which rows are which record's.
    """

    def __init__(self, params: Params, uses: Mapping[str, Use], together: Together) -> None:
        self.params, self.uses, self.together, self.records = params, dict(uses), together, together.records

    @property
    def ids(self) -> Tensor | None:
        """(R,) int64: whose gradient each is; None when row i is record i."""
        return self.together.ids

    @cached_property
    def squared_norms(self) -> dict[str, Tensor]:
        """The squared length of each record's gradient, by parameter, (R,) each."""
        return {k: use.squared_norms() for k, use in self.uses.items()}

    @cached_property
    def norms(self) -> Tensor:
        """The length of each record's gradient over all parameters, (R,)."""
        if not self.uses:
            return torch.zeros(self.records)
        return torch.stack(list(self.squared_norms.values())).sum(0).clamp_min_(0).sqrt_()

    def add(self, weights: Tensor | Mapping[str, Tensor], out: Grads) -> None:
        """out += sum_r weights[r] gradient[r], in place. weights: (R,), or (R,) by parameter."""
        for k, use in self.uses.items():
            w = weights[k] if isinstance(weights, Mapping) else weights
            use.add(w.to(out[k].dtype), out[k])

    def give(self, name: str, weights: Tensor | Mapping[str, Tensor], out: Tensor) -> None:
        """What `add` does for one parameter, whose use is then forgotten, with what it held."""
        use = self.uses.pop(name, None)
        if use is not None:
            w = weights[name] if isinstance(weights, Mapping) else weights
            use.add(w.to(out.dtype), out)

    def weighted(self, weights: Tensor | Mapping[str, Tensor]) -> Grads:
        """sum_r weights[r] gradient[r]. weights: (R,), or (R,) by parameter."""
        out = {k: torch.zeros_like(self.params[k], memory_format=torch.contiguous_format) for k in self.uses}
        self.add(weights, out)
        return out

    def squares(self) -> Grads:
        """sum_r gradient[r]^2, elementwise: R times the diagonal of the empirical Fisher information."""
        return {k: use.squares() for k, use in self.uses.items()}

    def each(self, start: int = 0, stop: int | None = None) -> Grads:
        """The gradients themselves, (stop - start, *shape) each, of records `start` to `stop`."""
        stop = self.records if stop is None else stop
        return {k: use.each(start, stop) for k, use in self.uses.items()}
