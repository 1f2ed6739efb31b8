"""Figures in the house style: a white card, dark ink, a quiet grid, seven colours that colour-blind readers tell apart.

    drawing, axes = canvas()
    axes.plot(steps, losses, label="plain SGD")
    yield Figure.of("loss", "The loss over training.", drawing)

The style is written on the axes themselves: matplotlib's global settings are neither read for it nor changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

WHITE, INK, MUTED, GRID = "#ffffff", "#16191d", "#565e68", "#e8eaed"
COLOURS = ("#0b5cad", "#c2410c", "#2f855a", "#7c3aed", "#b7791f", "#0e7490", "#5b6570")
"""The colours of series, in their order: each has a contrast of at least 3 to 1 against the white card."""

TEXT, SMALL = 10.5, 9.5  # points, at a width of 7 inches: what a page of 46 rem shows as about its own text size
FAMILY = "sans-serif"  # in an SVG this names what matplotlib brings along, and a reader's own where that is missing


def canvas(width: float = 7, height: float = 4, rows: int = 1, columns: int = 1) -> tuple[Drawing, Any]:
    """An empty figure of width x height inches, and its axes: one `Axes`, or an array of them if there are several.

    The array is (columns,) or (rows,) if the other is 1, else (rows, columns), as matplotlib's `subplots` gives it.
    """
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(width, height), dpi=100, facecolor=WHITE, layout="constrained")
    axes = drawing.subplots(rows, columns)
    for one in [axes] if rows == columns == 1 else axes.flat:
        style(one)
    return drawing, axes


def style(axes: Axes) -> None:
    """Give axes the house style; `canvas` has done it for its own."""
    axes.set_facecolor(WHITE)
    axes.set_prop_cycle(color=COLOURS)
    axes.set_axisbelow(True)
    axes.grid(True, color=GRID, linewidth=0.8)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(MUTED)
        spine.set_linewidth(0.8)
    axes.tick_params(which="both", colors=MUTED, labelcolor=MUTED, labelsize=SMALL, labelfontfamily=FAMILY, width=0.8)
    axes.tick_params(which="minor", length=2)
    for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
        text.set_color(INK)
        text.set_fontsize(TEXT)
        text.set_fontfamily(FAMILY)


def legend(axes: Axes, where: Any = "best", columns: int = 1) -> None:
    """The labels of what was drawn, without a frame. where: matplotlib's `loc`."""
    drawn = axes.legend(loc=where, ncols=columns, frameon=False, labelcolor=INK, fontsize=SMALL)
    for text in drawn.get_texts():
        text.set_fontfamily(FAMILY)
