"""Every threshold at once: ROC and precision-recall curves of each class against the rest, with their areas.

Entry: ROC; AUC; precision; recall.
"""

# N rows, C classes or labels, B resamples

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from sonde.audits._show import figure, short
from sonde.core import Audit, Clock, Figure, Measure, Subject, Table
from sonde.core.finding import Shown
from sonde.drawing import COLOURS, MUTED, canvas, legend

from .classes import ends
from .classification import _share_below
from .intervals import LEVEL, Array, Interval, left_out, percentile

RESAMPLES = 500  # each sorts nothing anew; the ends of an interval are right to a twentieth of its width
WORK = 3e8  # rows times classes times resamples that take a few seconds
NAMED = 5  # curves with a colour and a name: the worst
AP = "mean precision over the rows of a class, by falling probability (Salton and McGill, 1983); macro"
DELONG = "DeLong et al. (1988), on the logit scale (Pepe, 2003, sec. 5.2)"
PERCENTILE = "percentile bootstrap (Efron, 1979)"


@dataclass(frozen=True, eq=False)
class Curve:
    """One class against the rest. `false`, `found`: ROC, (K,) each; `right`: precision at each of these thresholds."""

    name: str
    n: int
    auc: float
    auc_interval: Interval | None
    ap: float
    ap_interval: Interval | None
    false: Array
    found: Array
    right: Array


class Curves(Audit):
    """What other thresholds would give: ROC and precision-recall curves with their areas."""

    def refuses(self, subject: Subject) -> str:
        """See `Audit.refuses`."""
        return "predicted numbers have no classes" if subject.task == "regression" else ""

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        """See `Audit.run`."""
        y, p = subject.rows().y.numpy(), subject.answers().double().numpy()
        n, names = len(y), subject.classes
        truths = np.eye(len(names), dtype=bool)[y] if subject.task == "classification" else y > 0.5  # (N, C)
        lost = int((~np.isfinite(p).all(1)).sum())
        which = [1] if subject.task == "classification" and len(names) == 2 else list(range(len(names)))
        which = [c for c in which if 0 < truths[:, c].sum() < n]
        if lost or not which:
            why = f"the probabilities of {lost} of {n} rows are not numbers" if lost else "only one class occurs"
            yield left_out("quality/average_precision", "1", n, "higher", AP, "test", why)
            return
        resamples = int(np.clip(WORK / (n * len(which)), 50, RESAMPLES))
        drawn = []  # the same seed for each class: the same resamples
        curves = []
        for i, c in enumerate(which):
            curve, aps = curve_of(p[:, c], truths[:, c], names[c], resamples)
            curves.append(curve)
            drawn.append(aps)
            clock.at((i + 1) / len(which))
        mean = np.mean(drawn, 0)
        interval = percentile(mean)
        how: dict[str, Any] = {"interval": f"{PERCENTILE}, {resamples} resamples" if interval else "none: too few rows"}
        how |= (
            {"average": "macro, one against the rest"} if len(which) > 1 else {"positive": short(names[which[0]], 80)}
        )
        value = float(np.mean([c.ap for c in curves]))
        yield Measure("quality/average_precision", value, "1", n, "higher", AP, interval, settings=how)
        yield _table(curves, n, resamples)
        yield _drawn(curves)


def curve_of(score: Array, truth: Array, name: str, resamples: int = RESAMPLES) -> tuple[Curve, Array]:
    """The curves of one class, and its average precision on resamples (B,) of the rows.

    score: (N,). truth: (N,) bool, with both values in it.
    """
    order = np.argsort(-score, kind="stable")
    own = truth[order].astype(float)
    last = np.append(np.diff(score[order]) != 0, True)  # of rows with the same score
    hits, above = np.cumsum(own)[last], np.flatnonzero(last) + 1.0
    found, false = hits / hits[-1], (above - hits) / (len(own) - hits[-1])
    area, interval = auc(score, truth)
    generator = np.random.default_rng(0)
    n, at_once = len(own), max(1, int(2e6 // len(own)))
    aps = np.concatenate([
        average_precision(generator.multinomial(n, np.full(n, 1 / n), size=min(at_once, resamples - b)), own, last)
        for b in range(0, resamples, at_once)
    ])  # fmt: skip
    ap = float(average_precision(np.ones((1, n)), own, last)[0])
    start = np.zeros(1)
    curve = Curve(
        name, int(own.sum()), area, interval, ap, percentile(aps),
        np.append(start, false), np.append(start, found), np.append(hits[:1] / above[:1], hits / above),
    )  # fmt: skip
    return curve, aps


def average_precision(times: Array, own: Array, last: Array) -> Array:
    """sum_k (recall_k - recall_k-1) precision_k, (B,), over thresholds k; NaN where no row is of the class.

    times: (B, N) how often each row counts. own: (N,) whether it is of the class. last: (N,) bool, the last row of
    those with its score. Rows are sorted by falling score.
    """
    hits = np.cumsum(times * own, 1)[:, last]  # (B, K)
    above = np.cumsum(times, 1)[:, last]
    precision = hits / np.maximum(above, 1)
    total = hits[:, -1:]
    step = np.diff(hits, axis=1, prepend=0)
    with np.errstate(invalid="ignore"):
        return np.where(total[:, 0] > 0, (step * precision).sum(1) / total[:, 0], np.nan)  # type: ignore[no-any-return]


def auc(score: Array, truth: Array) -> tuple[float, Interval | None]:
    """The area under the ROC curve and its interval; None where no row is placed wrongly, or a class has one row."""
    above = _share_below(score[truth], score[~truth])  # of each row of the class, the share of others it outranks
    below = 1 - _share_below(score[~truth], score[truth])
    area = float(above.mean())
    if min(len(above), len(below)) < 2 or not 0 < area < 1:
        return area, None
    variance = above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below)
    half = NormalDist().inv_cdf(0.5 + LEVEL / 2) * math.sqrt(variance) / (area * (1 - area))
    logit = math.log(area / (1 - area))
    return area, (1 / (1 + math.exp(half - logit)), 1 / (1 + math.exp(-half - logit)))


def _table(curves: Sequence[Curve], n: int, resamples: int) -> Table:
    cells = tuple(
        (short(c.name, 60), c.n, c.auc, ends(c.auc_interval), c.ap, ends(c.ap_interval), c.n / n) for c in curves
    )
    columns = ("class", "rows", "ROC AUC", "95 %", "average precision", "95 %", "by chance")
    caption = f"Areas of each class against the rest. Intervals: {DELONG}; {PERCENTILE}, {resamples} resamples."
    return Table("areas", caption, columns, cells)


def _drawn(curves: Sequence[Curve]) -> Figure:
    drawing, (roc, pr) = canvas(7.4, 4.1, columns=2)
    worst = sorted(range(len(curves)), key=lambda i: (curves[i].auc, i))[:NAMED]
    colours = dict(zip(worst, COLOURS, strict=False))
    roc.plot((0, 1), (0, 1), color=MUTED, linewidth=0.8, linestyle=":")
    for i in [i for i in range(len(curves)) if i not in colours] + worst[::-1]:
        c, ink = curves[i], colours.get(i, "#c9ced4")
        width, name = (1.7, short(c.name, 18)) if i in colours else (0.9, None)
        at = _thinned(len(c.false))
        roc.step(c.false[at], c.found[at], where="post", color=ink, linewidth=width, label=name)
        pr.plot(c.found[at], c.right[at], color=ink, linewidth=width, label=name)
    for axes, x, y in (
        (roc, "others taken for the class", "of the class, found (recall)"),
        (pr, "recall", "precision"),
    ):
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_aspect("equal")
        axes.set_xlabel(x)
        axes.set_ylabel(y)
    if len(curves) > 1:
        handles, labels = roc.get_legend_handles_labels()
        drawing.legend(
            handles[::-1], labels[::-1], loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9.5
        )
    elif len(curves) == 1:
        legend(roc, "lower right")
    few = f"; the {NAMED} with the smallest area in colour, the others grey" if len(curves) > NAMED else ""
    return figure(
        "roc-and-precision-recall",
        f"ROC (left) and precision-recall curves (right), one class against the rest{few}.",
        drawing,
    )


def _thinned(points: int, most: int = 400) -> Array:
    return np.unique(np.linspace(0, points - 1, min(points, most)).astype(int))
