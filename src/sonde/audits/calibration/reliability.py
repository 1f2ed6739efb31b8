"""Whether a probability of 0.8 comes true in 80 of 100: calibration errors, the Brier score, the reliability diagram.

Entry: calibration; expected calibration error.
"""

# N rows, C classes or labels, K bins

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from sonde.audits._show import figure
from sonde.audits.quality.intervals import Array, Interval, bootstrap, mean, settings
from sonde.audits.quality.worst import clopper_pearson
from sonde.core import Audit, Clock, Figure, Measure, Subject, Table
from sonde.core.finding import Shown
from sonde.drawing import COLOURS, MUTED, canvas, legend

from ._answers import probabilities
from .brier import decomposed
from .errors import BINS, Binned, debiased, equal_mass, equal_width

SOURCES = {
    "adaptive_ece": "Nguyen and O'Connor (2015), sec. 3: bins of equally many rows",
    "classwise_ece": "Nixon et al. (2019), eq. 3, static calibration error",
    "debiased_error": "Kumar, Liang and Ma (2019), sec. 4: root of the debiased squared error",
    "overconfidence": "mean probability of the answers less the share of them that is right",
    "brier": "Brier (1950), summed over classes, mean over rows",
    "brier/miscalibration": "Dimitriadis, Gneiting and Jordan (2021), eq. 7 (MCB)",
    "brier/discrimination": "Dimitriadis, Gneiting and Jordan (2021), eq. 7 (DSC)",
    "brier/uncertainty": "Dimitriadis, Gneiting and Jordan (2021), eq. 7 (UNC)",
}


class Reliability(Audit):
    """Whether probabilities come true as often as they say.

    bins: of the errors and of the diagram.
    """

    def __init__(self, bins: int = BINS) -> None:
        self.bins = bins

    def refuses(self, subject: Subject) -> str:
        """See `Audit.refuses`."""
        return "predicted numbers come without probabilities" if subject.task == "regression" else ""

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        """See `Audit.run`."""
        p, y = probabilities(subject)
        single = subject.task == "classification"
        hit = np.eye(p.shape[1])[y] if single else (y > 0.5).astype(float)  # (N, C)
        if single:
            sure, right = p.max(1), (p.argmax(1) == y).astype(float)
            yield from self._of_answers(sure, right)
            yield diagram(equal_mass(sure, right, self._few(len(sure))), "of the answers")
            yield by_bin(equal_mass(sure, right, self._few(len(sure))))
        elif p.shape[1]:
            yield diagram(equal_mass(p.ravel(), hit.ravel(), self._few(p.size)), "of all labels")
        clock.at(0.5)
        classwise = equal_width(p, hit, self.bins)
        yield _measure("classwise_ece", classwise.error, len(p), *_of(classwise, f"{self.bins} of equal width a class"))
        yield from _brier(p, hit)

    def _few(self, n: int) -> int:
        """Bins of which each has some 20 rows: a share of fewer says next to nothing."""
        return max(1, min(self.bins, n // 20))

    def _of_answers(self, sure: Array, right: Array) -> Iterator[Measure]:
        n = len(sure)
        adaptive = equal_mass(sure, right, self._few(n))
        how = f"{adaptive.bins} of about equally many rows"
        yield _measure("adaptive_ece", adaptive.error, n, *_of(adaptive, how))
        value, interval = debiased(adaptive)
        method = "bootstrap around the plain estimate, 2000 resamples" if interval else "none: too few rows"
        yield _measure("debiased_error", value, n, interval, {"interval": method, "bins": how})
        gap = mean(sure - right, -1.0, 1.0)
        between = bootstrap({"": gap})[""]
        yield _measure("overconfidence", gap.value, n, between, settings("bca", between), "neither")


def _of(binned: Binned, bins: str) -> tuple[Interval | None, dict[str, Any]]:
    interval, how = binned.interval()
    return interval, {**how, "bins": bins}


def _measure(
    name: str, value: float, n: int, interval: Interval | None, how: dict[str, Any], better: Any = "lower"
) -> Measure:
    return Measure(f"calibration/{name}", float(value), "1", n, better, SOURCES[name], interval, settings=how)


def _brier(p: Array, hit: Array) -> Iterator[Measure]:
    n = len(p)
    score = mean(((p - hit) ** 2).sum(1), low=0.0)
    interval = bootstrap({"": score})[""]
    yield _measure("brier", score.value, n, interval, settings("bca", interval))
    parts = decomposed(p, hit)
    how = {"fit": "rising step functions, one for each class", "resamples": parts.resamples}
    made = f"bootstrap, basic below and percentile above (Davison and Hinkley, 1997), {parts.resamples} resamples"
    for name, value, ends, better in (
        ("brier/miscalibration", parts.miscalibration, parts.miscalibration_interval, "lower"),
        ("brier/discrimination", parts.discrimination, parts.discrimination_interval, "higher"),
    ):
        text = made if ends else "none: too few rows, or the same on every resample"
        yield _measure(name, value, n, ends, {"interval": text, **how}, better)
    none = {"interval": "none: it is of the truths, not of the model"}
    yield _measure("brier/uncertainty", parts.uncertainty, n, None, none, "neither")


def diagram(binned: Binned, what: str, after: Binned | None = None) -> Figure:
    """The reliability diagram (Guo et al., 2017, fig. 1, with intervals in place of bars), over how sure answers are.

    after: the same rows once recalibrated.
    """
    drawing, (axes, below) = canvas(7, 5.4, rows=2)
    axes.get_gridspec().set_height_ratios((4, 1))
    pairs = [(binned, COLOURS[0], "as it is" if after else "")] + (
        [(after, COLOURS[1], "recalibrated")] if after else []
    )
    start = max(0.0, min(float(b.p.min(initial=1.0)) for b, _, _ in pairs) - 0.03)
    axes.plot((0, 1), (0, 1), ":", color=MUTED, linewidth=1.2)
    lowest = [start]
    for one, colour, label in pairs:
        rows, hits, sure = summed(one)
        low, high = clopper_pearson(hits, rows)
        share = hits / rows
        lowest.append(float(low.min()))
        bars = np.clip(np.stack([share - low, high - share]), 0, None)
        axes.errorbar(
            sure, share, bars, fmt="o-", color=colour, markersize=4.5, linewidth=1.5, elinewidth=1, label=label
        )
        edges = np.linspace(start, 1, 31)
        weights = np.full(one.p.size, 1 / one.p.size)
        below.hist(
            one.p.ravel(),
            edges,
            weights=weights,
            color=colour,
            histtype="step" if after else "stepfilled",
            linewidth=1.4,
        )
    if not after:
        rows, hits, sure = summed(binned)
        axes.vlines(
            sure, np.minimum(sure, hits / rows), np.maximum(sure, hits / rows), color="#f0c9b5", linewidth=5, zorder=1
        )
    middle = start + 0.72 * (1 - start)
    axes.annotate("as often as said", (middle, middle), (8, -4), textcoords="offset points", color=MUTED, fontsize=9,
                  va="top")  # fmt: skip
    axes.set_ylabel("share that comes true")
    axes.set_xlim(start, 1.02)
    axes.set_ylim(max(0.0, min(lowest) - 0.04), 1.03)
    axes.tick_params(labelbottom=False)
    below.set_xlim(start, 1.02)
    below.set_xlabel(f"probability {what}")
    below.set_ylabel("rows")
    below.yaxis.set_major_formatter(lambda v, _: f"{100 * v:.0f} %")
    if after:
        legend(axes, "lower right")
    name = "reliability-before-and-after" if after else "reliability"
    text = "How often answers come true, by how sure they are: bins of equally many rows, 95 % intervals."
    if after:
        text = "The same before and after recalibration: " + text[0].lower() + text[1:]
    return figure(name, text, drawing)


def summed(binned: Binned) -> tuple[Array, Array, Array]:
    """Of each bin that has rows: how many, how many came true, and the mean probability."""
    rows = np.bincount(binned.which, minlength=binned.bins)
    hits = np.bincount(binned.which, binned.hit, binned.bins)
    sure = np.bincount(binned.which, binned.p, binned.bins)
    some = rows > 0
    return rows[some], hits[some], sure[some] / rows[some]


def by_bin(binned: Binned) -> Table:
    """The diagram in numbers."""
    rows, hits, sure = summed(binned)
    low, high = clopper_pearson(hits, rows)
    cells = tuple(
        (float(s), int(n), float(h / n), f"{a:.3f} to {b:.3f}", float(s - h / n))
        for n, h, s, a, b in zip(rows, hits, sure, low, high, strict=True)
    )
    columns = ("mean probability", "rows", "right", "95 %", "too sure by")
    return Table("reliability", "The diagram in numbers. Intervals: Clopper and Pearson (1934).", columns, cells)
