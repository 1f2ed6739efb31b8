"""What the methods for groups share: the codes of a batch's groups, and its labels as class numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from sonde.core import Batch, Method, SondeError

# N rows, C classes

MINIMUM = 30  # rows; a share of fewer is too uncertain to act on


def codes(batch: Batch, field: str, method: Method) -> Tensor:
    """The group of each row, (N,) int64; a negative code is no group."""
    if field not in batch.fields:
        known = ", ".join(sorted(batch.fields)) or "none"
        raise SondeError(
            f"{type(method).__name__} asks for the groups {field!r}, which the rows do not have (they have: {known})",
            f"name the column when the data is opened: --sensitive {field}",
        )
    found = batch.fields[field]
    if found.dim() != 1 or found.is_floating_point():
        raise SondeError(f"{field!r} holds no group codes", "give one whole number a row, (N,) int64")
    return found


def labels(batch: Batch, method: Method) -> Tensor:
    """The class of each row, (N,) int64: the likeliest where answers are probabilities (N, C)."""
    y = batch.y
    if isinstance(y, Tensor) and y.dim() == 1 and not y.is_floating_point():
        return y
    if isinstance(y, Tensor) and y.dim() == 2 and y.is_floating_point() and y.shape[1] > 1:
        return y.argmax(1)
    raise SondeError(
        f"{type(method).__name__} compares the classes of groups, but the answers are no classes",
        f"remove {type(method).__name__} from the methods, or train a classifier",
    )


def grown(table: Tensor, size: int) -> Tensor:
    """`table` (..., G, C) with zeros for groups up to `size`."""
    missing = size - table.shape[-2]
    if missing <= 0:
        return table
    return torch.cat([table, table.new_zeros(*table.shape[:-2], missing, table.shape[-1])], -2)
