"""Sets of classes, or intervals of numbers, that hold the truth at a chosen rate: calibrated on validation rows, tried.

The rate is promised for all rows together if test rows are like validation rows; this audit looks whether it is met,
what it costs (how large the sets are), and for which classes and groups it is not met, which nothing promises.

Entry: calibration; confidence interval.
"""

# N rows, C classes, T targets

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from sonde.audits._show import figure, short
from sonde.audits.quality.classes import ends
from sonde.audits.quality.intervals import Array, bootstrap, left_out, mean, settings
from sonde.audits.quality.worst import clopper_pearson, worst_of
from sonde.calibration import conformal
from sonde.core import Audit, Clock, Figure, Measure, SondeError, Subject, Table
from sonde.core.finding import Shown
from sonde.drawing import canvas, legend

from ._answers import probabilities

SOURCES = {
    "lac": "Sadinle, Lei and Wasserman (2019), sec. 3",
    "aps": "Romano, Sesia and Candès (2020), sec. 2",
    "raps": "Angelopoulos et al. (2021), sec. 2",
    "residual": "Lei et al. (2018), algorithm 2",
}
EXACT = "Clopper and Pearson (1934)"


class Conformal(Audit):
    """Prediction sets that hold the truth at a chosen rate: whether they do, and how large they are.

    alpha: the share of rows whose set may miss the truth. smallest: rows of a class or group, to be called the worst.
    """

    def __init__(self, alpha: float = 0.1, smallest: int = 30) -> None:
        if not 0 < alpha < 1:
            raise SondeError(f"alpha must lie between 0 and 1; got {alpha}", "0.1: the truth is in 90 of 100 sets")
        self.alpha, self.smallest = alpha, smallest

    def refuses(self, subject: Subject) -> str:
        """See `Audit.refuses`."""
        if subject.task == "multilabel":
            return "prediction sets here are of one class a row, or of numbers"
        if "val" not in subject.splits or not len(subject.splits["val"]):
            return "there are no validation rows to calibrate on, and test rows must not be calibrated on"
        least = math.ceil(1 / self.alpha) - 1
        if len(subject.splits["val"]) < least:
            return f"sets that miss {self.alpha:.4g} of rows need at least {least} validation rows"
        return ""

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        """See `Audit.run`."""
        yield from (self._intervals if subject.task == "regression" else self._sets)(subject, clock)

    def _sets(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        p_val, y_val = probabilities(subject, "val")
        p, y = probabilities(subject)
        rows: list[tuple[Any, ...]] = []
        sizes: dict[str, Array] = {}
        by_class: dict[str, list[Array]] = {}
        for i, method in enumerate(conformal.METHODS):
            sets = conformal.fit(torch.from_numpy(p_val), torch.from_numpy(y_val), self.alpha, method)
            held = sets(torch.from_numpy(p)).numpy()
            covered, size = held[np.arange(len(y)), y], held.sum(1)
            how = {"alpha": self.alpha, "calibrated_on": len(y_val)}
            if method == "raps":
                how |= {"penalty": sets.penalty, "rank": sets.rank}
            found = [
                _coverage(f"calibration/{method}/coverage", covered, sets.coverage_range(len(y)), SOURCES[method], how),
                _size(method, size, how),
                self._worst("class", method, covered, y, subject.classes, how),
                self._worst_group(method, covered, subject, how),
            ]
            yield from (m for m in found if m is not None)
            sizes[method], by_class[method] = size, [covered[y == c] for c in range(p.shape[1])]
            rows.append((
                method, float(covered.mean()), ends(found[0].interval if found[0] else None), float(size.mean()),
                int(np.median(size)), float((size == 1).mean()), float((size == 0).mean()),
            ))  # fmt: skip
            clock.at((i + 1) / 3)
        low, high = conformal.coverage_range(len(y_val), len(y), self.alpha)
        columns = ("method", "coverage", "95 %", "mean size", "median size", "sets of one class", "empty sets")
        caption = (
            f"Calibrated on {len(y_val):,} validation rows to miss {self.alpha:.4g} of rows. On {len(y):,} test rows"
            f" like those, coverage is {low:.3f} to {high:.3f} in 95 of 100 cases."
        )
        yield Table("prediction-sets", caption, columns, tuple(rows))
        yield _by_class(by_class, subject.classes)
        yield _drawn(sizes, p.shape[1])

    def _intervals(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        guess, truth = probabilities(subject)
        guess_val, truth_val = probabilities(subject, "val")
        known = [torch.from_numpy(v.astype(float)) for v in (guess_val, truth_val)]
        intervals = conformal.fit_residuals(known[0], known[1], self.alpha)
        how = {"alpha": self.alpha, "calibrated_on": len(truth_val)}
        expected = conformal.coverage_range(len(truth_val), len(truth), self.alpha)
        targets = getattr(getattr(subject.schema, "target", None), "columns", None) or ()
        for t, width in enumerate(intervals.width):
            name = str(targets[t]) if t < len(targets) else str(t + 1)
            suffix = f"/{name}" if len(intervals.width) > 1 else ""
            covered = np.abs(guess[:, t] - truth[:, t]) <= width
            where = f"calibration/residual{suffix}"
            yield _coverage(f"{where}/coverage", covered, expected, SOURCES["residual"], how)
            none = {"interval": "none: it follows from the validation rows alone", **how}
            yield Measure(
                f"{where}/interval_width", 2 * width, "", len(truth), "lower", SOURCES["residual"], settings=none
            )
            worst = self._worst_group(f"residual{suffix}", covered, subject, how)
            if worst is not None:
                yield worst
            yield _by_prediction(f"coverage-{t + 1}", name, guess[:, t], covered)

    def _worst(
        self, kind: str, method: str, covered: Array, codes: Array, names: Sequence[str], how: dict[str, Any]
    ) -> Measure:
        name = f"calibration/{method}/worst_{kind}_coverage"
        source = f"{SOURCES[method.partition('/')[0]]}; of the {kind} where it is lowest"
        hits = np.array([int(covered[codes == c].sum()) for c in range(len(names))])
        n = np.array([int((codes == c).sum()) for c in range(len(names))])
        found = worst_of(hits, n, self.smallest)
        if found is None:
            why = f"no {kind} has {self.smallest} test rows"
            return left_out(name, "1", len(covered), "higher", source, "test", why)
        said = {kind: short(names[found.index], 80), "smallest": self.smallest, **how, **found.how}
        return Measure(name, found.value, "1", int(n[found.index]), "higher", source, found.interval, settings=said)

    def _worst_group(self, method: str, covered: Array, subject: Subject, how: dict[str, Any]) -> Measure | None:
        """Over the values of all sensitive attributes; None where there are none."""
        fields = subject.rows().fields
        parts, names = [], []
        for field, values in subject.groups.items():
            if field in fields:
                parts += [fields[field].numpy() == i for i in range(len(values))]
                names += [f"{field} = {v}" for v in values]
        if not parts:
            return None
        hits, n = np.array([covered[g].sum() for g in parts]), np.array([g.sum() for g in parts])
        name, source = f"calibration/{method}/worst_group_coverage", SOURCES[method.partition("/")[0]]
        found = worst_of(hits, n, self.smallest)
        if found is None:
            why = f"no group has {self.smallest} test rows"
            return left_out(name, "1", len(covered), "higher", source, "test", why)
        said = {"group": short(names[found.index], 80), "smallest": self.smallest, **how, **found.how}
        source = f"{source}; of the group where it is lowest"
        return Measure(name, found.value, "1", int(n[found.index]), "higher", source, found.interval, settings=said)


def _coverage(name: str, covered: Array, expected: tuple[float, float], source: str, how: dict[str, Any]) -> Measure:
    low, high = (float(v) for v in clopper_pearson(covered.sum(), len(covered)))
    said = {"interval": EXACT, **how, "expected": [round(e, 4) for e in expected], "law": "beta-binomial (Vovk, 2012)"}
    return Measure(name, float(covered.mean()), "1", len(covered), "neither", source, (low, high), settings=said)


def _size(method: str, size: Array, how: dict[str, Any]) -> Measure:
    s = mean(size.astype(float), low=0.0)
    interval = bootstrap({"": s})[""]
    said = {**settings("bca", interval), **how}
    name = f"calibration/{method}/set_size"
    return Measure(name, s.value, "classes", len(size), "lower", SOURCES[method], interval, settings=said)


def _by_class(covered: dict[str, list[Array]], classes: Sequence[str], most: int = 30) -> Table:
    """Coverage of each class, the lowest by lac first."""
    order = sorted(range(len(classes)), key=lambda c: covered["lac"][c].mean() if len(covered["lac"][c]) else 2.0)
    cells = []
    for c in order[:most]:
        n = len(covered["lac"][c])
        row: list[Any] = [short(classes[c], 60), n]
        for method in conformal.METHODS:
            hits = int(covered[method][c].sum())
            low, high = clopper_pearson(hits, n)
            row += [hits / n if n else None, ends((float(low), float(high))) if n else None]
        cells.append(tuple(row))
    columns = ("class", "rows", "lac", "95 %", "aps", "95 %", "raps", "95 %")
    return Table("coverage-by-class", "Coverage of each class, which nothing promises.", columns, tuple(cells))


def _by_prediction(file: str, name: str, guess: Array, covered: Array, bins: int = 5) -> Table:
    edges = np.unique(np.quantile(guess, np.linspace(0, 1, bins + 1)[1:-1]))
    which = np.searchsorted(edges, guess, side="left")
    cells = []
    for k in np.unique(which):
        own = which == k
        low, high = clopper_pearson(covered[own].sum(), own.sum())
        text = f"{guess[own].min():.4g} to {guess[own].max():.4g}"
        cells.append((text, int(own.sum()), float(covered[own].mean()), ends((float(low), float(high)))))
    caption = (
        f"Coverage by fifths of the predicted {short(name, 60)}: intervals of one width suit some better than others."
    )
    return Table(file, caption, ("predicted", "rows", "coverage", "95 %"), tuple(cells))


def _drawn(sizes: dict[str, Array], classes: int) -> Figure:
    drawing, axes = canvas(7, 3.2)
    largest = max(int(np.quantile(s, 0.995)) for s in sizes.values())
    top = max(2, min(classes, largest))
    for i, (method, size) in enumerate(sizes.items()):
        share = np.bincount(np.minimum(size, top), minlength=top + 1) / len(size)
        axes.bar(np.arange(top + 1) + (i - 1) * 0.27, share, 0.25, label=method)
    step = max(1, top // 12)
    ticks = list(range(0, top + 1, step))
    axes.set_xticks(ticks, [f"{k}+" if k == top and top < classes else str(k) for k in ticks])
    axes.grid(axis="x", visible=False)
    axes.set_xlabel("classes in the set")
    axes.set_ylabel("share of rows")
    axes.yaxis.set_major_formatter(lambda v, _: f"{100 * v:.0f} %")
    legend(axes, "upper right")
    return figure("set-sizes", "How many classes the sets hold.", drawing)
