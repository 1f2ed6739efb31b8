"""Accuracy by kinds of change and their severities, as numbers, a table and a picture."""

# N rows, K kinds, S severities

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sonde.core import Audit, Measure, SondeError
from sonde.core.finding import Figure, Table
from sonde.drawing import COLOURS, INK, WHITE, canvas

from ..quality.intervals import Array, Statistic, bootstrap, mean, settings, wilson


class BySeverity(Audit):
    """Accuracy on rows changed in several ways, more and more.

    rows: of the split at most, drawn by `seed`. split: which.
    """

    headline = "mean_accuracy"

    def __init__(self, rows: int = 500, split: str = "test", seed: int = 0) -> None:
        if rows < 1:
            raise SondeError(f"{type(self).__name__}(rows={rows}) asks about no row", "choose rows >= 1; 500 is usual")
        self.rows, self.split, self.seed = rows, split, seed


def clean_accuracy(topic: str, clean: Array, source: str, split: str, how: Mapping[str, Any]) -> Measure:
    """The accuracy on rows as they are; clean: (N,) bool."""
    n, ends = len(clean), wilson(int(clean.sum()), len(clean))
    value = float(clean.mean())
    known = settings("wilson", ends, severity=0, **how)
    return Measure(f"robustness/{topic}/clean_accuracy", value, "1", n, "higher", source, ends, split, known)


def measures(
    topic: str,
    kinds: Sequence[str],
    clean: Array,
    right: Array,
    source: str,
    split: str,
    how: Mapping[str, Any],
) -> Iterator[Measure]:
    """The mean accuracy, what share of the clean one that is, and the worst kind; resampled by row.

    clean: (N,) of 0 and 1. right: (N, K, S).
    """
    by_row, severities = right.mean((1, 2)), f"{right.shape[2]} severities"
    worst = right.mean((0, 2)).argmin()
    shares = np.stack([by_row, clean], 1)
    statistics = {
        "mean_accuracy": mean(by_row, 0.0, 1.0),
        "kept_share": Statistic(shares, lambda s: s[..., 0] / s[..., 1], low=0.0),
        "worst_accuracy": mean(right[:, worst].mean(1), 0.0, 1.0),
    }
    of = {
        "mean_accuracy": {"over": f"{len(kinds)} kinds, {severities}"},
        "kept_share": {"of": "the accuracy on the same rows, clean"},
        "worst_accuracy": {"kind": kinds[worst], "over": severities},
    }
    for name, interval in bootstrap(statistics).items():
        yield Measure(
            f"robustness/{topic}/{name}", statistics[name].value, "1", len(clean), "higher", source, interval,
            split, settings("bca", interval, **of[name], **how),
        )  # fmt: skip


def table(
    name: str, what: str, kinds: Sequence[str], severities: Sequence[object], clean: Array, right: Array
) -> Table:
    """The accuracy for every kind and severity; right: (N, K, S)."""
    shares = right.mean(0)

    def line(kind: str, values: Array) -> tuple[str | float | int | None, ...]:
        return kind, *(round(100 * float(v), 1) for v in (*values, values.mean()))

    rows = [line(kind, shares[k]) for k, kind in enumerate(kinds)]
    rows.append(line("mean", shares.mean(0)))
    caption = f"Answered rightly of {len(clean)} rows in %, by severity; clean it is {100 * clean.mean():.1f}."
    return Table(name, caption, (what, *map(str, severities), "mean"), tuple(rows))


def heat_map(
    name: str, axis: str, kinds: Sequence[str], severities: Sequence[object], clean: Array, right: Array
) -> Figure:
    """The same as a picture: the darker, the more is lost. axis: what the severities are."""
    from matplotlib.colors import LinearSegmentedColormap

    columns = np.concatenate([np.full((len(kinds), 1), clean.mean()), right.mean(0)], 1)  # (K, 1 + S)
    drawing, axes = canvas(7, 0.9 + 0.287 * len(kinds))
    ramp = LinearSegmentedColormap.from_list("kept", [COLOURS[1], "#f6d9c8", WHITE])
    axes.imshow(columns, cmap=ramp, vmin=0, vmax=max(1e-9, float(clean.mean())), aspect="auto")
    middle = clean.mean() / 5
    for (row, column), value in np.ndenumerate(columns):
        colour = WHITE if value < middle else INK
        axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=9.5, color=colour)
    axes.grid(False)
    axes.set_xticks(range(1 + len(severities)), ["clean", *map(str, severities)])
    axes.set_yticks(range(len(kinds)), kinds)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel(axis, labelpad=8)
    axes.axvline(0.5, color=INK, linewidth=0.8)
    return Figure.of(name, "Accuracy in %; the darker, the more of the clean accuracy is lost.", drawing)
