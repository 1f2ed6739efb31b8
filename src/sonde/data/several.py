"""`several`: data sets of one form put together, each remembered as a part, so that they can be learned in turn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sonde.core.errors import SondeError
from sonde.data.dataset import SPLITS, Dataset
from sonde.data.problems import listed, quoted
from sonde.data.tables import TableSchema

if TYPE_CHECKING:
    from sonde.data.columns import Column
    from sonde.data.images import ImageSchema

# N rows of all the sets

NAMED = 3  # sets that the name of the whole spells out


def several(datasets: Sequence[Dataset]) -> Dataset:
    """The rows of several data sets, one after another, in their own splits; `parts` says which are whose.

    They must have the same columns of the same kinds (pictures: size and channels), the same target and the same
    sensitive columns. Classes and categories are put together by name, in the order in which they are first met.

    Raises:
        SondeError: what does not fit, and in which of them.
    """
    if len(datasets) < 2:
        raise SondeError("one data set is not several", "give two or more")
    names = _named([d.name for d in datasets])
    first = datasets[0]
    for name, data in zip(names[1:], datasets[1:], strict=True):
        _check_target(names[0], first, name, data)
    classes = tuple(dict.fromkeys(c for d in datasets for c in d.classes))
    target = replace(first.schema.target, classes=classes)
    groups = {g: _codes([d.schema.groups[g] for d in datasets]) for g in first.fields}
    kept = tuple(replace(f, names=tuple(groups[f.column][0])) for f in first.schema.fields)
    schema: ImageSchema | TableSchema
    x: Any
    if isinstance(first.schema, TableSchema):
        columns, recode = _columns(names, [d.schema.columns for d in datasets])  # type: ignore[union-attr]
        schema = replace(first.schema, columns=columns, target=target, fields=kept)
        x = _tables(datasets, schema, recode)
    else:
        for name, data in zip(names[1:], datasets[1:], strict=True):
            shapes = [d.x.shape[1:] for d in (first, data)]  # type: ignore[union-attr]
            if shapes[0] != shapes[1]:
                was, found = (" x ".join(map(str, s)) for s in shapes)
                raise SondeError(f"the pictures of {names[0]} are {was}, those of {name} {found}", "pass size=")
        schema = replace(first.schema, target=target, fields=kept)
        x = _pictures([d.x for d in datasets])
    starts = [0]
    for data in datasets:
        starts.append(starts[-1] + len(data))
    return Dataset(
        _whole(names),
        first.task,
        schema,
        x,
        _answers(datasets, classes),
        {s: torch.cat([d.splits[s] + at for d, at in zip(datasets, starts, strict=False)]) for s in SPLITS},
        {g: _coded([d.fields[g] for d in datasets], maps) for g, (_, maps) in groups.items()},
        [f"{name}: {row}" for name, d in zip(names, datasets, strict=True) for row in d.names],
        tuple(f"{name}: {note}" for name, d in zip(names, datasets, strict=True) for note in d.notes),
        {"call": "several", "arguments": {"datasets": [dict(d.source) for d in datasets]}},
        tuple((name, len(d)) for name, d in zip(names, datasets, strict=True)),
    )


def _named(names: Sequence[str]) -> list[str]:
    """The names of the sets, each once: the second `a.csv` is `a.csv (2)`."""
    return [n if n not in names[:i] else f"{n} ({names[: i + 1].count(n)})" for i, n in enumerate(names)]


def _whole(names: Sequence[str]) -> str:
    stems = [re.sub(r"\.(csv|tsv|tab|txt|parquet|npz)(\.gz)?$", "", n) for n in names]
    return "-".join(stems) if len(stems) <= NAMED else f"{stems[0]}-and-{len(stems) - 1}-more"


def _check_target(first: str, a: Dataset, name: str, b: Dataset) -> None:
    if isinstance(a.schema, TableSchema) != isinstance(b.schema, TableSchema):
        kinds = ("a table", "pictures") if isinstance(a.schema, TableSchema) else ("pictures", "a table")
        raise SondeError(f"{first} is {kinds[0]}, {name} is {kinds[1]}", "give data sets of one kind")
    if a.task != b.task:
        raise SondeError(f"{first} is a {a.task}, {name} a {b.task}", "say which with task=")
    one, other = a.schema.target, b.schema.target
    by_name = (one.classes != other.classes) if a.task == "multilabel" else a.task == "regression"
    if by_name and (one.classes, one.columns) != (other.classes, other.columns):
        what = "labels" if a.task == "multilabel" else "targets"
        raise SondeError(f"the {what} of {first} and {name} are not the same", "bring them to the same, in one order")
    edges = [{f.column: f.edges for f in d.schema.fields} for d in (a, b)]
    if edges[0] != edges[1]:
        raise SondeError(
            f"the sensitive columns of {first} and {name}, or their ranges, differ", "bring them to one form"
        )


def _columns(names: Sequence[str], given: Sequence[Sequence[Column]]) -> tuple[tuple[Column, ...], list[list[Tensor]]]:
    """The columns of all with their categories put together; and by set, by categorical column, old code -> new."""
    first = {c.name: c for c in given[0]}
    for name, theirs in zip(names[1:], given[1:], strict=True):
        own = {c.name: c for c in theirs}
        for has, lacks, there, here in ((names[0], name, first, own), (name, names[0], own, first)):
            if missing := sorted(there.keys() - here.keys()):
                kind = there[missing[0]].kind
                raise SondeError(
                    f"{has} has columns that {lacks} lacks, or has with one value only: {listed(missing)}",
                    f"give both the same, with kinds={{{missing[0]!r}: 'drop'}} or kinds={{{missing[0]!r}: {kind!r}}}",
                )
        for column in theirs:
            was = first[column.name]
            if (was.kind, was.parts, was.format) != (column.kind, column.parts, column.format):
                kinds = f"{was.kind} in {names[0]} and {column.kind} in {name}"
                remedy = f"say which with kinds={{{column.name!r}: {was.kind!r}}}"
                raise SondeError(f"column {quoted(column.name)} is {kinds}", remedy)
    whole: list[Column] = []
    recode: list[list[Tensor]] = [[] for _ in names]
    for c in given[0]:
        if c.kind == "categorical":
            categories, maps = _codes([next(o for o in columns if o.name == c.name).categories for columns in given])
            c = replace(c, categories=tuple(categories))
            for tables, codes in zip(recode, maps, strict=True):
                tables.append(torch.cat([torch.zeros(1, dtype=torch.int64), codes + 1]))  # 0 stays missing or unseen
        whole.append(c)
    return tuple(whole), recode


def _codes(names: Sequence[Sequence[str]]) -> tuple[list[str], list[Tensor]]:
    """All names in the order in which they are first met, and of each list the place of each of its names there."""
    whole = list(dict.fromkeys(n for own in names for n in own))
    place = {n: i for i, n in enumerate(whole)}
    return whole, [torch.tensor([place[n] for n in own], dtype=torch.int64) for own in names]


def _coded(codes: Sequence[Tensor], maps: Sequence[Tensor]) -> Tensor:
    """The codes of each set through its map, one after another."""
    return torch.cat([own[code] for own, code in zip(maps, codes, strict=True)])


def _tables(datasets: Sequence[Dataset], schema: TableSchema, recode: Sequence[Sequence[Tensor]]) -> dict[str, Tensor]:
    numeric, codes = [], []
    for data, maps in zip(datasets, recode, strict=True):
        own: Any = data.schema
        x: Any = data.x
        numeric.append(x["numeric"][:, [own.numeric.index(n) for n in schema.numeric]])
        order = [own.categorical.index(n) for n in schema.categorical]
        parts = [codes_of[x["categorical"][:, i]] for codes_of, i in zip(maps, order, strict=True)]
        codes.append(torch.stack(parts, 1) if parts else x["categorical"])
    return {"numeric": torch.cat(numeric), "categorical": torch.cat(codes)}


def _pictures(parts: Sequence[Any]) -> Tensor:
    if len({p.dtype for p in parts}) > 1:
        parts = [p.to(torch.float32).div(255) if p.dtype == torch.uint8 else p for p in parts]
    return torch.cat(list(parts))


def _answers(datasets: Sequence[Dataset], classes: Sequence[str]) -> Tensor:
    if datasets[0].task != "classification":
        return torch.cat([d.y for d in datasets])
    _, maps = _codes([classes, *(d.classes for d in datasets)])
    return _coded([d.y for d in datasets], maps[1:])
