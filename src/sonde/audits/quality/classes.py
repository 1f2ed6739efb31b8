"""Each class by itself: the share found, the share right of those called so, F1, and the worst class.

Entry: precision; recall; F1.
"""

# N rows, C classes, L labels

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from sonde.audits._show import figure, short
from sonde.core import Figure, Measure, Table
from sonde.core.finding import Shown
from sonde.drawing import INK, WHITE, canvas

from .classification import confusion, per_class
from .intervals import Array, Interval, left_out, wilson
from .multilabel import THRESHOLD
from .worst import worst_of

SMALLEST = 10  # rows of a class, to be the worst: with fewer, its share moves by more than a tenth with each row
LARGEST = 20  # classes in a confusion matrix that can still be read
COLUMNS = ("{}", "rows", "recall", "95 %", "answered", "precision", "95 %", "F1", "95 %")
SOURCE = "share of a class's rows that is found (recall), of the class where it is lowest"


@dataclass(frozen=True)
class Counts:
    """Of one class against the rest: rows of it, rows called so, and rows that are both."""

    n: int
    called: int
    both: int

    @property
    def f1(self) -> float | None:
        """2 both / (n + called); None where both are zero."""
        return 2 * self.both / (self.n + self.called) if self.n + self.called else None

    @property
    def f1_interval(self) -> Interval | None:
        """F1 is 2 j / (1 + j) of the share j of rows that are both among those that are either: Wilson's, mapped."""
        ends = wilson(self.both, self.n + self.called - self.both)
        return ends and (2 * ends[0] / (1 + ends[0]), 2 * ends[1] / (1 + ends[1]))


def class_findings(probabilities: Tensor, y: Tensor, classes: Sequence[str], split: str = "test") -> Iterator[Shown]:
    """The worst class, the table of all, and the confusion matrix of a classifier. Shapes as `classification`."""
    counts = confusion(probabilities, y, classes).numpy()
    rows = [Counts(p.n, p.called, int(counts[c, c])) for c, p in enumerate(per_class(probabilities, y, classes))]
    yield _worst_class(rows, classes, len(y), split)
    if len(y):
        yield _table("classes", "Every class: the share found, and the share right of those called so.", rows, classes)
        yield confusion_matrix(counts, classes)


def label_findings(probabilities: Tensor, y: Tensor, labels: Sequence[str]) -> Iterator[Shown]:
    """The table of all labels. Shapes as `multilabel`."""
    given, truth = probabilities.detach().cpu().numpy() > THRESHOLD, y.detach().cpu().numpy() > 0.5
    rows = [
        Counts(int(t.sum()), int(g.sum()), int((t & g).sum())) for t, g in zip(truth.T, given.T, strict=True)
    ]  # NaN > 0.5 is False: no label is given
    if len(y):
        yield _table(
            "labels", "Every label: the share found, and the share right of those given.", rows, labels, "label"
        )


def _worst_class(rows: Sequence[Counts], classes: Sequence[str], n: int, split: str) -> Measure:
    name = "quality/worst_class/recall"
    smallest = min(SMALLEST, max((r.n for r in rows), default=0))  # of tiny test sets, the largest classes
    found = worst_of(np.array([r.both for r in rows]), np.array([r.n for r in rows]), smallest)
    if found is None:
        return left_out(name, "1", n, "higher", SOURCE, split, f"the {split} split has no rows")
    how = {"class": short(classes[found.index], 80), "smallest": smallest, **found.how}
    return Measure(name, found.value, "1", rows[found.index].n, "higher", SOURCE, found.interval, split, how)


def _table(name: str, caption: str, rows: Sequence[Counts], names: Sequence[str], what: str = "class") -> Table:
    cells = []
    for called, r in zip(names, rows, strict=True):
        recall, precision = r.both / r.n if r.n else None, r.both / r.called if r.called else None
        cells.append((
            short(called, 60), r.n, recall, ends(wilson(r.both, r.n)), r.called, precision,
            ends(wilson(r.both, r.called)), r.f1, ends(r.f1_interval),
        ))  # fmt: skip
    columns = (what, *COLUMNS[1:])
    return Table(name, f"{caption} Intervals: Wilson (1927), of each by itself.", columns, tuple(cells))


def ends(interval: Interval | None, places: int = 3) -> str | None:
    """An interval as a table's cell."""
    return interval and f"{interval[0]:.{places}f} to {interval[1]:.{places}f}"


def confusion_matrix(counts: Array, classes: Sequence[str]) -> Figure | Table:
    """How often class t was called class g: a figure, or a table of the commonest for more than 20 classes."""
    c = len(classes)
    if c > LARGEST:
        return _commonest(counts, classes)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    drawing, axes = canvas(7, min(6.4, 1.7 + 0.42 * c))
    shade = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (t, g), n in np.ndenumerate(counts):
        if n:
            ink = WHITE if shares[t, g] > 0.55 else INK
            axes.text(g, t, f"{n:,}", ha="center", va="center", color=ink, fontsize=9.5 if c <= 12 else 7)
    names = [short(name, 14) for name in classes]
    level = c <= 3 or max(map(len, names)) <= 3
    axes.set_xticks(range(c), names, rotation=0 if level else 45, ha="center" if level else "right")
    axes.set_yticks(range(c), names)
    axes.grid(False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel("answered")
    axes.set_ylabel("true")
    bar: Any = drawing.colorbar(shade, ax=axes, shrink=0.7, label="share of the true class")
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=9, labelcolor=INK)
    return figure("confusion", "Rows by true class and answer; the shade is the share of the true class.", drawing)


def _commonest(counts: Array, classes: Sequence[str], most: int = 20) -> Table:
    off = counts * (1 - np.eye(len(classes), dtype=counts.dtype))
    at = [divmod(int(i), len(classes)) for i in np.argsort(-off, axis=None, kind="stable")[:most]]
    of = counts.sum(1)
    cells = tuple(
        (short(classes[t], 60), short(classes[g], 60), int(off[t, g]), float(off[t, g] / of[t]))
        for t, g in at
        if off[t, g]
    )
    columns = ("true", "answered", "rows", "share of the true class")
    return Table("confusions", "The commonest confusions.", columns, cells)
