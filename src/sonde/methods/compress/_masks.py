"""Which weights are kept, and how the others are held at zero."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, get_args

import torch
from torch import Tensor

from sonde.core import Grads, Method, Params, Refused, Run
from sonde.core.method import defines

from ..regularise.early_stopping import EarlyStopping

# P weights

Scope = Literal["global", "layer"]
Masks = dict[str, Tensor]
"""Name of a matrix or kernel -> True where its weight is kept."""


def check_scope(scope: str) -> None:
    """Refuse a scope that there is not."""
    if scope not in get_args(Scope):
        raise ValueError(f"scope is one of {', '.join(get_args(Scope))}; got {scope!r}")


def trained(run: Run) -> Params:
    """The parameters of all players that are shipped."""
    shipped = run.objective.state_dict().keys()
    return {k: p for turn in run.objective.players() for k, p in run.params(turn).items() if k in shipped}


def prunable(run: Run) -> Params:
    """The matrices and kernels among them; a bias or a norm's scale costs nothing to keep."""
    return {k: p for k, p in trained(run).items() if p.dim() > 1}


def smallest_out(params: Mapping[str, Tensor], sparsity: float, scope: str) -> Masks:
    """Masks without the smallest weights by magnitude: a share `sparsity` of all (`global`), or of each (`layer`)."""
    sizes = {k: p.detach().abs().flatten() for k, p in params.items()}
    if scope == "layer":
        return {k: largest(a, round(sparsity * a.numel())).view_as(params[k]) for k, a in sizes.items()}
    together = torch.cat(list(sizes.values()))
    keep = largest(together, round(sparsity * together.numel())).split([a.numel() for a in sizes.values()])
    return {k: m.view_as(params[k]).clone() for (k, _), m in zip(sizes.items(), keep, strict=True)}


def largest(sizes: Tensor, out: int) -> Tensor:
    """(P,) -> (P,) bool: True but for exactly the `out` smallest; of equal ones the first are out."""
    if out == 0:
        return torch.ones_like(sizes, dtype=torch.bool)
    edge = sizes.kthvalue(out).values
    keep = sizes > edge
    equal = (sizes == edge).nonzero().flatten()
    keep[equal[out - int((sizes < edge).sum()) :]] = True
    return keep


def zeroed(masks: Masks, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by name with zeros where a mask says so."""
    return {k: torch.where(masks[k], v, 0) if k in masks else v for k, v in tensors.items()}


def hold(masks: Masks, params: Params) -> None:
    """Set what is masked out of the parameters to zero, in place."""
    for k, p in params.items():
        if k in masks:
            p.masked_fill_(~masks[k], 0)


def masked_gradient(masks: Masks, grads: Grads) -> Grads:
    """The gradient without what is pruned, so that no momentum and no probe (SAM) moves it."""
    return zeroed(masks, grads) if masks else grads


def check_order(run: Run, method: Method) -> None:
    """Refuse what would ship weights that were never pruned, and weights of which each process has a part."""
    name = type(method).__name__
    if run.sharded:
        raise Refused(f"{name} compares weights of which each process holds a part", "use --parallel ddp")
    for later in _after(run.methods, method):
        if defines(later, "weights"):
            other = type(later).__name__
            if isinstance(later, EarlyStopping):
                what = f"EarlyStopping would ship the best weights seen, from before {name} was done"
                raise Refused(what, f"leave EarlyStopping out: {name} needs the whole stage")
            raise Refused(
                f"{other} comes after {name} and would ship weights that are not pruned",
                f"put {other} before {name}, or leave it out",
            )


def _after(methods: Iterable[Method], method: Method) -> list[Method]:
    listed = list(methods)
    return listed[listed.index(method) + 1 :] if method in listed else []
