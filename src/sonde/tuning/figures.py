"""The figures of a range test and of a search, as SVG."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sonde.drawing import COLOURS, FAMILY, INK, MUTED, SMALL, canvas, legend

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
        axes.axvline(rate, color=colour, linewidth=1.4, linestyle="-", label=f"{name}: {rate:g}")
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
    columns = 1 + len(paths)
    drawing, axes = canvas(3.1 * columns, 3.7, 1, columns)
    panels = [axes] if columns == 1 else list(axes)
    _history(panels[0], tuned)
    limits = _limits(tuned)
    for axis, path in zip(panels[1:], paths, strict=True):
        _against(axis, tuned, path)
    for axis in panels:
        axis.set_ylim(*limits)
    for axis in panels[1:]:
        axis.tick_params(labelleft=False)
    drawing.suptitle(title, x=0.01, ha="left", color=INK, fontsize=10.5, family=FAMILY)
    return Figure.of("search", title, drawing).svg


def _history(axis: Any, tuned: Tuned) -> None:
    done = [t for t in tuned.trials if t.value is not None]
    cut = [t for t in tuned.trials if t.state == "pruned" and t.measured and math.isfinite(t.measured[-1])]
    axis.plot(
        [t.number + 1 for t in done], [t.value for t in done], "o", color=COLOURS[0], markersize=4.5, label="finished"
    )
    if cut:
        axis.plot(
            [t.number + 1 for t in cut],
            [t.measured[-1] for t in cut],
            "x",
            color=MUTED,
            markersize=4.5,
            label="given up",
        )
    best, steps = math.inf, []
    sign = 1.0 if tuned.lower_is_better else -1.0
    for t in done:
        best = min(best, sign * (t.value or 0.0))
        steps.append(sign * best)
    axis.step([t.number + 1 for t in done], steps, where="post", color=COLOURS[1], linewidth=1.4, label="best so far")
    if tuned.trials and tuned.trials[0].value is not None:
        axis.axhline(
            tuned.trials[0].value, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="the recipe as it was"
        )
    axis.set_xlabel("trial")
    axis.set_ylabel(f"validation {tuned.metric.replace('_', ' ')}")
    axis.xaxis.get_major_locator().set_params(integer=True)
    legend(axis, "upper right" if tuned.lower_is_better else "lower right")


def _limits(tuned: Tuned) -> tuple[float, float]:
    """The range of the better three quarters, widened: one hopeless trial is not to flatten all others."""
    values = sorted((t.value or 0.0 for t in tuned.ranked), reverse=not tuned.lower_is_better)
    kept = [
        *values[: max(2, math.ceil(0.75 * len(values)))],
        *[t.value for t in tuned.trials[:1] if t.value is not None],
    ]
    low, high = min(kept), max(kept)
    room = max(high - low, 1e-9 + 1e-3 * abs(high))
    return (low - 0.12 * room, high + 0.75 * room) if tuned.lower_is_better else (low - 0.75 * room, high + 0.12 * room)


def _against(axis: Any, tuned: Tuned, path: str) -> None:
    from sonde.tuning.space import Among, shown

    dimension = tuned.space[path]
    known = [t for t in tuned.trials if t.value is not None and path in t.values]

    def place(trial: Trial) -> float:
        value = trial.values[path]
        if isinstance(dimension, Among):
            return float([str(v) for v in dimension.values].index(str(value))) if dimension.holds(value) else -1.0
        return float(value)

    axis.plot([place(t) for t in known], [t.value for t in known], "o", color=COLOURS[0], markersize=4.5, alpha=0.8)
    best = tuned.best
    if path in best.values:
        axis.plot([place(best)], [best.value], "o", color=COLOURS[1], markersize=7, markerfacecolor="none")
    if isinstance(dimension, Among):
        axis.set_xticks(range(len(dimension.values)), [shown(v) for v in dimension.values])
        axis.set_xlim(-0.5, len(dimension.values) - 0.5)
        if max(len(shown(v)) for v in dimension.values) > 6:
            for label in axis.get_xticklabels():
                label.set_rotation(30)
                label.set_ha("right")
    elif dimension.log:
        axis.set_xscale("log")
    share = f", {100 * tuned.importance[path]:.0f} %" if path in tuned.importance else ""
    axis.set_xlabel(f"{path.removeprefix('objective.')}{share}", fontsize=SMALL)
