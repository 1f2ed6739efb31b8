"""What happened in a forward pass, layer by layer, from which each record's gradient follows.

    with capture(module, params) as tape:
        values = losses(module(x))            # (N,), one loss a row
    per = tape.per_record(values)             # one backward pass, of the layers' outputs only
    per.norms, per.weighted(factors)

The module is not wrapped and nothing of it is changed: while `capture` lasts, hooks note what went into each layer, and
the place in autograd's graph at which its output is. The backward pass stops at those places: the gradients of the
parameters are never formed, one record's or all records' together, unless that is the cheapest way.
"""

# N rows, R records, K rows a record

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from sonde.core.method import Params

from .layers import Found, Gather, affine, full, rule_of, well_placed
from .records import PerRecord, Together, one_each
from .uses import Use, joined

Uses = Callable[[Gather, Sequence[Tensor | None], int], Found]
"""(how rows are put together, the gradients of a call's outputs, K) -> the uses of parameters."""


class Unknown(Exception):  # noqa: N818 - not an error: another way is taken
    """A use of parameters that no rule covers; the message says which, to a person."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a layer.

    edges: where its outputs are in autograd's graph. seen: what went in, and the version it then had.
    """

    name: str
    edges: tuple[GradientEdge, ...]
    seen: tuple[tuple[Tensor, int], ...]
    rows: int | None
    uses: Uses


class Tape:
    """The calls of layers since `capture` began. params: whose gradients are asked for."""

    def __init__(self, params: Params) -> None:
        self.params, self.names = params, {id(p): k for k, p in params.items()}
        self.calls: list[Call] = []
        self.recording = True
        self.problem: str | None = None
        self.coarse = False  # whether a layer answered in less than float32

    # ------------------------------------------------------------ while the module runs
    def trains(self, *tensors: Tensor | None) -> bool:
        """Whether the gradient of any of these is asked for: not of one put in a parameter's place for a probe."""
        return self.recording and torch.is_grad_enabled() and any(id(t) in self.names for t in tensors)

    def note(self, name: str, seen: Sequence[Tensor], outs: Sequence[Tensor], uses: Uses, placed: bool = True) -> None:
        """A layer called `name` made `outs` of `seen`. placed: whether the first dimension can be the rows."""
        edges = tuple(get_gradient_edge(out) for out in outs)
        kept = tuple((t.detach(), t._version) for t in seen)
        self.calls.append(Call(name, edges, kept, len(seen[0]) if placed else None, uses))

    def affine(
        self,
        name: str,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        weight_rows: slice | None = None,
        bias_rows: slice | None = None,
    ) -> Tensor:
        """x W^T + b of some of the rows of W and b (None: all), noted. x: (N, ..., D)."""
        w = weight if weight_rows is None else weight[weight_rows]
        b = bias if bias is None or bias_rows is None else bias[bias_rows]
        out = nn.functional.linear(x, w, b)
        a = x.detach()

        def uses(gather: Gather, signals: Sequence[Tensor | None], k: int) -> Found:
            (g,) = signals
            if g is not None:
                yield from affine(weight, bias, gather(a), gather(g), k, weight_rows, bias_rows)

        if self.trains(weight, bias):
            self.note(name, [x], [out], uses)
        return out

    # ------------------------------------------------------------ afterwards
    def per_record(self, values: Tensor, records: Tensor | None = None, again: bool = False) -> PerRecord:
        """The gradients of `values` by record. Raises Unknown where a use of parameters is not understood.

        values: (N,), one loss a row, made while this tape was recording. records: (N,) int64, whose rows are added up;
        None: every row is a record. again: keep autograd's graph, for another backward pass.
        """
        self.recording = False
        if self.problem is not None:
            raise Unknown(self.problem)
        n = len(values)
        together = one_each(n) if records is None else Together.of(records)
        edges = [edge for call in self.calls for edge in call.edges]
        found: Sequence[Tensor | None] = ()
        if edges and values.requires_grad:
            seed = torch.ones_like(values)
            found = torch.autograd.grad(values, edges, seed, retain_graph=again, allow_unused=True)  # type: ignore[arg-type]
        elif values.requires_grad:
            raise Unknown("no layer with parameters was called")
        parts: dict[str, list[tuple[slice | None, Use]]] = {}
        left = list(found)[::-1]
        for call in self.calls if found else ():
            signals = [left.pop() for _ in call.edges]
            if all(g is None for g in signals):
                continue  # on the way to something else than these values: an attack, a statistic
            if any(t._version != version for t, version in call.seen):
                raise Unknown(f"what went into {call.name} was changed in place afterwards")
            if call.rows != n or any(g is not None and len(g) != n for g in signals):
                raise Unknown(f"{call.name} was not given {n} rows in its first dimension")
            self.coarse |= any(g is not None and g.dtype.itemsize < 4 for g in signals)
            floats = [g if g is None else full(g.detach()) for g in signals]
            for p, rows, use in call.uses(together.gather, floats, together.k):
                if (name := self.names.get(id(p))) is not None:
                    parts.setdefault(name, []).append((rows, use))
        uses = {k: joined(parts[k], self.params[k].shape) for k in self.params if k in parts}
        return PerRecord(self.params, uses, together)


@contextmanager
def capture(module: nn.Module, params: Params) -> Iterator[Tape]:
    """Note the calls of the layers of `module` that own `params` (qualified name -> parameter), while this lasts."""
    from .plan import plan  # which imports what notes calls in other ways

    tape = Tape(params)
    with ExitStack() as stack:
        stack.enter_context(_out_of_place(module))
        for name, layer, how in plan(module, tape.names):
            stack.enter_context(how(tape, name, layer))
        yield tape


@contextmanager
def _out_of_place(module: nn.Module) -> Iterator[None]:
    """Let activations make new tensors: one that changes a view (a Linear's output) moves its place in the graph."""
    changed = [m for m in module.modules() if getattr(m, "inplace", False) is True]
    for m in changed:
        m.inplace = False  # type: ignore[assignment]
    try:
        yield
    finally:
        for m in changed:
            m.inplace = True  # type: ignore[assignment]


@contextmanager
def by_rule(tape: Tape, name: str, layer: nn.Module) -> Iterator[None]:
    """Note the calls of a layer whose use of its parameters is known."""
    rule = rule_of(layer)

    def after(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> None:
        if not out.requires_grad or not tape.trains(*layer._parameters.values()):
            return
        x = args[0] if args else next(iter(kwargs.values()))
        kept = x.detach()

        def uses(gather: Gather, signals: Sequence[Tensor | None], k: int) -> Found:
            (g,) = signals
            if g is not None and rule is not None:
                yield from rule(layer, gather(full(kept)), gather(g), k)

        tape.note(name, [x], [out], uses, well_placed(x, layer))

    handle = layer.register_forward_hook(after, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
