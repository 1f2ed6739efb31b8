"""The measures that go with a data set's task, and one score a row by which two models are compared."""

# N rows of the data set, n of a split, C classes, L labels, T targets

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from sonde.core import Measure

from .classification import classification
from .intervals import Array
from .multilabel import THRESHOLD, multilabel
from .regression import regression

if TYPE_CHECKING:
    from sonde.data.dataset import Dataset

COMPARED = {"classification": "accuracy", "multilabel": "share of labels right", "regression": "R2"}
"""What the mean over rows of `scores` is."""


def measure(data: Dataset, prediction: Tensor, split: str = "test") -> list[Measure]:
    """All quality measures of predictions for a split's rows, in their order.

    prediction: probabilities (n, C) or (n, L), or numbers (n, T) in the user's units, as the objectives' `predict`.
    """
    y = data.y[data.splits[split]]
    if data.task == "classification":
        return classification(prediction, y, data.classes, split)
    if data.task == "multilabel":
        return multilabel(prediction, y, data.classes, split)
    return regression(prediction, y, data.schema.target.columns, split=split)


def scores(data: Dataset, prediction: Tensor, split: str = "test") -> Array:
    """One score a row (n,), higher better: 1 for a right class; the share of labels right; a row's part in R2."""
    p = prediction.detach().cpu().double().numpy()
    y = data.y[data.splits[split]].numpy()
    if data.task == "classification":
        right = p.argmax(1) == y if len(p) else np.zeros(0)
        return np.asarray(right & np.isfinite(p).all(1), float)
    if data.task == "multilabel":
        return np.asarray((((p > THRESHOLD) == (y > 0.5)) & np.isfinite(p)).mean(1), float)
    spread = y.astype(float).var(0)
    # A constant target has no R2; squared errors as they are then still tell which model is nearer.
    return np.asarray((1 - (p - y) ** 2 / np.where(spread > 0, spread, 1)).mean(1), float)
