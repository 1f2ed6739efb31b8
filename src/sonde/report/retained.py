"""The accuracy matrix of a stream of experiences as one SVG picture: what was learned, kept and forgotten."""

# S stages measured, T experiences

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from sonde.report import words

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
    parts.append(f'<text x="{LEFT}" y="16">accuracy on each experience, by the stage it was measured after</text>')
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
