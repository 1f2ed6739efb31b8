"""How good class probabilities are: the measures of a classifier, with intervals.

Entry: accuracy; precision; recall; F1; ROC; AUC; calibration; expected calibration error.
"""

# N rows, C classes, B bins

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sonde.core import Measure

from .intervals import LEVEL, RESAMPLES, Array, Interval, Statistic, bootstrap, left_out, mean, settings, wilson

BINS = 15  # Guo et al. (2017, sec. 4)


def classification(probabilities: Tensor, y: Tensor, classes: Sequence[str], split: str = "test") -> list[Measure]:
    """Accuracy, negative log-likelihood, macro F1, ROC AUC, balanced accuracy and calibration error of a classifier.

    probabilities: (N, C), rows add up to one. y: (N,) int64 true classes. classes: names of the C classes.

    A row whose probabilities are not all numbers counts as answered wrongly; what needs its probabilities is then
    left out (see `omission`), as is what these rows do not define, such as the AUC where only one class occurs.

    >>> p = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    >>> [(m.name, round(m.value, 2)) for m in classification(p, torch.tensor([0, 1, 1, 1]), ["no", "yes"])][:2]
    [('quality/accuracy', 0.75), ('quality/nll', 0.4)]
    """
    p, truth, guess = _answers(probabilities, y, classes)
    n = len(truth)
    if n == 0:
        return [_none(name, f"the {split} split has no rows", 0, split) for name in _SOURCES]
    right = guess == truth
    accuracy = wilson(int(right.sum()), n)
    found = {"accuracy": (float(right.mean()), accuracy, settings("wilson", accuracy))}
    why: dict[str, str] = {}

    counts = _cells(truth, guess, len(classes))
    by_cell = {"macro_f1": _macro_f1(counts.shape), "balanced_accuracy": _balanced(counts.shape)}
    _measure(by_cell, found, counts.ravel())

    if lost := int((guess < 0).sum()):
        reason = f"the probabilities of {lost} of {n} rows are not numbers"
        why = dict.fromkeys(("nll", "roc_auc", "ece"), reason)
    else:
        by_row = {"nll": mean(_surprise(probabilities, p, truth), low=0.0), "ece": _calibration(p, right)}
        auc, ranked = _auc(p, truth)
        if auc is None:
            why["roc_auc"] = "only one class occurs"
        else:
            by_row["roc_auc"] = auc
        _measure(by_row, found)
        if "roc_auc" in found:
            found["roc_auc"][2].update(_how_auc([str(classes[c]) for c in ranked], len(classes)))
        value, interval, how = found["ece"]
        if interval is not None:
            # The estimate is biased upwards, so much near zero that the bootstrap cannot see it.
            found["ece"] = value, (0.0 if value <= _ece_if_calibrated(p) else interval[0], interval[1]), how
            how["from_zero"] = "where a calibrated model's would be as large (Bröcker and Smith, 2007)"
        how["bins"] = f"{BINS} of equal width, over the probability of the answer"
    measures = []
    for name, (unit, better, source) in _SOURCES.items():
        if name in found:
            value, interval, how = found[name]
            measures.append(Measure(f"quality/{name}", value, unit, n, better, source, interval, split, how))
        else:
            measures.append(_none(name, why[name], n, split))
    return measures


_SOURCES: dict[str, tuple[str, Any, str]] = {
    "accuracy": ("1", "higher", "share of rows whose most probable class is the true one"),
    "nll": ("nat", "lower", "Good (1952), mean negative log-probability of the true class"),
    "macro_f1": ("1", "higher", "van Rijsbergen (1979); mean over classes (Opitz and Burst, 2019, eq. 1)"),
    "roc_auc": ("1", "higher", "Hanley and McNeil (1982)"),
    "balanced_accuracy": ("1", "higher", "Brodersen et al. (2010), mean over classes of the share found"),
    "ece": ("1", "lower", "Guo et al. (2017), eq. 3"),
}

Found = dict[str, tuple[float, Interval | None, dict[str, Any]]]


def _none(name: str, why: str, n: int, split: str) -> Measure:
    unit, better, source = _SOURCES[name]
    return left_out(f"quality/{name}", unit, n, better, source, split, why)


def _measure(statistics: dict[str, Statistic], found: Found, counts: Array | None = None) -> None:
    """Put the value and the interval of each statistic into `found`."""
    for name, interval in bootstrap(statistics, counts).items():
        s = statistics[name]
        sums = s.columns.sum(0) if counts is None else counts @ s.columns
        with np.errstate(all="ignore"):
            value = float(s.of(sums))
        found[name] = (value, interval, settings(s.method, interval))


def confusion(probabilities: Tensor, y: Tensor, classes: Sequence[str]) -> Tensor:
    """How often class t was called class g: counts[t, g], (C, C) int64. Rows without an answer (NaN) are not in it.

    >>> confusion(torch.tensor([[0.9, 0.1], [0.6, 0.4]]), torch.tensor([0, 1]), ["no", "yes"]).tolist()
    [[1, 0], [1, 0]]
    """
    _, truth, guess = _answers(probabilities, y, classes)
    c = len(classes)
    return torch.from_numpy(_cells(truth, guess, c)[:, :c].copy())


@dataclass(frozen=True)
class PerClass:
    """Of the `n` rows of a class, the share found (recall); of the `called` so, the share right (precision).

    None where there are no such rows. Intervals are Wilson's (1927), 95 %.
    """

    name: str
    n: int
    called: int
    recall: float | None
    precision: float | None
    recall_interval: Interval | None
    precision_interval: Interval | None


def per_class(probabilities: Tensor, y: Tensor, classes: Sequence[str]) -> list[PerClass]:
    """Recall and precision of every class, in the order of `classes`."""
    _, truth, guess = _answers(probabilities, y, classes)
    counts = _cells(truth, guess, len(classes))
    table = []
    for c, name in enumerate(classes):
        right, n, called = int(counts[c, c]), int(counts[c].sum()), int(counts[:, c].sum())
        recall, precision = right / n if n else None, right / called if called else None
        table.append(PerClass(str(name), n, called, recall, precision, wilson(right, n), wilson(right, called)))
    return table


def _answers(probabilities: Tensor, y: Tensor, classes: Sequence[str]) -> tuple[Array, Array, Array]:
    """Probabilities (N, C) float64, true classes (N,), answered classes (N,): -1 where there is no answer."""
    if probabilities.dim() != 2 or probabilities.shape != (len(y), len(classes)):
        raise ValueError(
            f"needs probabilities of shape ({len(y)}, {len(classes)}), one for each row and class; "
            f"got {tuple(probabilities.shape)}"
        )
    p = probabilities.detach().cpu().double().numpy()
    truth = y.detach().cpu().numpy()
    if len(truth) and not 0 <= truth.min() <= truth.max() < len(classes):
        raise ValueError(f"true classes must be in 0..{len(classes) - 1}; got {truth.min()}..{truth.max()}")
    numbers = np.isfinite(p).all(1)
    if numbers.any() and not -1e-6 <= p[numbers].min() <= p[numbers].max() <= 1 + 1e-6:
        raise ValueError(f"probabilities must be in [0, 1]; got {p[numbers].min():.4g} to {p[numbers].max():.4g}")
    return p, truth, np.where(numbers, np.where(numbers[:, None], p, 0).argmax(1) if len(p) else 0, -1)


def _cells(truth: Array, guess: Array, c: int) -> Array:
    """Counts (C, C + 1) of true and answered class; the last column is for no answer."""
    guess = np.where(guess < 0, c, guess)
    return np.bincount(truth * (c + 1) + guess, minlength=c * (c + 1)).reshape(c, c + 1)


def _cell_columns(shape: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """For each cell (C (C + 1),) of a confusion matrix: its true class, its answer, and whether they agree, one-hot."""
    t, g = (index.ravel() for index in np.indices(shape))
    truth, guess = np.eye(shape[0])[t], np.eye(shape[1])[g][:, : shape[0]]  # (cells, C) each
    return truth, guess, truth * guess


def _macro_f1(shape: tuple[int, ...]) -> Statistic:
    truth, guess, right = _cell_columns(shape)

    def of(sums: Array) -> Array:
        right, both = np.split(sums, 2, axis=-1)  # (..., C); both: rows of the class plus rows called so
        return np.nanmean(_or_nan(2 * right, both), axis=-1)  # type: ignore[no-any-return]

    return Statistic(np.concatenate([right, truth + guess], 1), of, low=0.0, high=1.0)


def _balanced(shape: tuple[int, ...]) -> Statistic:
    truth, _, right = _cell_columns(shape)

    def of(sums: Array) -> Array:
        right, there = np.split(sums, 2, axis=-1)
        return np.nanmean(_or_nan(right, there), axis=-1)  # type: ignore[no-any-return]

    return Statistic(np.concatenate([right, truth], 1), of, low=0.0, high=1.0)


def _or_nan(a: Array, b: Array) -> Array:
    """a / b, and NaN where a class does not occur: it is left out of the mean over classes."""
    return np.where(b > 0, a / np.where(b > 0, b, 1), np.nan)


def _surprise(probabilities: Tensor, p: Array, truth: Array) -> Array:
    """-log p of the true class (N,), clipped at the resolution of the probabilities' own type."""
    eps = torch.finfo(probabilities.dtype).eps
    return -np.log(np.clip(p[np.arange(len(p)), truth], eps, 1 - eps))


def _calibration(p: Array, right: Array) -> Statistic:
    """sum_b n_b / N |accuracy_b - confidence_b| over bins (b / B, (b + 1) / B] of the confidence."""
    columns = np.zeros((len(p), BINS + 1))
    columns[:, BINS] = 1
    columns[np.arange(len(p)), _bin(p)] = p.max(1) - right
    return Statistic(columns, lambda s: np.abs(s[..., :BINS]).sum(-1) / s[..., BINS], "upward", 0.0, 1.0)


def _bin(p: Array) -> Array:
    return np.clip(np.ceil(p.max(1) * BINS).astype(int) - 1, 0, BINS - 1)


def _ece_if_calibrated(p: Array) -> float:
    """What the calibration error of a calibrated model stays below in 97.5 % of test sets of this size.

    Its answers are right as often as it says: binomial in each bin, with the bin's mean confidence, which spreads a
    little more than the rows' own.
    """
    which = _bin(p)
    rows = np.bincount(which, minlength=BINS)  # (B,)
    sure = np.clip(np.bincount(which, p.max(1), BINS) / np.maximum(rows, 1), 0.0, 1.0)
    right = np.random.default_rng(0).binomial(rows, sure, size=(RESAMPLES, BINS))
    return float(np.quantile(np.abs(right - rows * sure).sum(1) / len(p), 0.5 + LEVEL / 2))


def _auc(p: Array, truth: Array) -> tuple[Statistic | None, list[int]]:
    """The area under the ROC curve, macro one-versus-rest for more than two classes, and the classes it is over.

    For the interval it is the area plus the mean over rows of their influence on it, which follows from placement
    values (DeLong et al., 1988, eq. 4): of a row of the class, the share of other rows ranked below it; of another
    row, the share of the class ranked above it.
    """
    n, c = p.shape
    areas, used, influence = [], [], np.zeros(n)
    for k in [1] if c == 2 else range(c):
        own = truth == k
        if own.all() or not own.any():
            continue
        place = np.empty(n)
        place[own] = _share_below(p[own, k], p[~own, k])
        place[~own] = 1 - _share_below(p[~own, k], p[own, k])
        areas.append(area := place[own].mean())
        influence += (place - area) / np.where(own, own.mean(), 1 - own.mean())
        used.append(k)
    if not used:
        return None, []
    area = float(np.mean(areas))
    columns = np.stack([np.ones(n), influence / len(used)], 1)
    return Statistic(columns, lambda s: area + s[..., 1] / s[..., 0], low=0.0, high=1.0), used


def _share_below(values: Array, others: Array) -> Array:
    """For each value, the share of `others` below it; a tie counts one half."""
    others = np.sort(others)
    return (np.searchsorted(others, values, "left") + np.searchsorted(others, values, "right")) / (2 * len(others))


def _how_auc(ranked: list[str], c: int) -> dict[str, Any]:
    linear = {"linearised": "placement values (DeLong et al., 1988)"}
    if c == 2:
        return {"positive": ranked[0], **linear}
    return {"average": "macro, one versus rest", **linear, **({} if len(ranked) == c else {"classes": ranked})}
