"""What the tables and charts of a page show: rows rounded and cut to a readable length, marks placed on their axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sonde.report import charts, words
from sonde.report.facts import ClassScore, Curve, Example, Facts, Fit, Histogram, Mark, Score

# How much of a list the page shows: enough to read, little enough for a page that opens at once.
ROWS_SHOWN, ROWS_KEPT = 20, 1000  # of a table: in sight, and behind "show more"
MATRIX_CLASSES = 20  # beyond, a confusion matrix is unreadable and its worst pairs are listed
PAIRS, PAIRS_BESIDE, EXAMPLES, VALUES, CHARTS = 20, 8, 48, 30, 4


@dataclass(frozen=True)
class Part:
    """Rows of a long table: those in sight, those behind "show more", and how many the page leaves out."""

    head: Sequence[Any]
    tail: Sequence[Any]
    left_out: int

    @classmethod
    def of(cls, rows: Sequence[Any]) -> Part:
        """The first `ROWS_SHOWN` rows, and the rest up to `ROWS_KEPT`."""
        return cls(rows[:ROWS_SHOWN], rows[ROWS_SHOWN:ROWS_KEPT], max(0, len(rows) - ROWS_KEPT))


def _value(score: Score) -> str:
    return words.measured(score.value, score.unit, score.percent, score.interval)


def _interval(score: Score) -> str:
    return words.ends(score.interval, score.percent)


def score_row(score: Score) -> dict[str, Any]:
    """A line of the table of measures."""
    return {
        "label": score.label or score.name,
        "value": _value(score),
        "interval": _interval(score),
        "n": score.n,
        "split": score.split,
        "better": {"lower": "lower is better", "higher": "higher is better", "neither": ""}[score.better],
        "source": score.source,
        "settings": ", ".join(f"{key} {words.raw(value)}" for key, value in list(score.settings.items())[:8]),
    }


def tiles(facts: Facts) -> list[dict[str, str]]:
    """The few numbers on top: the first measures on the first split, privacy where it was asked for, time, size."""
    first = facts.measures[0].split if facts.measures else ""
    tiles = [
        {
            "label": f"{s.label or s.name}, {s.split}",
            "value": _value(s),
            "note": _interval(s) or f"{s.n:,} rows",
        }
        for s in [s for s in facts.measures if s.split == first][:2]
    ]
    if facts.privacy is not None:
        p = facts.privacy
        void = "insecure seed" if p.insecure else "no noise was added"
        note = void if p.shown == "none" else f"delta = {words.power(p.delta)}"
        tiles.append({"label": "Privacy", "value": p.shown, "note": note})
    speed = f"{words.number(round(facts.rows_per_second))} rows a second" if words.known(facts.rows_per_second) else ""
    tiles.append({"label": "Training", "value": words.seconds(facts.seconds), "note": speed})
    tiles.append({"label": "Parameters", "value": _short(facts.model.parameters), "note": "numbers learned"})
    return tiles


def _short(count: int) -> str:
    """1,234,567 as 1.23 million."""
    for size, word in ((10**9, "billion"), (10**6, "million")):
        if size <= count < 10**15:
            return f"{words.number(float(f'{count / size:.3g}'))} {word}"
    return words.number(count)


def comparison(facts: Facts) -> dict[str, Any] | None:
    """Net and baselines on the measures they share: a chart for the first few, a table for all."""
    if not facts.baselines:
        return None
    theirs = [{(s.name, s.split): s for s in b.scores} for b in facts.baselines]
    shared = [s for s in facts.measures if any((s.name, s.split) in t for t in theirs)]
    names = [facts.model.name, *(b.name for b in facts.baselines)]
    plots: list[dict[str, Any]] = []
    rows: list[list[tuple[str, str] | None]] = [[] for _ in names]
    for own in shared:
        line = [own, *(t.get((own.name, own.split)) for t in theirs)]
        if len(plots) < CHARTS:
            plots.append(_dot_plot(own, names, line))
        for row, score in zip(rows, line, strict=True):
            row.append((_value(score), _interval(score)) if score else None)
    table = [
        {
            "name": name,
            "net": i == 0,
            "cells": cells,
            "description": facts.baselines[i - 1].description if i else "",
            "seconds": facts.baselines[i - 1].seconds if i else facts.seconds,
            "verdict": facts.baselines[i - 1].verdict if i else "",
        }
        for i, (name, cells) in enumerate(zip(names, rows, strict=True))
    ]
    heads = [f"{s.label or s.name}, {s.split}" for s in shared]
    return {"plots": plots, "heads": heads, "rows": table}


def _dot_plot(own: Score, names: Sequence[str], scores: Sequence[Score | None]) -> dict[str, Any]:
    """A row a model: a dot at the value, a whisker over the interval; models far off stay at the edge with an arrow."""
    known = [(i, s) for i, s in enumerate(scores) if s is not None and math.isfinite(s.value) and abs(s.value) < 1e300]
    spans = [_span(s) for _, s in known]
    inside = charts.without_stragglers(spans) if known and known[0][0] == 0 else [True] * len(known)
    drawn = [v for span, keep in zip(spans, inside, strict=True) if keep for v in span]
    axis = charts.linear(drawn, count=4, percent=own.percent, pad=0.06)
    rows: list[dict[str, Any]] = []
    for i, score in enumerate(scores):
        row: dict[str, Any] = {"name": names[i], "net": i == 0, "at": None, "off": ""}
        row["value"] = words.measured(score.value, "1", score.percent, score.interval) if score else "not measured"
        row["interval"] = _interval(score) if score else ""
        position = next((k for k, (j, _) in enumerate(known) if j == i), None)
        if position is not None and score is not None:
            low, high = spans[position]
            if inside[position]:
                row |= {"at": axis.at(score.value), "low": axis.at(low), "width": axis.at(high) - axis.at(low)}
            else:
                row["off"] = "left" if high < axis.low + (axis.high - axis.low) / 2 else "right"
        rows.append(row)
    label = own.label or own.name
    alt = f"{label} on {own.split}: " + "; ".join(
        f"{words.shown(r['name'], 40)} {r['value']}" + (f" ({r['interval']})" if r["interval"] else "") for r in rows
    )
    note = {"higher": "right is better", "lower": "left is better", "neither": ""}[own.better]
    unit = "" if own.percent or own.unit == "1" else own.unit
    return {"label": label, "split": own.split, "unit": unit, "note": note, "axis": axis, "rows": rows, "alt": alt}


def _span(score: Score) -> tuple[float, float]:
    ends = charts.finite([score.value, *(score.interval or ())])
    return min(ends), max(ends)


def curve_chart(curve: Curve, marks: Sequence[Mark]) -> dict[str, Any]:
    """Lines for training and validation rows over the steps, with the marks; logarithmic where values span decades."""
    parts = [(kind, s) for kind, s in (("train", curve.train), ("val", curve.val)) if s is not None and s.values]
    values = [v for _, s in parts for v in s.values]
    steps = [float(k) for _, s in parts for k in s.steps] + [float(m.step) for m in marks]
    log = not curve.percent and charts.spans_decades(values)
    x = charts.linear([min(steps), max(steps)] if steps else [], count=4)
    y = charts.logarithmic(values) if log else charts.linear(values, percent=curve.percent, pad=0.04)
    lines = []
    for kind, series in parts:
        known = charts.finite(series.values)
        shown = [words.share(v) if curve.percent else words.measured(v, curve.unit) for v in known]
        title = {"train": "training rows", "val": "validation rows"}[kind]
        alt = f"{title}, {len(series.values):,} points"
        if known:
            low, high = shown[known.index(min(known))], shown[known.index(max(known))]
            alt += f" from {shown[0]} to {shown[-1]}, lowest {low}, highest {high}"
        bad = len(series.values) - len(known)
        lines.append(
            {
                "kind": kind,
                "title": title,
                "last": shown[-1] if known else "no finite value",
                "path": charts.line(series.steps, series.values, x, y),
                "band": charts.band(series.steps, series.values, x, y),
                "bad": bad,
                "alt": alt,
            }
        )
    return {
        "name": curve.name,
        "unit": "" if curve.percent or curve.unit == "1" else curve.unit,
        "log": log,
        "x": x,
        "y": y,
        "lines": lines,
        "marks": [{"at": x.at(m.step), "kind": m.kind, "text": m.text} for m in marks],
        "alt": f"{words.shown(curve.name, 80)} over training steps; " + "; ".join(str(line["alt"]) for line in lines),
    }


def matrix(facts: Facts) -> dict[str, Any] | None:
    """Counts with shades by the share of their row; None where there are too many classes to draw."""
    c = facts.confusion
    if c is None or not c.classes or len(c.classes) > MATRIX_CLASSES:
        return None
    counts = {(t, g): n for t, g, n in c.cells}
    rows = []
    for t, name in enumerate(c.classes):
        line = [counts.get((t, g), 0) for g in range(len(c.classes))]
        total = sum(line)
        cells = [
            {"count": n, "shade": f"{'d' if g == t else 'e'}{_shade(n / total if total else 0, g == t)}"}
            for g, n in enumerate(line)
        ]
        rows.append({"name": name, "cells": cells, "total": total})
    return {
        "classes": c.classes,
        "rows": rows,
        "split": c.split,
        "upright": len(c.classes) > 4 and max(map(len, c.classes)) > 4,
        "few": len(c.classes) <= 4,
    }


def _shade(part: float, right: bool) -> int:
    """Shade 0 to 5. Errors are rarer than hits, so their steps are finer."""
    bounds = (0.0, 0.5, 0.75, 0.9, 0.97) if right else (0.0, 0.02, 0.05, 0.1, 0.25)
    return sum(part > b for b in bounds)


def pairs(facts: Facts) -> list[dict[str, Any]]:
    """The pairs of classes most often confused; none for two classes, whose matrix says it all."""
    c = facts.confusion
    if c is None or len(c.classes) < 3:
        return []
    totals: dict[int, int] = {}
    for t, _, n in c.cells:
        totals[t] = totals.get(t, 0) + n
    wrong = sorted((cell for cell in c.cells if cell[0] != cell[1]), key=lambda cell: (-cell[2], cell[:2]))
    return [
        {"truth": c.classes[t], "guess": c.classes[g], "count": n, "share": n / totals[t], "total": totals[t]}
        for t, g, n in wrong[: PAIRS if len(c.classes) > MATRIX_CLASSES else PAIRS_BESIDE]
        if totals[t]
    ]


def class_rows(facts: Facts) -> dict[str, Any] | None:
    """Recall and precision by class, with the interval of recall drawn; the worst first where there are many."""
    rows = facts.per_class
    if not rows:
        return None
    lows = [v for r in rows for v in (r.recall, *(r.recall_interval or ())) if v is not None and math.isfinite(v)]
    axis = charts.linear([min(lows, default=0.0), 1.0], count=4, percent=True)
    worst_first = len(rows) > ROWS_SHOWN
    if worst_first:
        rows = tuple(sorted(rows, key=lambda r: r.recall if words.known(r.recall) else 2.0))

    def row(r: ClassScore) -> dict[str, Any]:
        ends = charts.finite([r.recall, *(r.recall_interval or ())])
        return {
            "name": r.name,
            "n": r.n,
            "recall": _share(r.recall, r.recall_interval),
            "recall_interval": words.ends(r.recall_interval, True),
            "precision": _share(r.precision, r.precision_interval),
            "precision_interval": words.ends(r.precision_interval, True),
            "at": axis.at(r.recall) if words.known(r.recall) else None,
            "low": axis.at(min(ends)) if ends else 0,
            "width": axis.at(max(ends)) - axis.at(min(ends)) if ends else 0,
        }

    part = Part.of(rows)
    shown = Part([row(r) for r in part.head], [row(r) for r in part.tail], part.left_out)
    return {"rows": shown, "axis": axis, "worst_first": worst_first}


def _share(value: float | None, interval: tuple[float, float] | None) -> str:
    return words.number(None) if value is None else words.measured(value, percent=True, interval=interval)


def example_card(example: Example) -> dict[str, Any]:
    """An example with the first of its values."""
    values = list(example.values.items())
    return {"example": example, "values": values[:VALUES], "left_out": max(0, len(values) - VALUES)}


def fit_charts(fit: Fit) -> dict[str, Any]:
    """Predicted against true values on two equal axes, and the histogram of residuals."""
    both = charts.linear([*charts.finite(fit.truth), *charts.finite(fit.guess)], count=4, pad=0.03)
    path, drawn = charts.dots(fit.truth, fit.guess, both, both)
    return {
        "target": fit.target,
        "unit": "" if fit.unit == "1" else fit.unit,
        "split": fit.split,
        "axis": both,
        "path": path,
        "drawn": drawn,
        "n": len(fit.truth),
        "residuals": histogram_chart(fit.residuals, "Predicted minus true"),
    }


def histogram_chart(histogram: Histogram | None, name: str) -> dict[str, Any] | None:
    """Bars in per cent of the highest; bins whose edges are not finite are left out. None where there are no bins."""
    if histogram is None or not histogram.counts:
        return None
    x = charts.linear(histogram.edges, count=4)
    y = charts.linear([0, 1.06 * (max(histogram.counts) or 1)], count=3)
    bars = []
    for low, high, count in zip(histogram.edges, histogram.edges[1:], histogram.counts, strict=False):
        if math.isfinite(low) and math.isfinite(high):
            left = x.at(low)
            bars.append({"x": left, "width": round(max(0.2, x.at(high) - left), 2), "height": y.at(count)})
    rows = sum(histogram.counts)
    top = max(range(len(histogram.counts)), key=lambda i: histogram.counts[i])
    low, high = float(histogram.edges[top]), float(histogram.edges[top + 1])
    most = f"most often between {words.number(low)} and {words.measured(high, histogram.unit)}"
    return {
        "name": name,
        "unit": "" if histogram.unit == "1" else histogram.unit,
        "x": x,
        "y": y,
        "bars": bars,
        "zero": x.at(0) if x.low < 0 < x.high else None,
        "rows": rows,
        "alt": f"Histogram of {words.shown(name, 80)} over {rows:,} rows, {most}",
    }


def class_counts(facts: Facts) -> dict[str, Any] | None:
    """A row a class with its counts by split, and a bar by its share of the largest class."""
    classes = facts.data.classes
    if not classes:
        return None
    splits = [s for s in facts.data.splits if any(s in c.rows for c in classes)]
    totals = [sum(c.rows.values()) for c in classes]
    most, whole = max(totals) or 1, sum(totals) or 1
    rows = [
        {
            "name": c.name,
            "counts": [c.rows.get(s, 0) for s in splits],
            "bar": round(100 * total / most, 2),
            "share": words.share(total / whole),
        }
        for c, total in zip(classes, totals, strict=True)
    ]
    return {"splits": splits, "rows": Part.of(rows)}
