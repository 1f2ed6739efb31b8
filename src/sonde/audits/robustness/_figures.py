"""What attacks do to pictures and to the accuracy, drawn."""

# N rows, R radii

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sonde.core import Batch, Figure, Subject
from sonde.drawing import COLOURS, GRID, INK, MUTED, SMALL, WHITE, canvas, legend, style

from .._show import figure, short
from ..quality.intervals import wilson
from ._attacking import magnified, picture, range_of

MOST = 6  # pictures side by side


def accuracy_over_radius(
    radii: Sequence[float],
    lines: Mapping[str, Sequence[int]],
    clean: int,
    n: int,
    standard: tuple[float, float],
    norm: str,
) -> Figure:
    """How many of n rows stand at each radius, by attack; standard: the radius and accuracy of the suite."""
    drawing, axes = canvas(7, 3.8)
    axes.axhline(clean / n, color=MUTED, linestyle=(0, (4, 3)), linewidth=1)
    axes.text(radii[-1], clean / n - 0.02, "clean", ha="right", va="top", color=MUTED, fontsize=SMALL)
    for i, (label, counts) in enumerate(lines.items()):
        ends = [wilson(c, n) or (0.0, 1.0) for c in counts]
        axes.fill_between(radii, [e[0] for e in ends], [e[1] for e in ends], color=COLOURS[i], alpha=0.12, linewidth=0)
        axes.plot(radii, [c / n for c in counts], "o-", markersize=4, color=COLOURS[i], label=label)
    axes.plot(*standard, "D", color=INK, markersize=7, label="the suite", zorder=5)
    axes.set_xscale("log", base=2)
    axes.set_xticks(radii, [f"{r:.3g}" for r in radii])
    axes.minorticks_off()
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel(
        {"linf": "radius: most that any number may change (L-inf)", "l2": "radius: length of the change (L2)"}[norm]
    )
    axes.set_ylabel("share answered rightly")
    legend(axes, "upper right" if lines and list(lines.values())[-1][0] < n / 2 else "lower left")
    caption = f"Accuracy on {n} rows over the radius of the attack, with 95 % intervals."
    return figure("accuracy_over_radius", caption, drawing)


def attacked_pictures(subject: Subject, rows: Batch, worst: Tensor, fallen: Tensor) -> Figure:
    """Rows that fell: the original, the change, what was attacked with, and both answers; classes taken in turn."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure as Drawing

    ramp = LinearSegmentedColormap.from_list("change", [COLOURS[0], GRID, COLOURS[1]])
    some = _of_every_class(rows.y.cpu(), fallen)[:MOST]
    (low, _), unit = range_of(subject)
    before, after = rows.x[some], worst[some]
    answers = torch.stack([subject.ask(before).argmax(1), subject.ask(after).argmax(1)], 1).tolist()
    columns = max(4, len(some))
    drawing = Drawing(figsize=(7, 7 / columns * 3 + 0.5), dpi=100, facecolor=WHITE, layout="constrained")
    drawing.get_layout_engine().set(w_pad=0.03, h_pad=0.03)  # type: ignore[union-attr, call-arg]
    grid = drawing.subplots(3, columns, squeeze=False)
    for axes in grid.flat:
        style(axes)
        axes.set_axis_off()
    for i, (was, now) in enumerate(answers):
        tiles = ((before[i] - low) / unit, magnified(after[i] - before[i]), (after[i] - low) / unit)
        for axes, tile, colours in zip(grid[:, i], tiles, ("gray", ramp, "gray"), strict=True):
            axes.imshow(picture(tile), cmap=colours, vmin=0, vmax=1, interpolation="nearest")
        grid[0, i].set_title(_named(subject, was), fontsize=SMALL, color=INK)
        grid[2, i].set_title(_named(subject, now), fontsize=SMALL, color=COLOURS[1])
    for axes, word in zip(grid[:, 0], ("original", "change", "attacked"), strict=True):
        axes.text(
            -0.08,
            0.5,
            word,
            rotation=90,
            ha="right",
            va="center",
            transform=axes.transAxes,
            color=MUTED,
            fontsize=SMALL,
        )
    caption = (
        "Rows that fell, and what the model answers. The change is magnified: blue lowers a number, orange raises it."
    )
    return figure("attacked_pictures", caption, drawing)


def _named(subject: Subject, code: int) -> str:
    return short(subject.classes[code] if code < len(subject.classes) else code, 12)


def _of_every_class(y: Tensor, fallen: Tensor) -> list[int]:
    """The rows that fell, the first of each class before the second of any."""
    seen: dict[int, int] = {}
    order = []
    for i in fallen.nonzero().squeeze(1).tolist():
        c = int(y[i])
        seen[c] = seen.get(c, 0) + 1
        order.append((seen[c], c, i))
    return [i for _, _, i in sorted(order)]
