"""The figures of a range test and of a search, as SVG."""

from __future__ import annotations

import json
import math
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from sonde.drawing import COLOURS, FAMILY, INK, MUTED, SMALL, TEXT, canvas, legend
from sonde.tuning.space import Among, Between, shown

if TYPE_CHECKING:
    from sonde.tuning.ramp import RangeTest
    from sonde.tuning.search import Tuned
    from sonde.tuning.trials import Trial

MOST_PANELS = 3  # settings that the figure of a search shows


def range_figure(test: RangeTest, title: str) -> str:
    """The losses against the rates: each seed's smoothed curve over its batches' losses, and the suggestions."""
    from sonde.experiment import Figure

    drawing, axes = canvas(7.4, 4.3)
    axes.set_xscale("log")
    shown: list[float] = []
    for i, c in enumerate(test.curves):
        axes.plot(c.rates, c.losses, ".", color=COLOURS[0], alpha=0.16, markersize=4, markeredgewidth=0)
        axes.plot(
            c.rates,
            c.smoothed,
            color=COLOURS[0],
            linewidth=1.6,
            alpha=1 if i == 0 else 0.6,
            label="" if i else "smoothed loss, a line a seed",
        )
        shown += [s for s in c.smoothed if math.isfinite(s)]
    low, high = min(shown), max(c.level for c in test.curves)
    room = max(high - low, 1e-12)
    axes.set_ylim(low - 0.15 * room, high + 0.35 * room)
    for i, (name, (rate, least, most)) in enumerate(test.suggestions.items()):
        colour = COLOURS[i + 1]
        if most > least:
            axes.axvspan(least, most, color=colour, alpha=0.10, linewidth=0)
        axes.axvline(
            rate,
            color=colour,
            linewidth=2.4 if name == test.chosen else 1.1,
            label=f"{name}: {rate:g}{', fits this recipe' if name == test.chosen else ''}",
        )
    axes.axvline(test.rate, color=MUTED, linewidth=1.1, linestyle=(0, (4, 3)), label=f"the recipe's own: {test.rate:g}")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss of the next batch")
    axes.set_title(title, loc="left")
    legend(axes, "lower left")
    return Figure.of("lr", title, drawing).svg


def search_figure(tuned: Tuned, title: str) -> str:
    """The metric by trial, with the best so far; and against each of the settings that mattered most."""
    from sonde.experiment import Figure

    paths = sorted(tuned.space, key=lambda p: -tuned.importance.get(p, 0.0))[:MOST_PANELS]
    drawing, axes = canvas(3.1 * (1 + len(paths)), 3.7, 1, 1 + len(paths))
    limits = _limits(tuned)
    _history(axes[0], tuned, limits)
    for axis, path in zip(axes[1:], paths, strict=True):
        _against(axis, tuned, path, limits)
        axis.tick_params(labelleft=False)
    for axis in axes:
        axis.set_ylim(*limits)
        axis.xaxis.label.set_fontsize(SMALL)
    drawing.suptitle(title, x=0.01, ha="left", color=INK, fontsize=TEXT, family=FAMILY)
    return Figure.of("search", title, drawing).svg


def _history(axis: Any, tuned: Tuned, limits: tuple[float, float]) -> None:
    done = [t for t in tuned.trials if t.value is not None]
    cut = [t for t in tuned.trials if t.state == "pruned" and t.measured and math.isfinite(t.measured[-1])]
    _points(axis, [t.number + 1 for t in done], [t.value or 0.0 for t in done], limits, COLOURS[0], "o", "finished")
    if cut:
        _points(axis, [t.number + 1 for t in cut], [t.measured[-1] for t in cut], limits, MUTED, "x", "given up")
    sign = 1.0 if tuned.lower_is_better else -1.0
    best = [sign * v for v in accumulate((sign * (t.value or 0.0) for t in done), min)]
    axis.step([t.number + 1 for t in done], best, where="post", color=COLOURS[1], linewidth=1.4, label="best so far")
    if tuned.trials[0].value is not None:
        axis.axhline(tuned.trials[0].value, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="as it was")
    axis.set_xlabel("trial")
    axis.set_ylabel(f"validation {tuned.metric.replace('_', ' ')}")
    axis.xaxis.get_major_locator().set_params(integer=True)
    legend(axis, "upper right" if tuned.lower_is_better else "lower right")


def _points(
    axis: Any, xs: list[float], ys: list[float], limits: tuple[float, float], colour: str, mark: str, label: str = ""
) -> None:
    """Points; those beyond the limits as arrows at the edge."""
    low, high = limits
    inside = [(x, y) for x, y in zip(xs, ys, strict=True) if low <= y <= high]
    axis.plot(*zip(*inside, strict=True), mark, color=colour, markersize=4.5, label=label or None) if inside else None
    above = [x for x, y in zip(xs, ys, strict=True) if y > high]
    below = [x for x, y in zip(xs, ys, strict=True) if y < low]
    for beyond, edge, arrow in ((above, high, "^"), (below, low, "v")):
        if beyond:
            axis.plot(beyond, [edge] * len(beyond), arrow, color=colour, markersize=5, clip_on=False)


def _limits(tuned: Tuned) -> tuple[float, float]:
    """The range of the better three quarters, widened: one hopeless trial is not to flatten all others."""
    values = sorted((t.value or 0.0 for t in tuned.ranked), reverse=not tuned.lower_is_better)
    kept = values[: max(2, math.ceil(0.75 * len(values)))]
    kept += [t.value for t in tuned.trials[:1] if t.value is not None]
    low, high = min(kept), max(kept)
    room = max(high - low, 1e-9 + 1e-3 * abs(high))
    return (low - 0.12 * room, high + room) if tuned.lower_is_better else (low - room, high + 0.12 * room)


def _against(axis: Any, tuned: Tuned, path: str, limits: tuple[float, float]) -> None:
    from matplotlib.ticker import NullFormatter

    dimension = tuned.space[path]
    labels = dimension.labels if isinstance(dimension, Among) else ()
    known = [t for t in tuned.trials if t.value is not None and dimension.holds(t.values.get(path))]

    def place(trial: Trial) -> float:
        return float(labels.index(json.dumps(trial.values[path])) if labels else trial.values[path])

    if isinstance(dimension, Among):
        texts = [shown(v) for v in dimension.values]
        axis.set_xticks(range(len(texts)), texts)
        axis.set_xlim(-0.5, len(texts) - 0.5)
        if max(map(len, texts)) > 6:
            for label in axis.get_xticklabels():
                label.set(rotation=25, ha="right")
    else:
        if dimension.log:
            axis.set_xscale("log")
            if dimension.high >= 10 * dimension.low:  # else no power of ten may lie between
                axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlim(*_widened(dimension))
    first = [t for t in known if t.number == 0]
    rest = [t for t in known if t.number]
    for trials, colour in ((rest, COLOURS[0]), (first, MUTED)):
        _points(axis, [place(t) for t in trials], [t.value or 0.0 for t in trials], limits, colour, "o")
    if tuned.best in known:
        axis.plot([place(tuned.best)], [tuned.best.value], "o", color=COLOURS[1], markersize=8, markerfacecolor="none")
    share = f", {100 * tuned.importance[path]:.0f} % of the difference" if path in tuned.importance else ""
    axis.set_xlabel(f"{path.removeprefix('objective.')}{share}")


def _widened(dimension: Between) -> tuple[float, float]:
    """The range, a little wider, so that points at its ends are whole."""
    if dimension.log:
        part = (dimension.high / dimension.low) ** 0.04
        return dimension.low / part, dimension.high * part
    part = 0.04 * (dimension.high - dimension.low)
    return dimension.low - part, dimension.high + part
