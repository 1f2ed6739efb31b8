"""The accuracy matrix of a stream of experiences, as a picture and for the page: what was learned, kept, forgotten."""

# S stages measured, T experiences

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from sonde.report import words
from sonde.report.facts import Retained

CELL, LEFT, TOP, GAP = 46, 128, 58, 2  # px
LIGHT, DARK = (238, 243, 250), (13, 71, 140)  # the colours of 0 and 1


def figure(matrix: Sequence[Sequence[float]], names: Sequence[str]) -> str:
    """An SVG: a row for each stage, a column for each experience, the accuracy in each cell and as its colour.

    matrix: (S + 1, T) accuracies in [0, 1], row 0 before training. names: of the T experiences, in their order.
    The cell of an experience in the stage that trained on it has a frame; the last column is the mean over those met.

    >>> figure([[0.1, 0.1], [0.9, 0.2], [0.7, 0.8]], ["a", "b"]).count("<rect")
    9
    """
    stages, tasks = len(matrix), len(names)
    if any(len(row) != tasks for row in matrix) or not tasks:
        raise ValueError(f"needs {tasks} numbers a row, one for each experience; got {[len(r) for r in matrix]}")
    width, height = LEFT + (tasks + 1) * CELL + 10, TOP + stages * CELL + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"',
        ' role="img" font-family="system-ui, sans-serif" font-size="12">',
        f"<title>{escape(_sentence(matrix, names))}</title>",
    ]
    for t, name in enumerate([*names, "mean"]):
        x = LEFT + t * CELL + CELL // 2
        parts.append(f'<text x="{x}" y="{TOP - 10}" text-anchor="middle">{escape(_short(name, 7))}</text>')
    parts.append('<text x="10" y="16">accuracy on each experience, by the stage it was measured after</text>')
    for s, row in enumerate(matrix):
        y = TOP + s * CELL
        label = "before training" if s == 0 else f"after {names[s - 1] if s <= tasks else s}"
        parts.append(
            f'<text x="{LEFT - 8}" y="{y + CELL // 2 + 4}" text-anchor="end">{escape(_short(label, 18))}</text>'
        )
        for t, value in enumerate(row):
            parts.append(_cell(LEFT + t * CELL, y, value, framed=t == s - 1))
        met = [v for v in row[: min(s, tasks)] if math.isfinite(v)]
        parts.append(_cell(LEFT + tasks * CELL + 6, y, sum(met) / len(met) if met else math.nan, framed=False))
    return "".join([*parts, "</svg>"])


def _cell(x: float, y: float, value: float, framed: bool) -> str:
    known = math.isfinite(value)
    share = min(1.0, max(0.0, value)) if known else 0.0
    colour = [round(a + share * (b - a)) for a, b in zip(LIGHT, DARK, strict=True)]
    frame = ' stroke="#b3541e" stroke-width="2"' if framed else ""
    side, ink = CELL - GAP, "#fff" if _luminance(colour) < 0.18 else "#111"
    text = words.share(value, 1).rstrip("%").rstrip() if known else "–"
    return (
        f'<rect x="{x}" y="{y}" width="{side}" height="{side}" fill="rgb({",".join(map(str, colour))})"{frame}/>'
        f'<text x="{x + side / 2}" y="{y + side / 2 + 4}" text-anchor="middle" fill="{ink}">{escape(text)}</text>'
    )


def _luminance(colour: Sequence[int]) -> float:
    """Relative luminance in [0, 1] (WCAG 2, for the contrast of text)."""
    linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _sentence(matrix: Sequence[Sequence[float]], names: Sequence[str]) -> str:
    """What the picture shows, for who cannot see it."""
    last = ", ".join(f"{name} {words.share(v, 1)}" for name, v in zip(names, matrix[-1], strict=True))
    return f"Accuracy after the last of {len(matrix) - 1} stages: {last}"


# ---------------------------------------------------------------- for the page
SHADES = (0.3, 0.5, 0.7, 0.85, 0.95)  # from which accuracy on a cell has the next darker shade


def table(retained: Retained) -> dict[str, Any]:
    """The cells of the matrix with their shades, and a line for each experience: learned, best, at the end, lost."""
    names, matrix = retained.names, retained.matrix
    rows = []
    for s, line in enumerate(matrix):
        cells = [
            {"text": _cent(v), "shade": f"d{sum(v >= b for b in SHADES)}", "own": t == s - 1, "ahead": t >= s}
            for t, v in enumerate(line)
        ]
        met = line[: min(s, len(names))]
        name = f"after {names[s - 1] if s <= len(names) else s}" if s else "before training"
        rows.append({"name": name, "cells": cells, "mean": _cent(sum(met) / len(met)) if met else "–"})
    return {
        "names": names,
        "rows": rows,
        "split": retained.split,
        "about": retained.about,
        "upright": len(names) > 3 and max(map(len, names)) > 5,
        "experiences": [experience(retained, t) for t in range(len(names))],
        "alt": _sentence(matrix, names),
    }


def experience(retained: Retained, t: int) -> dict[str, Any]:
    """What became of experience t, as texts; "–" for what there was no stage for."""
    column = [line[t] for line in retained.matrix]
    after = column[t + 1 :]  # from the stage that trained on it
    lost = max(column[1:-1]) - column[-1] if len(after) > 1 else math.nan  # the last one forgets nothing
    learned, best, end = (after[0], max(after), after[-1]) if after else (math.nan,) * 3
    texts = {"learned": learned, "best": best, "end": end, "lost": lost}
    return {
        "name": retained.names[t],
        "rows": retained.rows[t],
        **{k: words.share(v, 1) if math.isfinite(v) else "–" for k, v in texts.items()},
    }


def _cent(value: float) -> str:
    """A share in per cent without the sign: the cells of a matrix have no room for it."""
    return words.number(100 * value, 1) if math.isfinite(value) else "–"
