"""How good label probabilities are, where a row may have any number of labels.

Entry: F1.
"""

# N rows, L labels

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from sonde.core import Measure

from .intervals import Array, Statistic, bootstrap, left_out, mean, settings, wilson

THRESHOLD = 0.5


def multilabel(probabilities: Tensor, y: Tensor, labels: Sequence[str], split: str = "test") -> list[Measure]:
    """Micro and macro F1, share of rows with all labels right, and share of labels right.

    probabilities: (N, L), independent. y: (N, L) of 0 and 1. labels: names of the L labels. A label is given where
    its probability is above 0.5. A probability that is not a number gives no label and counts as wrong.
    """
    if probabilities.shape != y.shape or y.dim() != 2 or y.shape[1] != len(labels):
        raise ValueError(
            f"needs probabilities and truths of shape (rows, {len(labels)}); "
            f"got {tuple(probabilities.shape)} and {tuple(y.shape)}"
        )
    p, truth = probabilities.detach().cpu().numpy(), y.detach().cpu().numpy() > 0.5
    n = len(truth)
    if n == 0:
        return [
            left_out(f"quality/{k}", "1", 0, "higher", v, split, f"the {split} split has no rows") for k, v in SOURCES
        ]
    given = np.nan_to_num(p, nan=0.0) > THRESHOLD  # (N, L)
    right = (given == truth) & np.isfinite(p)
    both = given & truth
    statistics = {
        "micro_f1": _f1(both.sum(1, keepdims=True), given.sum(1, keepdims=True) + truth.sum(1, keepdims=True)),
        "macro_f1": _f1(both, given.astype(int) + truth),
        "label_accuracy": mean(right.mean(1), 0.0, 1.0),
    }
    intervals: dict[str, Any] = dict(bootstrap(statistics))
    exact = int(right.all(1).sum())
    values = {name: s.value for name, s in statistics.items()} | {"exact_match": exact / n}
    intervals["exact_match"] = wilson(exact, n)
    measures = []
    for name, source in SOURCES:
        if np.isnan(values[name]):
            why = "no label occurs, and none is given"
            measures.append(left_out(f"quality/{name}", "1", n, "higher", source, split, why))
            continue
        how = settings("wilson" if name == "exact_match" else "bca", intervals[name], threshold=THRESHOLD)
        measures.append(Measure(f"quality/{name}", values[name], "1", n, "higher", source, intervals[name], split, how))
    return measures


SOURCES = (
    ("micro_f1", "van Rijsbergen (1979); over all labels of all rows together"),
    ("macro_f1", "van Rijsbergen (1979); mean over labels that occur or are given"),
    ("exact_match", "share of rows with all labels right"),
    ("label_accuracy", "one minus the Hamming loss (Schapire and Singer, 1999)"),
)


def _f1(both: Array, either: Array) -> Statistic:
    """2 sum(both) / sum(given + true) of each column, and the mean over those where it is defined."""

    def of(sums: Array) -> Array:
        hits, marks = np.split(sums, 2, axis=-1)
        f1 = np.where(marks > 0, 2 * hits / np.where(marks > 0, marks, 1), np.nan)
        some = (marks > 0).any(-1)
        return np.where(some, np.nansum(f1, -1) / np.maximum((marks > 0).sum(-1), 1), np.nan)

    return Statistic(np.concatenate([both, either], 1), of, low=0.0, high=1.0)
