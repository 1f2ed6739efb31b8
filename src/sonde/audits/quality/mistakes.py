"""The rows that are answered most wrongly, for a person to look at: what is hard, and which labels may be wrong.

Of a classifier, labels are doubted by the counts of confident learning (Northcutt, Jiang and Chuang, Confident
learning: estimating uncertainty in dataset labels, 2021, sec. 3.1): a row of class y is doubted when the model is as
sure of another class as it is, on average, of that class's own rows. The test sets of ten well-known collections hold
3.4 % wrong labels by such a count, checked by people (Northcutt, Athalye and Mueller, Pervasive label errors in test
sets destabilize machine learning benchmarks, 2021). A weak model doubts many labels that are right.

Entry: audits.
"""

# N rows, C classes, L labels, T targets

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from torch import Tensor

from sonde.audits._show import figure, short
from sonde.core import Audit, Batch, Clock, Figure, Measure, SondeError, Subject, Table
from sonde.core.finding import Shown
from sonde.drawing import COLOURS, INK, SMALL, WHITE, style

from .intervals import Array, left_out, settings, wilson

SURE = 0.9  # a probability; a decision of which the model is surer than this is called confident
FAR = 3.0  # robust standard deviations
MAD = 1.4826  # of a normal distribution, the standard deviation over the median absolute deviation
ACROSS = 6  # pictures side by side
NORTHCUTT = "Northcutt et al. (2021), confident learning, sec. 3.1"
CONFIDENT = "wrong decisions with a probability of 0.9 or more"
HAMPEL = "errors beyond 3 robust standard deviations (Hampel, 1974)"


class Mistakes(Audit):
    """The rows that are answered most wrongly, and labels that the model doubts.

    rows: how many are listed.
    """

    cost = 0.3

    def __init__(self, rows: int = 12, split: str = "test") -> None:
        if rows < 1:
            raise SondeError(f"Mistakes(rows={rows}) lists nothing", "choose 1 or more")
        self.rows, self.split = rows, split

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        """See `Audit.run`."""
        batch = subject.rows(self.split)
        answers = subject.answers(self.split).double().numpy()
        if subject.task == "classification":
            yield from self._classes(subject, batch, answers)
        elif subject.task == "multilabel":
            yield from self._labels(subject, batch, answers)
        else:
            yield from self._numbers(subject, batch, answers)

    def _classes(self, subject: Subject, batch: Batch, p: Array) -> Iterator[Shown]:
        y = batch.y.cpu().numpy()
        decided = subject.decisions(self.split).cpu().numpy()
        there = np.isfinite(p).all(1)
        wrong = (decided != y) & there
        of = np.arange(len(y))
        sure, truth = p[of, decided], p[of, y]
        yield self._share("confident_share", int((wrong & (sure >= SURE)).sum()), len(y), "lower", CONFIDENT)
        doubted, instead = doubts(p[there], y[there])
        if 2 * int(wrong.sum() + (~there).sum()) < len(y):
            yield self._share("doubted_labels_share", int(doubted.sum()), len(y), "neither", NORTHCUTT)
        else:
            doubted = np.zeros_like(doubted)
            why = "the model is wrong on half of the rows or more, so its doubts say little of the labels"
            name = "quality/mistakes/doubted_labels_share"
            yield left_out(name, "1", len(y), "neither", NORTHCUTT, self.split, why)
        worst = np.flatnonzero(wrong)
        worst = worst[np.argsort(truth[worst] - sure[worst], kind="stable")][: self.rows]
        if not len(worst):
            return
        other = np.full(len(y), -1)
        other[np.flatnonzero(there)[doubted]] = instead[doubted]
        names = [short(c, 40) for c in subject.classes]
        lines = [
            (called(subject, self.split, batch, i), names[y[i]], names[decided[i]], float(sure[i]), float(truth[i]),
             names[other[i]] if other[i] >= 0 else "")
            for i in worst.tolist()
        ]  # fmt: skip
        columns = ("row", "labelled", "answered", "probability", "of the label", "label doubted for")
        caption = f"The {len(lines)} most wrongly answered of {int(wrong.sum())} wrong rows among {len(y)}."
        yield Table("mistakes", caption, columns, tuple(lines))
        if isinstance(batch.x, Tensor) and batch.x.dim() == 4 and subject.kind == "image":
            yield _pictures(subject, batch.x[worst], [(names[y[i]], names[decided[i]]) for i in worst.tolist()])

    def _labels(self, subject: Subject, batch: Batch, p: Array) -> Iterator[Shown]:
        y = batch.y.cpu().numpy() > 0.5
        off = np.where(y, 1 - p, p)  # (N, L), how far from the truth
        known = np.where(np.isfinite(off), off, -1.0)
        count = int((known >= SURE).any(1).sum())
        yield self._share("confident_share", count, len(y), "lower", "rows with a label that is off by 0.9 or more")
        worst = [at for at in np.argsort(-known, axis=None, kind="stable")[: self.rows] if known.flat[at] > 0.5]
        lines = []
        for at in worst:
            i, label = divmod(int(at), y.shape[1])
            has = "has it" if y[i, label] else "has it not"
            row = called(subject, self.split, batch, i)
            lines.append((row, short(subject.classes[label], 40), has, float(p[i, label])))
        if lines:
            columns = ("row", "label", "truth", "probability")
            yield Table("mistakes", "The labels that are most wrong.", columns, tuple(lines))

    def _numbers(self, subject: Subject, batch: Batch, guess: Array) -> Iterator[Shown]:
        y = batch.y.cpu().double().numpy()
        guess, y = (v if v.ndim == 2 else v[:, None] for v in (guess, y))  # (N, T)
        error = guess - y
        known = np.isfinite(error).all(1)
        if not known.any():
            yield left_out(
                "quality/mistakes/far_off_share", "1", len(y), "neither", HAMPEL, self.split, "no answer is a number"
            )
            return
        centre = np.median(error[known], 0)
        spread = MAD * np.median(np.abs(error[known] - centre), 0)  # (T,)
        off = np.abs(error - centre) / np.where(spread > 0, spread, 1.0)
        off = np.where(known[:, None], off, 0.0)
        if (spread > 0).all():
            yield self._share("far_off_share", int((off > FAR).any(1).sum()), len(y), "neither", HAMPEL)
        else:
            why = "half of the errors are the same"
            yield left_out("quality/mistakes/far_off_share", "1", len(y), "neither", HAMPEL, self.split, why)
        names = list(getattr(getattr(subject.schema, "target", None), "columns", None) or map(str, range(y.shape[1])))
        lines = []
        for at in np.argsort(-off, axis=None, kind="stable")[: self.rows]:
            i, t = divmod(int(at), y.shape[1])
            row = called(subject, self.split, batch, i)
            if off[i, t] > 0:
                lines.append((row, short(names[t], 40), float(y[i, t]), float(guess[i, t]), float(error[i, t])))
        if lines:
            columns = ("row", "target", "true", "predicted", "error")
            yield Table("mistakes", f"The {len(lines)} answers that are furthest off.", columns, tuple(lines))

    def _share(self, name: str, count: int, n: int, better: Literal["lower", "neither"], source: str) -> Measure:
        ends = wilson(count, n)
        full = f"quality/mistakes/{name}"
        return Measure(full, count / n, "1", n, better, source, ends, self.split, settings("wilson", ends))


def doubts(p: Array, y: Array) -> tuple[Array, Array]:
    """Which labels confident learning doubts, (N,) bool, and the class that the model would give instead, (N,).

    p: (N, C). y: (N,). The bar of a class is the mean probability of it among its own rows; a class without rows has
    none that could be reached.
    """
    classes = p.shape[1]
    bars = np.array([p[y == c, c].mean() if (y == c).any() else np.inf for c in range(classes)])
    reached = np.where(p >= bars, p, -1.0)  # (N, C)
    best = reached.argmax(1)
    return (reached.max(1) >= 0) & (best != y), best


def called(subject: Subject, split: str, batch: Batch, i: int) -> str:
    """What a person calls a row."""
    names: Sequence[Any] = subject.names.get(split, ())
    if len(names):
        return short(names[i], 100)
    return f"record {int(batch.records[i]) if batch.records is not None else i}"


def _pictures(subject: Subject, x: Tensor, named: Sequence[tuple[str, str]]) -> Figure:
    from matplotlib.figure import Figure as Drawing

    low, high = subject.bounds or (float(x.min()), float(x.max()))
    across = min(ACROSS, max(4, len(x)))
    down = -(-len(x) // across)
    drawing = Drawing(figsize=(7, down * (7 / across + 0.45)), dpi=100, facecolor=WHITE, layout="constrained")
    grid = drawing.subplots(down, across, squeeze=False)
    for axes in grid.flat:
        style(axes)
        axes.set_axis_off()
    for axes, one, (label, answer) in zip(grid.flat, x, named, strict=False):
        unit = ((one.detach().cpu().float() - low) / ((high - low) or 1.0)).clamp(0, 1)
        shown = unit.movedim(0, 2) if len(unit) == 3 else unit.mean(0)
        axes.imshow(shown.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(short(answer, 16), fontsize=SMALL, color=COLOURS[1], pad=3)
        axes.text(0.5, -0.04, f"is {short(label, 16)}", transform=axes.transAxes, ha="center", va="top", color=INK,
                  fontsize=SMALL)  # fmt: skip
    return figure("mistaken_pictures", "What the model answers (above) and what the label says (below).", drawing)
