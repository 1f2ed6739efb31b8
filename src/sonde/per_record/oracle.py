"""Gradients record by record without rules: `vmap` over a loss of one row, or one row after the other.

Slow, and right for whatever can be evaluated on a batch of one row: the fallback for unknown layers, and what the rules
are tested against.
"""

# N rows

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad, vmap

from sonde.core.batch import Batch
from sonde.core.method import Params

from .records import PerRecord, Together, one_each
from .uses import CHUNK, Small

Evaluate = Callable[[Params, Batch], Tensor]
"""(parameters, batch) -> one loss a row, (N,)."""


def by_vmap(evaluate: Evaluate, params: Params, batch: Batch, records: Tensor | None = None) -> PerRecord:
    """One gradient a row by `vmap` over the loss of a batch of one row, then added up by record."""
    fixed = {k: p.detach() for k, p in params.items()}

    def of_one(p: Params, row: dict[str, Tensor]) -> Tensor:
        return evaluate(p, Batch.of({k: v[None] for k, v in row.items()})).sum()

    size = max(1, 16 * CHUNK // max(1, sum(p.numel() for p in params.values())))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")  # and still faster than row by row
        each = vmap(grad(of_one), in_dims=(None, 0), randomness="different", chunk_size=size)(fixed, batch.rows())
    return _added(params, each, records, len(batch))


def one_at_a_time(evaluate: Evaluate, params: Params, batch: Batch, records: Tensor | None = None) -> PerRecord:
    """One backward pass a row, then added up by record."""
    each: dict[str, list[Tensor]] = {k: [] for k in params}
    for i in range(len(batch)):
        value = evaluate(params, batch[i : i + 1]).sum()
        found = torch.autograd.grad(value, list(params.values()), allow_unused=True) if value.requires_grad else ()
        for (k, p), g in zip(params.items(), found or [None] * len(params), strict=True):
            each[k].append(torch.zeros_like(p) if g is None else g)
    return _added(params, {k: torch.stack(g) for k, g in each.items()}, records, len(batch))


def _added(params: Params, each: dict[str, Tensor], records: Tensor | None, n: int) -> PerRecord:
    together = one_each(n) if records is None else Together.of(records)
    if together.order is not None and together.of_row is not None:
        of_row, r = together.of_row, together.records
        each = {k: g.new_zeros(r, *g.shape[1:]).index_add_(0, of_row, g) for k, g in each.items()}
    return PerRecord(params, {k: Small(g) for k, g in each.items()}, together)
