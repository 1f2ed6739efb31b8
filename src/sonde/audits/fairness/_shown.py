"""Rates by group as a table and as dots with intervals."""

# G groups

from __future__ import annotations

import numpy as np

from sonde.core.finding import Figure, Table
from sonde.fairness.comparisons import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    LABELLED,
    PRECISION,
    RIGHT,
    SELECTED,
    TRUE_POSITIVE,
    Share,
)

from ..quality.intervals import wilson
from ._rows import Array, Grouped, file_name, listed, percent, short

MOST = 20  # groups in a table; the largest ones
DRAWN = 12  # groups in a figure
RIGHT_OF_ALL = Share("right", (0, 0, 0, 1), (0, 0, 1, 1))  # of counts whose labels are all 1
RATES = {
    "has it": LABELLED,
    "is given it": SELECTED,
    "true positive rate": TRUE_POSITIVE,
    "false positive rate": FALSE_POSITIVE,
    "false negative rate": FALSE_NEGATIVE,
    "precision": PRECISION,
    "right": RIGHT,
}
DRAWN_RATES = {
    "Given it": SELECTED,
    "Given it, of those\nwho have it": TRUE_POSITIVE,
    "Given it, of those\nwho do not": FALSE_POSITIVE,
    "Right": RIGHT,
}


def table_of(rows: Grouped, table: Array, shares: dict[str, Share], minimum: int, says: str = "") -> Table:
    """The rates of each group with their intervals; empty where it has too few rows for one."""
    shown = [int(g) for g in np.argsort(-rows.counts, kind="stable") if rows.counts[g]]
    body = []
    for g in shown[:MOST]:
        cells: list[str | int | None] = [rows.names[g], int(rows.counts[g])]
        for share in shares.values():
            k, n = (int(v) for v in share.counts(table[g]))
            cells.append(percent(k / n, wilson(k, n)) if n >= max(1, minimum) else None)
        body.append(tuple(cells))
    caption = [f"Rates by {rows.attribute}, with 95 % intervals (Wilson).", says] if says else [
        f"Rates by {rows.attribute}, with 95 % intervals (Wilson)."]  # fmt: skip
    if len(shown) > MOST:
        caption.append(f"The {MOST} largest of {len(shown)} groups.")
    caption.append(f"Cells of fewer than {minimum} rows are empty.")
    if small := rows.small(minimum):
        caption.append(f"Too small to compare: {listed(small)}.")
    return Table(f"rates by {rows.attribute}", " ".join(caption), (rows.attribute, "rows", *shares), tuple(body))


def figure_of(rows: Grouped, table: Array, shares: dict[str, Share], minimum: int) -> Figure | None:
    """The rates as dots with intervals, a line of dots for each group; None where fewer than two can be drawn."""
    from sonde.drawing import COLOURS, INK, MUTED, WHITE, canvas

    large = rows.large(minimum)
    shown = large[:DRAWN][::-1]
    if len(shown) < 2:
        return None
    drawing, axes = canvas(2.0 + 1.6 * len(shares), 1.25 + 0.3 * len(shown), columns=len(shares))
    for i, (at, (title, share)) in enumerate(
        zip([axes] if len(shares) == 1 else list(axes), shares.items(), strict=True)
    ):
        whole = float(share.rate(table[large].sum(0)))
        if not np.isnan(whole):
            at.axvline(100 * whole, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        for row, g in enumerate(shown):
            k, n = (int(v) for v in share.counts(table[g]))
            ends = wilson(k, n)
            if n >= minimum and ends is not None:
                at.plot([100 * e for e in ends], [row, row], color=COLOURS[0], linewidth=2.2, solid_capstyle="round")
                at.plot([100 * k / n], [row], "o", color=COLOURS[0], markersize=5.5)
            else:
                said = {"fontsize": 8, "color": MUTED, "ha": "center", "va": "center", "backgroundcolor": WHITE}
                at.text(0.5, row, "too few", transform=at.get_yaxis_transform(), **said)
        at.set_title(title, fontsize=9.5, color=INK)
        at.set_ylim(-0.6, len(shown) - 0.4)
        at.set_yticks(range(len(shown)), [short(rows.names[g]) for g in shown] if i == 0 else [""] * len(shown))
        at.tick_params(axis="y", length=0)
        at.grid(False, axis="y")
        at.margins(x=0.12)
        for label in at.get_yticklabels():
            label.set_parse_math(False)  # a group's name is text, whatever signs it has
            label.set_color(INK)
    drawing.supxlabel("per cent", fontsize=9.5, color=MUTED)
    caption = f"Rates by {rows.attribute}, in per cent, with 95 % intervals; the dashed line is all groups together."
    if len(large) > DRAWN:
        caption += f" The {DRAWN} largest of {len(large)} groups."
    return Figure.of(file_name("rates", rows.attribute), caption, drawing)
