"""A data set in memory: rows, labels, splits, and the schema that reads new rows the same way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from sonde.core import Batch
    from sonde.data.images import ImageSchema
    from sonde.data.tables import TableSchema
    from sonde.data.targets import Task

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows in memory, split, with what is needed to read new rows in the same way.

    N rows; C, H, W channels, height, width; F numeric and K categorical columns; L labels; T targets.

    name: what the reports call it.
    task: "classification", "multilabel" or "regression".
    schema: how a raw input becomes x, and what the outputs are called.
    x: images uint8 (N, C, H, W), or float32 in [0, 1]; tables {"numeric": (N, F) float32 with NaN for missing,
        "categorical": (N, K) int64 with 0 for missing or unseen}.
    y: classification (N,) int64; multilabel (N, L) float32 of 0 and 1; regression (N, T) float32 in the user's units.
    splits: "train", "val", "test" -> (n,) int64 row indices, sorted and disjoint.
    fields: sensitive attributes, (N,) int64 codes; their names are `schema.groups[field]`.
    names: what a person calls row i: a relative file path, "row 17".
    notes: what was inferred, left out, found twice.
    source: JSON; what `sonde.data.reopen` needs to open it again. Paths stand as they were given.
    parts: of data put together of several sets, the name and the number of rows of each, in their order.
    """

    name: str
    task: Task
    schema: ImageSchema | TableSchema
    x: Tensor | dict[str, Tensor]
    y: Tensor
    splits: Mapping[str, Tensor]
    fields: Mapping[str, Tensor] = field(default_factory=dict)
    names: Sequence[str] = ()
    notes: tuple[str, ...] = ()
    source: Mapping[str, Any] = field(default_factory=dict)
    parts: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        n = len(self.y)
        x = self.x if isinstance(self.x, dict) else {"": self.x}
        parts = {f"x {k}": len(v) for k, v in x.items()} | {f"field {k}": len(v) for k, v in self.fields.items()}
        for what, rows in (parts | {"names": len(self.names) or n}).items():
            if rows != n:
                raise ValueError(f"{what} has {rows} rows but y has {n}")
        if self.parts and sum(rows for _, rows in self.parts) != n:
            raise ValueError(f"the parts have {sum(rows for _, rows in self.parts)} rows but y has {n}")
        if tuple(sorted(self.splits)) != tuple(sorted(SPLITS)):
            raise ValueError(f"splits must be {SPLITS}, not {tuple(self.splits)}")
        used = torch.cat([self.splits[s] for s in SPLITS])
        if len(used) and (int(used.min()) < 0 or int(used.max()) >= n):
            raise ValueError(f"splits name rows outside 0..{n - 1}")
        if int(torch.bincount(used, minlength=1).max()) > 1:
            raise ValueError("splits overlap: a row is in two of them")

    def __len__(self) -> int:
        return len(self.y)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{split} {len(self.splits[split])}" for split in SPLITS)
        return f"Dataset({self.name!r}, {self.task}, {len(self)} rows: {sizes})"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes or labels, in the order of the outputs; () for regression."""
        return self.schema.classes

    def batch(self, index: Tensor) -> Batch:
        """The rows `index` (n,) int64 as the model sees them: images as float32 in [0, 1]; `records` = `index`."""
        from sonde.core import Batch

        if isinstance(self.x, dict):
            x: Any = {k: v.index_select(0, index) for k, v in self.x.items()}
        else:
            x = self.x.index_select(0, index)  # (n, C, H, W)
            if x.dtype == torch.uint8:
                x = x.to(torch.float32).div_(255)
        fields = {k: v.index_select(0, index) for k, v in self.fields.items()}
        return Batch(x, self.y.index_select(0, index), index, fields)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over content: x, y, splits, fields and schema. Names, notes and source do not count."""
        digest = hashlib.sha256()
        x = self.x if isinstance(self.x, dict) else {"": self.x}
        tensors = {f"x.{k}": v for k, v in x.items()} | {"y": self.y}
        tensors |= {f"splits.{k}": v for k, v in self.splits.items()}
        tensors |= {f"fields.{k}": v for k, v in self.fields.items()}
        for key in sorted(tensors):
            value = tensors[key].detach().cpu().contiguous()
            if value.is_floating_point():  # one NaN, whatever its bits
                value = torch.where(value.isnan(), torch.full_like(value, float("nan")), value)
            digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.numpy().data)
        digest.update(json.dumps(self.schema.to_data(), sort_keys=True).encode())
        if self.parts:
            digest.update(json.dumps([rows for _, rows in self.parts]).encode())
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dataset) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)


class RowNames(Sequence[str]):
    """ "row 17" for every row, made when asked for: a million rows need no million strings.

    >>> names = RowNames([2, 3, 5], "row ")
    >>> names[2], len(names), list(names[:2])
    ('row 5', 3, ['row 2', 'row 3'])
    """

    def __init__(self, numbers: Sequence[int] | np.ndarray, prefix: str = "row ") -> None:
        self.numbers, self.prefix = numbers, prefix

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> RowNames: ...
    def __getitem__(self, index: int | slice) -> str | RowNames:
        if isinstance(index, slice):
            return RowNames(self.numbers[index], self.prefix)
        return f"{self.prefix}{int(self.numbers[index])}"

    def __iter__(self) -> Iterator[str]:
        return (f"{self.prefix}{int(number)}" for number in self.numbers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and not isinstance(other, str) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]
