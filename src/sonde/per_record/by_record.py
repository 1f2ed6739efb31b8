"""Gradients record by record, by the cheapest way that is right."""

# N rows, R records

from __future__ import annotations

import warnings
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from sonde.core.batch import Batch
from sonde.core.method import Params

from .oracle import Evaluate, by_vmap, one_at_a_time
from .records import PerRecord
from .tape import Unknown, capture


class ByRecord:
    """Gradients of a loss record by record.

    The layers' own algebra is tried first. What it gives is not believed: on the first batch, and on the first after
    the calls of layers change, it is compared with autograd on the same graph, under weights drawn at random (so that a
    gradient given to the wrong record shows) and for one record by itself. Where a layer is not understood, or the
    comparison fails, or a row's loss changes with other rows, `vmap` over a loss of one row is used from then on, and
    where even that fails, one row after the other; a warning says why.

    way: `layers`, `vmap` or `rows`. reason: why it is not `layers`.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module, self.way, self.reason = module, "layers", ""
        self._checked: set[tuple[str, ...]] = set()

    def __call__(self, evaluate: Evaluate, params: Params, batch: Batch, records: Tensor | None = None) -> PerRecord:
        """The gradients of `evaluate(params, batch)` (N,) by record.

        evaluate: calls the module at the given parameters; row i of its result depends on row i alone. It is called
        once with `params` themselves and the whole batch, and more often where one row is evaluated by itself.
        records: (N,) int64, whose rows are added up; None: every row is a record.
        """
        if self.way == "layers":
            with capture(self.module, params) as tape:
                values = evaluate(params, batch)
            calls = tuple(call.name for call in tape.calls)
            check = calls not in self._checked
            try:
                per = tape.per_record(values, records, again=check)
                if check and len(batch) > 1:
                    self._check(values, params, per, tape.coarse)
                    self._check_rows(evaluate, params, batch, tape.coarse)
                    self._checked.add(calls)
                return per
            except Unknown as unknown:
                self._fall_back("vmap", str(unknown))
        else:
            evaluate(params, batch)
        if self.way == "vmap":
            try:
                return by_vmap(evaluate, params, batch, records)
            except RuntimeError as error:
                self._fall_back("rows", str(error).strip().splitlines()[0])
        return one_at_a_time(evaluate, params, batch, records)

    def _fall_back(self, way: str, reason: str) -> None:
        self.way, self.reason = way, reason
        slow = {"vmap": "the loss of each row is differentiated by vmap", "rows": "rows are differentiated one by one"}
        warnings.warn(f"{reason}; {slow[way]}, which is slower", stacklevel=4)

    def _check(self, values: Tensor, params: Params, per: PerRecord, coarse: bool) -> None:
        """Compare with autograd, on the same graph, so with the same dropout; raises Unknown where they differ."""
        if not values.requires_grad or not per.records:
            return
        generator = torch.Generator().manual_seed(0)
        weights = (0.5 + torch.rand(per.records, generator=generator)).to(values.device)
        one = torch.zeros_like(weights)
        one[0] = 1.0
        tolerance = 5e-2 if coarse else 1e-3
        for w in (weights, one):
            seed = per.together.rows(w).to(values.dtype)
            found = torch.autograd.grad(values, list(params.values()), seed, retain_graph=True, allow_unused=True)
            true = {k: g for k, g in zip(params, found, strict=True) if g is not None}
            ours = per.weighted(w)
            length = _length(true.values())
            for k, g in true.items():
                off = g.norm() if k not in ours else (g - ours[k].to(g.dtype)).norm()
                if off > tolerance * (g.norm() + 0.1 * length) + 1e-12:
                    raise Unknown(f"the layers' own algebra does not give the gradient of {k}")
        if (per.norms[0] - length).abs() > tolerance * length + 1e-12:
            raise Unknown("the layers' own algebra does not give the length of a record's gradient")

    def _check_rows(self, evaluate: Evaluate, params: Params, batch: Batch, coarse: bool) -> None:
        """With every other row replaced, the first row's loss must stay; raises Unknown where it does not."""
        fixed = {k: p.detach() for k, p in params.items()}
        first = next(iter(params.values()))
        found = []
        for rows in (batch, batch[torch.zeros(len(batch), dtype=torch.int64, device=first.device)]):
            with torch.random.fork_rng([first.device] if first.is_cuda else []):  # both draw the same dropout
                found.append(evaluate(fixed, rows)[0].detach())
        if (found[0] - found[1]).abs() > (5e-2 if coarse else 1e-3) * (found[0].abs() + 1e-3):
            raise Unknown("the rows of a batch change each other's loss")


def _length(tensors: Iterable[Tensor]) -> Tensor:
    found = [g.detach().float().norm() for g in tensors]
    return torch.stack(found).norm() if found else torch.zeros(())
