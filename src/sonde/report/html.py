"""The facts of one run as one HTML page: no scripts, nothing loaded from anywhere, every value escaped."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, TypeGuard

from sonde.report import charts, words
from sonde.report.facts import Curve, Example, Facts, Fit, Histogram, Mark, Score

if TYPE_CHECKING:
    from jinja2 import Template

# How much of a list the page shows: enough to read, little enough for a page that opens at once.
ROWS_SHOWN, ROWS_KEPT = 20, 1000  # of a table: in sight, and behind "show more"
MATRIX_CLASSES = 20  # beyond, a confusion matrix is unreadable and its worst pairs are listed
_PATH = re.compile(r"[MLhZ0-9 .e+-]*")  # what charts.line and charts.dots draw with
PAIRS, PAIRS_BESIDE, EXAMPLES, VALUES, CHARTS = 20, 8, 48, 30, 4
TREE_ROWS, TREE_DEPTH, JSON_CHARACTERS = 400, 12, 60_000


def render(facts: Facts) -> str:
    """The page, as text to be written in UTF-8. A function of the facts alone: same facts, same page."""
    return _template().render(
        facts=facts,
        created=_date(facts.created),
        tiles=_tiles(facts),
        scores=[_score(s) for s in facts.measures],
        comparison=_comparison(facts),
        curves=[_curve(c, facts.marks) for c in facts.curves],
        matrix=_matrix(facts),
        pairs=_pairs(facts),
        per_class=_per_class(facts),
        fits=[_fit(f) for f in facts.fits],
        examples=[_example(e) for e in facts.examples[:EXAMPLES]],
        classes=_classes(facts),
        target=_histogram(facts.data.target, facts.data.target_name or "target") if facts.data.target else None,
        columns=_part(facts.data.columns),
        tree=_tree(facts.recipe),
        recipe_json=_json(facts.recipe),
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup, escape

    def finalize(value: Any) -> Any:
        return words.shown(value, 600) if isinstance(value, str) and not isinstance(value, Markup) else value

    def name(value: object, limit: int = 80) -> Markup:
        """Someone else's word, kept from changing the reading direction of what surrounds it."""
        return Markup("<bdi>{}</bdi>").format(words.shown(value, limit))

    def path(drawn: str) -> Markup:
        """A path's coordinates: as Markup, finalize does not cut them like a text."""
        return Markup(drawn if _PATH.fullmatch(drawn) else "")

    environment = Environment(
        loader=PackageLoader("sonde.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finalize,
    )
    environment.filters |= {
        "name": name,
        "cut": words.shown,
        "path": path,
        "picture": escape,  # base64 letters only, as Example requires; as Markup it is not cut like a text
        "round_off": lambda value: words.number(round(value) if _known(value) else value),
        "width": lambda part: round(100 * min(1.0, max(0.0, part)), 2) if _known(part) else 0,
        "whole": lambda text: escape(words.shown(text, 100_000)),
        "number": words.number,
        "share": words.share,
        "seconds": words.seconds,
        "sure": words.sure,
        "raw": words.raw,
    }
    return environment.get_template("report.html.jinja")


def _date(iso: str) -> str:
    at = datetime.fromisoformat(iso)
    months = "January February March April May June July August September October November December".split()
    zone = f" {at.tzname()}" if at.tzinfo else ""
    return f"{at.day} {months[at.month - 1]} {at.year}, {at:%H:%M}{zone}"


@dataclass(frozen=True)
class Part:
    """Rows of a long table: those in sight, those behind "show more", and how many the page leaves out."""

    head: Sequence[Any]
    tail: Sequence[Any]
    left_out: int


def _part(rows: Sequence[Any]) -> Part:
    return Part(rows[:ROWS_SHOWN], rows[ROWS_SHOWN:ROWS_KEPT], max(0, len(rows) - ROWS_KEPT))


# --- scores ---------------------------------------------------------------------------------------------------------


def _value(score: Score) -> str:
    return words.measured(score.value, score.unit, score.percent, score.interval)


def _interval(score: Score) -> str:
    return words.ends(score.interval, score.percent)


def _score(score: Score) -> dict[str, Any]:
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


def _tiles(facts: Facts) -> list[dict[str, str]]:
    """The few numbers on top: the first measures on the first split, time, size."""
    first = facts.measures[0].split if facts.measures else ""
    tiles = [
        {
            "label": f"{s.label or s.name}, {s.split}",
            "value": _value(s),
            "note": _interval(s) or f"{s.n:,} rows",
        }
        for s in [s for s in facts.measures if s.split == first][:2]
    ]
    speed = f"{words.number(round(facts.rows_per_second))} rows a second" if _known(facts.rows_per_second) else ""
    size = "numbers learned"
    tiles.append({"label": "Training", "value": words.seconds(facts.seconds), "note": speed})
    tiles.append({"label": "Parameters", "value": _short(facts.model.parameters), "note": size})
    return tiles


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _short(count: int) -> str:
    """1,234,567 as 1.23 million."""
    for size, word in ((10**9, "billion"), (10**6, "million")):
        if count >= size:
            return f"{words.number(float(f'{count / size:.3g}'))} {word}"
    return f"{count:,}"


def _comparison(facts: Facts) -> dict[str, Any] | None:
    """Net and baselines on the measures they share: a chart for the first few, a table for all."""
    if not facts.baselines:
        return None
    theirs = [{(s.name, s.split): s for s in b.scores} for b in facts.baselines]
    shared = [s for s in facts.measures if any((s.name, s.split) in t for t in theirs)]
    names = [facts.model.name, *(b.name for b in facts.baselines)]
    plots, rows = [], [[] for _ in names]  # type: ignore[var-annotated]
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
        row["value"] = _value(score) if score else "not measured"
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


# --- training -------------------------------------------------------------------------------------------------------


def _curve(curve: Curve, marks: Sequence[Mark]) -> dict[str, Any]:
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
        words_ = f"{title}, {len(series.values):,} points"
        if known:
            low, high = shown[known.index(min(known))], shown[known.index(max(known))]
            words_ += f" from {shown[0]} to {shown[-1]}, lowest {low}, highest {high}"
        bad = len(series.values) - len(known)
        lines.append(
            {
                "kind": kind,
                "title": title,
                "last": shown[-1] if known else "no finite value",
                "path": charts.line(series.steps, series.values, x, y),
                "band": charts.band(series.steps, series.values, x, y),
                "bad": bad,
                "alt": words_,
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


# --- where it is wrong ----------------------------------------------------------------------------------------------


def _matrix(facts: Facts) -> dict[str, Any] | None:
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


def _pairs(facts: Facts) -> list[dict[str, Any]]:
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


def _per_class(facts: Facts) -> dict[str, Any] | None:
    rows = facts.per_class
    if not rows:
        return None
    lows = [v for r in rows for v in (r.recall, *(r.recall_interval or ())) if v is not None and math.isfinite(v)]
    axis = charts.linear([min(lows, default=0.0), 1.0], count=4, percent=True)
    worst_first = len(rows) > ROWS_SHOWN
    if worst_first:
        rows = tuple(sorted(rows, key=lambda r: r.recall if r.recall is not None and _known(r.recall) else 2.0))

    def row(r: Any) -> dict[str, Any]:
        ends = charts.finite([r.recall, *(r.recall_interval or ())])
        return {
            "name": r.name,
            "n": r.n,
            "recall": _share(r.recall, r.recall_interval),
            "recall_interval": words.ends(r.recall_interval, True),
            "precision": _share(r.precision, r.precision_interval),
            "precision_interval": words.ends(r.precision_interval, True),
            "at": axis.at(r.recall) if _known(r.recall) else None,
            "low": axis.at(min(ends)) if ends else 0,
            "width": axis.at(max(ends)) - axis.at(min(ends)) if ends else 0,
        }

    part = _part(rows)
    shown = Part([row(r) for r in part.head], [row(r) for r in part.tail], part.left_out)
    return {"rows": shown, "axis": axis, "worst_first": worst_first}


def _share(value: float | None, interval: tuple[float, float] | None) -> str:
    return words.number(None) if value is None else words.measured(value, percent=True, interval=interval)


def _example(example: Example) -> dict[str, Any]:
    values = list(example.values.items())
    return {"example": example, "values": values[:VALUES], "left_out": max(0, len(values) - VALUES)}


def _fit(fit: Fit) -> dict[str, Any]:
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
        "residuals": _histogram(fit.residuals, "Predicted minus true") if fit.residuals else None,
    }


def _histogram(histogram: Histogram, name: str) -> dict[str, Any]:
    """Bars in per cent of the highest; bins whose edges are not finite are left out."""
    x = charts.linear(histogram.edges, count=4)
    y = charts.linear([0, 1.06 * (max(histogram.counts, default=1) or 1)], count=3)
    bars = []
    for low, high, count in zip(histogram.edges, histogram.edges[1:], histogram.counts, strict=False):
        if math.isfinite(low) and math.isfinite(high):
            left = x.at(low)
            bars.append({"x": left, "width": round(max(0.2, x.at(high) - left), 2), "height": y.at(count)})
    rows = sum(histogram.counts)
    most = ""
    if histogram.counts:
        top = max(range(len(histogram.counts)), key=lambda i: histogram.counts[i])
        low, high = float(histogram.edges[top]), float(histogram.edges[top + 1])
        most = f", most often between {words.number(low)} and {words.measured(high, histogram.unit)}"
    return {
        "name": name,
        "unit": "" if histogram.unit == "1" else histogram.unit,
        "x": x,
        "y": y,
        "bars": bars,
        "zero": x.at(0) if x.low < 0 < x.high else None,
        "rows": rows,
        "alt": f"Histogram of {words.shown(name, 80)} over {rows:,} rows{most}",
    }


# --- data and recipe ------------------------------------------------------------------------------------------------


def _classes(facts: Facts) -> dict[str, Any] | None:
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
    return {"splits": splits, "rows": _part(rows), "n": len(classes)}


@dataclass(frozen=True)
class Node:
    """One line of the recipe's tree."""

    key: str
    value: str
    children: tuple[Node, ...] = ()


def _tree(recipe: Mapping[str, Any]) -> tuple[Node, ...]:
    budget = [TREE_ROWS]

    def nodes(items: Iterable[tuple[str, Any]], depth: int) -> tuple[Node, ...]:
        made = []
        for key, value in items:
            if budget[0] <= 0:
                made.append(Node("…", "the rest is in the JSON"))
                break
            budget[0] -= 1
            nested = isinstance(value, Mapping) or (
                isinstance(value, list | tuple) and any(isinstance(v, Mapping | list | tuple) for v in value)
            )
            if nested and depth < TREE_DEPTH:
                pairs = value.items() if isinstance(value, Mapping) else ((str(i + 1), v) for i, v in enumerate(value))
                made.append(Node(str(key), "" if value else "none", nodes(pairs, depth + 1)))
            else:
                made.append(Node(str(key), words.raw(value)))
        return tuple(made)

    return nodes(recipe.items(), 0)


def _shallow(value: Any, depth: int = 20) -> Any:
    """Plain data cut off below `depth`, so that writing it cannot exhaust the stack."""
    if is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): _shallow(v, depth - 1) for k, v in value.items()} if depth else "…"
    if isinstance(value, list | tuple):
        return [_shallow(v, depth - 1) for v in value] if depth else "…"
    return value


def _json(recipe: Mapping[str, Any]) -> str:
    text = json.dumps(_shallow(recipe), indent=2, ensure_ascii=False, default=str)
    return text if len(text) <= JSON_CHARACTERS else text[:JSON_CHARACTERS] + "\n… cut here: recipe.json has the rest"
