"""Rows of data, and which record each row came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

# N rows


def map_tree(function: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """Apply `function` to every tensor of a nested dict or list; everything else (None, numbers) is kept."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        return {k: map_tree(function, v) for k, v in tree.items()}
    if isinstance(tree, list | tuple) and not isinstance(tree, Texts):
        return type(tree)(map_tree(function, v) for v in tree)
    return tree


class Texts(list[str]):
    """N texts, of which some are taken as of a tensor: by a slice, by a mask (N,) or by places (M,), int64.

    >>> Texts(["a", "b", "c"])[torch.tensor([2, 0])]
    ['c', 'a']
    """

    def __getitem__(self, index: Any) -> Any:
        """One text, or some as `Texts`."""
        if isinstance(index, Tensor):
            places = index.nonzero().flatten() if index.dtype == torch.bool else index
            return Texts(super(Texts, self).__getitem__(i) for i in places.tolist())
        found = super().__getitem__(index)
        return Texts(found) if isinstance(index, slice) else found


def some_rows(tree: Any, index: slice | Tensor) -> Any:
    """Some of the rows of a nested dict of tensors (N, ...) and texts; a list of strings comes back as `Texts`."""
    if isinstance(tree, Tensor | Texts):
        return tree[index]
    if isinstance(tree, list | tuple) and tree and isinstance(tree[0], str):
        return Texts(tree)[index]
    if isinstance(tree, Mapping):
        return {k: some_rows(v, index) for k, v in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(some_rows(v, index) for v in tree)
    return tree


def first_tensor(tree: Any) -> Tensor | None:
    """The first tensor of a nested dict, or None."""
    if isinstance(tree, Tensor):
        return tree
    if isinstance(tree, Mapping):
        return next((t for v in tree.values() if (t := first_tensor(v)) is not None), None)
    return None


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of data, and where each came from.

    x: what the model reads: a tensor (N, ...), `Texts`, or a nested dict of tensors with N rows each.
    y: what it should answer, (N, ...); None when there is nothing to answer.
    records: (N,) int64, the id of the data record behind row i; None once rows mix records, which
        per-record methods (differential privacy) refuse.
    fields: per-row extras by name, (N, ...) each: a group, a weight, a teacher's logits.
    denominator: what a mean over rows divides by, when this batch is a part of a larger one (a microbatch,
        one rank's shard) or a Poisson sample (whose expected size it is); None stands for len(batch).

    >>> b = Batch({"a": torch.arange(4.0)}, torch.arange(4), torch.arange(4))
    >>> len(b), b[1:3].x["a"].tolist(), b[1:3].denominator
    (4, [1.0, 2.0], None)
    """

    x: Any
    y: Any = None
    records: Tensor | None = None
    fields: Mapping[str, Tensor] = field(default_factory=dict)
    denominator: float | None = None

    def __len__(self) -> int:
        rows = first_tensor(self.x)
        return len(self.x) if rows is None else rows.shape[0]

    def __getitem__(self, index: slice | Tensor) -> Batch:
        """Some of the rows, as a batch of their own."""
        return Batch(*(some_rows(tree, index) for tree in (self.x, self.y, self.records, self.fields)))

    def parts(self, size: int) -> Iterator[Batch]:
        """Microbatches of at most `size` rows, whose means add up to the mean over the whole batch."""
        denominator = float(len(self)) if self.denominator is None else self.denominator
        for start in range(0, len(self), size):
            yield replace(self[start : start + size], denominator=denominator)

    def to(self, device: torch.device) -> Batch:
        """The same rows on another device, copied without waiting where the memory is pinned."""
        tree = (self.x, self.y, self.records, self.fields)
        x, y, records, fields = map_tree(lambda t: t.to(device, non_blocking=True), tree)
        return Batch(x, y, records, fields, self.denominator)

    def rows(self) -> dict[str, Tensor]:
        """The batch as a flat dict of tensors with N rows each: what `vmap` maps over. `of` is its inverse."""
        flat: dict[str, Tensor] = {}

        def walk(path: str, tree: Any) -> None:
            if isinstance(tree, Mapping):
                for k, v in tree.items():
                    walk(f"{path}.{_escaped(k)}", v)
            elif tree is not None:
                flat[path] = tree

        for name in ("x", "y", "records", "fields"):
            walk(name, getattr(self, name))
        return flat

    @staticmethod
    def of(rows: Mapping[str, Tensor]) -> Batch:
        """The batch that `rows` flattened."""
        tree: dict[str, Any] = {}
        for path, value in rows.items():
            *parents, leaf = map(_unescaped, path.split("."))
            at = tree
            for parent in parents:
                at = at.setdefault(parent, {})
            at[leaf] = value
        return Batch(tree["x"], tree.get("y"), tree.get("records"), tree.get("fields", {}))


def _escaped(name: str) -> str:
    return name.replace("%", "%25").replace(".", "%2E")  # columns are called what people call them: marital.status


def _unescaped(name: str) -> str:
    return name.replace("%2E", ".").replace("%25", "%")
