"""From a loss function to a term of a loss: what it returns, and what it says of itself, decide the kind.

A loss function is any callable of (output, y). One that returns a number a row, (N,), is `example`: row i's number may
depend on row i alone, which is what lets others clip, reweight and split rows. One that returns a scalar has added rows
up, and only its author knows whether it could have been written a row at a time; so it must say that it depends on rows
jointly, by `@jointly` or an attribute `kind = "batch"`, and is refused until it does.

Entry: custom losses.
"""

# N rows, M members

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor

from sonde.core import SondeError, Term

LossFunction = Callable[[Any, Any], Tensor]
"""(output, y) -> (N,), one value a row; or a scalar from one that is marked `jointly`."""


def jointly(loss: LossFunction) -> LossFunction:
    """Mark a loss function whose scalar depends on several rows jointly: its term is a `batch` term.

    >>> @jointly
    ... def spread(output, y):
    ...     return (output - y).var()
    >>> spread.kind
    'batch'
    """

    @functools.wraps(loss)
    def marked(output: Any, y: Any) -> Tensor:
        return loss(output, y)

    marked.kind = "batch"  # type: ignore[attr-defined]
    return marked


def as_term(
    loss: LossFunction, output: Tensor, y: Tensor, weight: Tensor | float = 1.0, *, members: bool = False
) -> Term:
    """The term that the loss function gives on N rows, of the kind that it says.

    members: output is (N, M, ...): each member's own loss is taken, and the term is their mean.

    Raises SondeError where it is not clear what the loss depends on.
    """
    kind = getattr(loss, "kind", "example")
    rows = len(output)
    if not members:
        value = loss(output, y)
    elif kind == "example":
        each = y[:, None].expand(rows, output.shape[1], *y.shape[1:]).flatten(0, 1)  # (N M, ...)
        value = loss(output.flatten(0, 1), each)
        if value.shape == each.shape[:1]:
            value = value.unflatten(0, (rows, -1)).mean(1)  # (N,)
    else:
        value = sum(loss(output[:, m], y) for m in range(output.shape[1])) / output.shape[1]  # type: ignore[assignment]
    name = getattr(loss, "__name__", type(loss).__name__)
    if kind == "batch":
        if value.dim():
            raise SondeError(
                f"the loss {name} says that it depends on rows jointly, and returns {tuple(value.shape)}",
                "return a scalar; or a value a row, (N,), and leave the mark out",
            )
        if isinstance(weight, Tensor):
            raise SondeError(
                f"the rows have weights, and the loss {name} gives one number for all rows",
                "choose a loss that returns a value a row, or leave the field `weight` out",
            )
        return Term(value, "batch", weight)
    if kind != "example":
        raise SondeError(f"the loss {name} says it is {kind!r}", "its kind is 'example', or 'batch' for a scalar")
    if value.dim() == 0:
        raise SondeError(
            f"the loss {name} returns one number for {rows} rows, and does not say whether it depends on them jointly",
            "return a value a row, (N,) (torch's own: reduction='none'), or mark it with sonde.losses.jointly",
        )
    if value.shape != (rows,):
        raise SondeError(
            f"the loss {name} returns {tuple(value.shape)} for {rows} rows",
            f"return a value a row, ({rows},): take the mean or the sum over all dimensions but the first",
        )
    return Term(value, "example", weight)
