"""A module whose use of its parameters is not known: its own gradient, row by row, with `vmap`."""

# N rows, R records, K rows a record

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.utils._pytree import tree_flatten, tree_unflatten

from .layers import Found, Gather, full
from .tape import Tape, Unknown
from .uses import CHUNK, Small


@contextmanager
def whole(tape: Tape, name: str, module: nn.Module) -> Iterator[None]:
    """Note the calls of a module with everything in it as one."""
    own = {k: p for k, p in module.named_parameters() if id(p) in tape.names}

    def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        if not tape.trains(*dict(module.named_parameters()).values()):
            return
        outs = [t for t in tree_flatten(out)[0] if isinstance(t, Tensor) and t.requires_grad]
        given, shape = tree_flatten((args, kwargs))
        tensors = [t for t in given if isinstance(t, Tensor)]
        if not outs:
            return
        if not tensors:
            tape.problem = f"{name} ({type(module).__name__}) was given no rows"
            return
        rows = len(tensors[0])
        kept = [t.detach() if isinstance(t, Tensor) else t for t in given]

        def uses(gather: Gather, signals: Sequence[Tensor | None], k: int) -> Found:
            by_row = [isinstance(t, Tensor) and t.dim() > 0 and len(t) == rows for t in kept]
            inputs = [gather(t) if of_row else t for t, of_row in zip(kept, by_row, strict=True)]
            pulled = [
                gather(torch.zeros_like(o) if g is None else g.to(o.dtype)) for g, o in zip(signals, outs, strict=True)
            ]
            try:
                found = row_gradients(module, own, inputs, by_row, shape, pulled)
            except RuntimeError as error:
                reason = str(error).strip().splitlines()[0]
                raise Unknown(
                    f"{name} ({type(module).__name__}) cannot be differentiated row by row: {reason}"
                ) from error
            for key, g in found.items():
                yield own[key], None, Small(full(g.view(-1, k, *g.shape[1:]).sum(1) if k > 1 else g))

        tape.note(name, tensors, outs, uses)

    handle = module.register_forward_hook(after, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def row_gradients(
    module: nn.Module,
    params: Mapping[str, Tensor],
    inputs: list[Any],
    by_row: list[bool],
    shape: Any,
    signals: list[Tensor],
) -> dict[str, Tensor]:
    """The gradient of each row with respect to the module's parameters, (N, *shape) each.

    inputs: the flattened arguments; by_row: which of them have rows. signals: the gradients of the outputs.
    """
    detached = {k: p.detach() for k, p in params.items()}
    fixed = {k: b for k, b in module.named_buffers()}

    def of_one(rows: list[Tensor], pulled: list[Tensor]) -> dict[str, Tensor]:
        left = list(rows)[::-1]
        given = [left.pop()[None] if of_row else t for t, of_row in zip(inputs, by_row, strict=True)]
        args, kwargs = tree_unflatten(given, shape)

        def outputs(p: dict[str, Tensor]) -> list[Tensor]:
            out = functional_call(module, {**fixed, **p}, args, kwargs)
            return [t for t in tree_flatten(out)[0] if isinstance(t, Tensor) and t.is_floating_point()]

        pull = vjp(outputs, detached)[1]
        return pull([g[None] for g in pulled])[0]  # type: ignore[no-any-return]

    rows = [t for t, of_row in zip(inputs, by_row, strict=True) if of_row]
    size = max(1, 16 * CHUNK // max(1, sum(p.numel() for p in params.values())))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")  # and still no faster way
        return vmap(of_one, randomness="error", chunk_size=size)(rows, signals)  # type: ignore[no-any-return]
