"""A data set and its rows in the words of a report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sonde.report.facts import ClassCount, Column, Data, Example, Group, Histogram

if TYPE_CHECKING:
    from sonde.data import Dataset

# N rows, C classes, L labels, T targets

SHOWN_MISTAKES = 24


def data_facts(data: Dataset) -> Data:
    """What was trained and measured on."""
    images = isinstance(data.x, Tensor)
    classes: tuple[ClassCount, ...] = ()
    target, target_name = None, ""
    if data.task == "regression":
        target = histogram(data.y[data.splits["train"], 0], bins=20)
        target_name = data.schema.outputs[0]
    else:
        counts = {split: _class_counts(data, index) for split, index in data.splits.items()}
        names = enumerate(data.classes)
        classes = tuple(ClassCount(c, {split: n[i] for split, n in counts.items()}) for i, c in names)
    groups = tuple(
        Group(f, {str(g): int((codes == i).sum()) for i, g in enumerate(data.schema.groups[f])})
        for f, codes in data.fields.items()
    )
    return Data(
        name=data.name,
        kind="image" if images else "table",
        shape=shape_in_words(data),
        splits={split: len(index) for split, index in data.splits.items()},
        classes=classes,
        target=target,
        target_name=target_name,
        columns=() if images else _columns(data),
        groups=groups,
        notes=data.notes,
        fingerprint=data.fingerprint,
    )


def histogram(values: Tensor, bins: int) -> Histogram:
    """Counts of the finite values (N,) in equally wide bins."""
    finite = values[torch.isfinite(values)].double()
    counts, edges = torch.histogram(finite, bins=bins)
    return Histogram(tuple(edges.tolist()), tuple(int(c) for c in counts.tolist()))


def shape_in_words(data: Dataset) -> str:
    """One row of the data."""
    if isinstance(data.x, Tensor):
        channels, height, width = data.x.shape[1:]
        colour = {1: "grey", 3: "colour"}.get(channels, f"{channels}-channel")
        return f"{height} x {width} {colour} image"
    schema: Any = data.schema
    return f"{len(schema.columns)} columns"


def mistakes(data: Dataset, guess: Tensor, truth: Tensor) -> tuple[int | None, tuple[Example, ...], str]:
    """How many test rows came out wrong, the worst of them, and how those were chosen.

    guess: probabilities (N, C) or (N, L), or values (N, T). A regression has no count: every row is off by something.
    """
    count: int | None
    says: list[tuple[int, str, str, float | None]]
    if data.task == "classification":
        confidence, called = guess.max(1)
        wrong = (called != truth).nonzero().flatten()
        worst = wrong[confidence[wrong].argsort(descending=True)][:SHOWN_MISTAKES].tolist()
        names = data.classes
        says = [(i, names[int(truth[i])], names[int(called[i])], float(confidence[i])) for i in worst]
        count, chosen = len(wrong), "the wrong answers it was surest of"
    elif data.task == "multilabel":
        labels = guess > 0.5
        wrong = (labels != (truth > 0.5)).any(1).nonzero().flatten()
        worst = wrong[(guess - truth).abs().sum(1)[wrong].argsort(descending=True)][:SHOWN_MISTAKES].tolist()
        says = [(i, _labels(data, truth[i] > 0.5), _labels(data, labels[i]), None) for i in worst]
        count, chosen = len(wrong), "the rows with the most labels wrong"
    else:
        spread = truth.std(0, correction=0).clamp_min(torch.finfo(truth.dtype).tiny)
        worst = ((guess - truth).abs() / spread).mean(1).argsort(descending=True)[: SHOWN_MISTAKES // 2].tolist()
        says = [(i, _numbers(truth[i]), _numbers(guess[i]), None) for i in worst]
        count, chosen = None, "the rows that were furthest off"
    index = data.splits["test"]
    examples = [Example(str(data.names[int(index[i])]), t, g, c, **_row(data, int(index[i]))) for i, t, g, c in says]
    return count, tuple(examples), chosen


def _row(data: Dataset, record: int) -> dict[str, Any]:
    from sonde.report.pictures import png

    x = data.batch(torch.tensor([record])).x
    return {"picture": png(x[0])} if isinstance(x, Tensor) else {"values": _row_values(data, x)}


def _row_values(data: Dataset, x: dict[str, Tensor]) -> dict[str, Any]:
    """A table's row as a person reads it: numbers as they were, categories by name."""
    schema: Any = data.schema
    names = {c.name: c.categories for c in schema.columns}
    codes = zip(schema.categorical, x["categorical"][0].tolist(), strict=True)
    numbers = zip(schema.numeric, x["numeric"][0].tolist(), strict=True)
    values: dict[str, Any] = {k: None if math.isnan(v) else float(f"{v:.6g}") for k, v in numbers}
    return values | {k: names[k][code - 1] if code else None for k, code in codes}


def _columns(data: Dataset) -> tuple[Column, ...]:
    schema: Any = data.schema
    x: Any = data.x
    missing = {
        **dict(zip(schema.numeric, x["numeric"].isnan().float().mean(0).tolist(), strict=True)),
        **dict(zip(schema.categorical, (x["categorical"] == 0).float().mean(0).tolist(), strict=True)),
    }
    columns = []
    for c in schema.columns:
        kind = f"categorical, {len(c.categories)} values" if c.kind == "categorical" else str(c.kind)
        first = c.outputs[0] if c.outputs else c.name
        columns.append(Column(c.name, kind, missing.get(first, 0.0), "sensitive" if c.name in data.fields else "input"))
    kind = {"classification": "classes", "multilabel": "labels", "regression": "numeric"}[data.task]
    return (*columns, *(Column(t, kind, 0.0, "target") for t in schema.target.columns))


def _class_counts(data: Dataset, index: Tensor) -> list[int]:
    y = data.y[index]
    counts = torch.bincount(y, minlength=len(data.classes)) if data.task == "classification" else y.sum(0).long()
    return [int(n) for n in counts.tolist()]


def _labels(data: Dataset, chosen: Tensor) -> str:
    return ", ".join(c for c, yes in zip(data.classes, chosen.tolist(), strict=True) if yes) or "none"


def _numbers(values: Tensor) -> str:
    return ", ".join(f"{v:.4g}" for v in values.tolist())
