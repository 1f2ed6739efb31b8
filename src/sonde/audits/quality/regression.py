"""How far predicted numbers are from the true ones, in the user's units.

Entry: MSE; MAE.
"""

# N rows, T targets

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from sonde.core import Measure

from .intervals import Array, Statistic, bootstrap, left_out, mean, settings


def regression(
    prediction: Tensor, y: Tensor, targets: Sequence[str] = (), units: Sequence[str] = (), split: str = "test"
) -> list[Measure]:
    """Root mean squared error, mean absolute error and R2 of each target.

    prediction, y: (N, T), or (N,) for one target, in the user's units. targets: their names; with more than one, the
    measures are called `quality/rmse/NAME`, and `quality/r2` is the mean over targets. units: of the targets, shown
    behind errors; none are shown if they are not known.

    A target for which a prediction is not a number is left out (see `omission`), and so is the R2 of a constant one.
    """
    prediction, y = (t.detach().cpu().double() for t in (prediction, y))
    prediction, y = (t if t.dim() == 2 else t[:, None] for t in (prediction, y))
    if prediction.shape != y.shape:
        raise ValueError(f"needs one prediction for each target; got {tuple(prediction.shape)} and {tuple(y.shape)}")
    guess, truth = prediction.numpy(), y.numpy()
    n, t = truth.shape
    names = list(targets) or ([""] if t == 1 else [f"target {i + 1}" for i in range(t)])
    measures, joint = [], []
    for i, name in enumerate(names):
        unit = units[i] if units else ""
        found = _one(guess[:, i], truth[:, i], f"/{name}" if t > 1 else "", unit, split)
        measures += found
        joint.append(found[-1])
    if t > 1:
        measures.append(_joint(guess, truth, joint, split))
    return measures


RMSE = "root of the mean squared error"
MAE = "mean absolute error"
R2 = "coefficient of determination (Wright, 1921)"


def _one(guess: Array, truth: Array, suffix: str, unit: str, split: str) -> list[Measure]:
    n = len(truth)
    rmse, mae, r2 = f"quality/rmse{suffix}", f"quality/mae{suffix}", f"quality/r2{suffix}"
    error = guess - truth  # (N,)
    lost = int((~np.isfinite(error)).sum())
    if lost or n == 0:
        why = (
            f"the predictions or truths of {lost} of {n} rows are not numbers"
            if n
            else f"the {split} split has no rows"
        )
        return [
            left_out(rmse, unit, n, "lower", RMSE, split, why),
            left_out(mae, unit, n, "lower", MAE, split, why),
            left_out(r2, "1", n, "higher", R2, split, why),
        ]
    square = mean(error**2)
    statistics = {
        rmse: Statistic(square.columns, lambda s: np.sqrt(s[..., 1] / s[..., 0]), low=0.0),
        mae: mean(np.abs(error), low=0.0),
        r2: _r2(error, truth),
    }
    intervals = bootstrap(statistics)
    facts: dict[str, tuple[str, Any, str]] = {
        rmse: (unit, "lower", RMSE), mae: (unit, "lower", MAE), r2: ("1", "higher", R2)
    }  # fmt: skip
    measures = []
    for name, (unit, better, source) in facts.items():
        value, interval = statistics[name].value, intervals[name]
        if name == r2 and not math.isfinite(value):
            why = "one row has no variance" if n == 1 else "the target is the same in every row"
            measures.append(left_out(name, unit, n, better, source, split, why))
        else:
            how = settings("bca", interval)
            measures.append(Measure(name, value, unit, n, better, source, interval, split, how))
    return measures


def _r2(error: Array, truth: Array) -> Statistic:
    """1 - sum (guess - y)^2 / sum (y - mean)^2."""
    # Around its mean first: sums of squares of far-off numbers would cancel. In units of its spread: no overflow.
    centred = truth - truth.mean()
    scale = np.abs(centred).max() or math.nan
    z, e = centred / scale, error / scale
    columns = np.stack([np.ones(len(z)), z, z**2, e**2], 1)
    return Statistic(columns, lambda s: 1 - s[..., 3] / _positive(s[..., 2] - s[..., 1] ** 2 / s[..., 0]), high=1.0)


def _positive(spread: Array) -> Array:
    return np.where(spread > 1e-12, spread, np.nan)  # in units of the largest deviation squared: only rounding is below


def _joint(guess: Array, truth: Array, each: list[Measure], split: str) -> Measure:
    """The mean R2 over targets, with the interval of their common resamples."""
    n, t = truth.shape
    source = f"{R2}, mean over targets"
    if any(math.isnan(m.value) for m in each):
        return left_out("quality/r2", "1", n, "higher", source, split, "a target has no R2")
    parts = [_r2(guess[:, i] - truth[:, i], truth[:, i]) for i in range(t)]

    def of(sums: Array) -> Array:
        split_up = np.split(sums, t, axis=-1)
        return np.mean([part.of(s) for part, s in zip(parts, split_up, strict=True)], axis=0)  # type: ignore[no-any-return]

    whole = Statistic(np.concatenate([part.columns for part in parts], 1), of, high=1.0)
    interval = bootstrap({"": whole})[""]
    return Measure("quality/r2", whole.value, "1", n, "higher", source, interval, split, settings("bca", interval))
