"""Where predicted numbers are off: residuals against predictions, and errors by how large the true number is.

Entry: MAE; MSE.
"""

# N rows, T targets, Q bins

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from sonde.audits._show import figure, short
from sonde.core import Figure, Table
from sonde.core.finding import Shown
from sonde.drawing import COLOURS, INK, canvas

from .classes import ends
from .intervals import Array, bootstrap, mean

BINS = 5
MOST = 2000  # dots in a figure; more would be a grey block and a heavy page


def residual_findings(prediction: Tensor, y: Tensor, targets: Sequence[str]) -> Iterator[Shown]:
    """Of each target a figure of residuals and a table of errors by fifths of the truth. Shapes as `regression`."""
    guess, truth = (t.detach().cpu().double().numpy() for t in (prediction, y))
    guess, truth = (v if v.ndim == 2 else v[:, None] for v in (guess, truth))
    for t, name in enumerate(targets):
        known = np.isfinite(guess[:, t]) & np.isfinite(truth[:, t])
        if known.sum() < 2:
            continue
        yield _drawn(f"residuals-{t + 1}", name, guess[known, t], truth[known, t])
        yield _by_size(f"errors-{t + 1}", name, guess[known, t], truth[known, t])


def _drawn(file: str, name: str, guess: Array, truth: Array) -> Figure:
    drawing, axes = canvas(7, 3.4)
    at = np.linspace(0, len(guess) - 1, min(MOST, len(guess))).astype(int)
    residual = truth - guess
    axes.axhline(0, color=INK, linewidth=0.9)
    axes.plot(guess[at], residual[at], "o", markersize=3.2, alpha=0.45, markeredgewidth=0)
    edges = np.unique(np.quantile(guess, np.linspace(0, 1, 11)))
    if len(edges) > 3:
        which = np.clip(np.searchsorted(edges, guess, side="right") - 1, 0, len(edges) - 2)
        some = [k for k in range(len(edges) - 1) if (which == k).any()]
        middle = [np.median(guess[which == k]) for k in some]
        for share, style in ((0.5, "-"), (0.1, ":"), (0.9, ":")):
            axes.plot(
                middle, [np.quantile(residual[which == k], share) for k in some], style, color=COLOURS[1], linewidth=1.6
            )
    axes.set_xlabel(f"predicted {short(name, 40)}")
    axes.set_ylabel("true minus predicted")
    return figure(file, f"Residuals of {short(name, 60)}, with their median and their 10 and 90 % quantiles.", drawing)


def _by_size(file: str, name: str, guess: Array, truth: Array) -> Table:
    edges = np.unique(np.quantile(truth, np.linspace(0, 1, BINS + 1)))
    which = np.clip(np.searchsorted(edges, truth, side="right") - 1, 0, max(0, len(edges) - 2))
    rows = []
    for k in range(max(1, len(edges) - 1)):
        error = (guess - truth)[which == k]
        if not len(error):
            continue
        found = bootstrap({"bias": mean(error), "mae": mean(np.abs(error), low=0.0)})
        low, high = truth[which == k].min(), truth[which == k].max()
        cells = (f"{low:.4g} to {high:.4g}", len(error), float(np.abs(error).mean()), ends(found["mae"]))
        rows.append((*cells, float(error.mean()), ends(found["bias"])))
    columns = ("true value", "rows", "mean absolute error", "95 %", "mean error", "95 %")
    caption = f"Errors by fifths of the true {short(name, 60)}; a mean error below 0 means predicted too low."
    return Table(file, caption, columns, tuple(rows))
