"""What experiments over several seeds share: fewer rows of a data set, what a run measured on its way, t-intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch

from sonde.core import Event, Measure, Measured, Method, Run, Stepped
from sonde.data.dataset import Dataset

# K seeds


def fewer(data: Dataset, train: int, val: int, seed: int) -> Dataset:
    """The data set with so many training and validation rows, drawn by `seed`; the test rows are all kept."""
    generator = torch.Generator().manual_seed(1_000_003 + seed)
    splits = dict(data.splits)
    for name, rows in (("train", train), ("val", val)):
        index = splits[name]
        splits[name] = index[torch.randperm(len(index), generator=generator)[:rows]].sort().values
    return replace(data, splits=splits)


class Course(Method):
    """Keeps what a run measures on its way.

    measured: by split and name, pairs (step, value). losses: the batch loss of every step, if `every_step`.
    """

    def __init__(self, every_step: bool = False) -> None:
        self.measured: dict[tuple[str, str], list[tuple[int, float]]] = {}
        self.losses: list[float] = []
        self.every_step = every_step

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if isinstance(event, Measured):
            for name, value in event.values.items():
                self.measured.setdefault((event.split, name), []).append((run.step, value))
        elif isinstance(event, Stepped) and self.every_step:
            self.losses.extend(float(loss.total()) for loss in event.losses.values())

    def of(self, split: str, name: str) -> list[float]:
        """The values of one metric, in the order of measurement."""
        return [value for _, value in self.measured.get((split, name), [])]


def over_seeds(
    name: str,
    values: Sequence[float],
    unit: str,
    better: Literal["lower", "higher", "neither"],
    source: str,
    split: str = "test",
    settings: Mapping[str, Any] | None = None,
) -> Measure:
    """The mean of one value a seed, (K,), with Student's t-interval (95 %, K - 1 degrees of freedom).

    Differences between two ways with the same seed give a paired comparison.

    >>> found = over_seeds("gain", [1.0, 2.0, 3.0], "1", "higher", "")
    >>> found.value, tuple(round(end, 2) for end in found.interval)
    (2.0, (-0.48, 4.48))
    """
    from scipy.stats import t

    x = np.asarray(values, float)
    interval = None
    if len(x) > 1 and np.isfinite(x).all():
        half = float(t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)))
        interval = (float(x.mean()) - half, float(x.mean()) + half)
    how = {"interval": "Student's t over seeds", "seeds": len(x), **(settings or {})}
    return Measure(name, float(x.mean()), unit, len(x), better, source, interval, split, how)


def end_of(measure: Measure, which: Literal["lower", "upper"]) -> Measure:
    """The lower or upper end of a measure's interval as a measure: what a claim must hold for to hold beyond chance.

    NaN, which no range holds, where there is no interval.
    """
    value = float("nan") if measure.interval is None else measure.interval[which == "upper"]
    settings = {**measure.settings, "end": f"{which} end of the 95 % interval"}
    return replace(measure, name=f"{measure.name}/{which}", value=value, interval=None, settings=settings)
