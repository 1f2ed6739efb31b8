"""What a model answers, in words."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sonde.data.targets import Target


def decode(target: Target, values: Tensor, threshold: float = 0.5) -> list[Any]:
    """Predictions in the user's words, one a row.

    values: classification, scores or probabilities (N, C), or class indices (N,): the class name.
        Multilabel, probabilities (N, L): the names of the labels above `threshold`.
        Regression, (N, T): the number, or {target: number} where there are several.
    """
    if target.task == "classification":
        index = values.argmax(-1) if values.ndim == 2 else values
        return [target.classes[i] for i in index.tolist()]
    if target.task == "multilabel":
        return [
            tuple(name for name, p in zip(target.classes, row, strict=True) if p > threshold) for row in values.tolist()
        ]
    if len(target.columns) == 1:
        return values.reshape(-1).tolist()
    return [dict(zip(target.columns, row, strict=True)) for row in values.tolist()]
