"""What a learning-rate range test shows: losses against rates, smoothed, and the rates that they suggest.

Smith, Cyclical learning rates for training neural networks, 2017, section 3.3, reads the range of useful rates off such
a curve; the two rules of thumb, the steepest descent and a tenth of the minimum, are those that Howard and Gugger, Deep
learning for coders, 2020, chapter 5, made common.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# S steps

WIDTH = 0.12  # decades: the standard deviation of the smoothing kernel, two to three steps of the default test
SURE = 4.0  # how many standard errors of the smoothed loss a fall must have to be one
START = 0.05  # share of the fall from which the loss counts as falling


@dataclass(frozen=True)
class Curve:
    """One ramp: the loss of the batch after a step at each rate.

    rates: (S,) ascending. losses: (S,), NaN where a step had no loss (an empty draw). smoothed: (S,). first: the loss
    before the first step. seed: of the run. ended: `diverged`, or `highest` where the highest rate was reached.
    """

    seed: int
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    first: float
    ended: str

    @property
    def lowest(self) -> int:
        """Where the smoothed loss is lowest."""
        return min(range(len(self.smoothed)), key=lambda i: self.smoothed[i])

    @property
    def fall(self) -> float:
        """From the level of the lowest rates to the minimum, in the loss's unit."""
        return self.level - self.smoothed[self.lowest]

    @property
    def level(self) -> float:
        """The smoothed loss at rates too low to change it: the median over the first decade."""
        known = [s for r, s in zip(self.rates, self.smoothed, strict=True) if r <= 10 * self.rates[0]]
        return float(np.median(known))

    @property
    def noise(self) -> float:
        """The standard error of the smoothed loss, from what the smoothing left over up to the minimum."""
        upto = slice(0, self.lowest + 1)
        rest = np.asarray(self.losses[upto]) - np.asarray(self.smoothed[upto])
        rest = rest[np.isfinite(rest)]
        if len(rest) < 3:
            return math.inf
        spread = 1.4826 * float(np.median(np.abs(rest - np.median(rest))))  # of a normal distribution, by its quartiles
        per_decade = (len(self.rates) - 1) / max(1e-9, math.log10(self.rates[-1] / self.rates[0]))
        return spread / math.sqrt(max(1.0, 2 * math.sqrt(math.pi) * WIDTH * per_decade))  # of a Gaussian kernel

    def suggested(self) -> dict[str, float]:
        """The rates by rule: `steepest`, `valley`, `minimum / 10`; none where the loss did not clearly fall.

        steepest: where the smoothed loss falls fastest per decade. valley: the geometric middle of the stretch in
        which it falls. minimum / 10: a decade below its minimum.
        """
        low = self.lowest
        if low < 2 or not self.fall > SURE * self.noise:
            return {}
        decades = np.log10(np.asarray(self.rates[: low + 1]))
        smoothed = np.asarray(self.smoothed[: low + 1])
        slopes = np.gradient(smoothed, decades)
        above = np.flatnonzero(smoothed > self.level - START * self.fall)
        begin = decades[above[-1]] if len(above) else decades[0]
        return {
            "steepest": float(10 ** decades[int(slopes.argmin())]),
            "valley": float(10 ** ((begin + decades[-1]) / 2)),
            "minimum / 10": float(10 ** (decades[-1] - 1)),
        }


def curve(seed: int, rates: Sequence[float], losses: Sequence[float], first: float, ended: str) -> Curve:
    """The curve of measured losses, smoothed.

    A loss that is not finite, or far above the first, counts as the highest that the stopping rule lets pass, so that
    the last steps before a divergence do not hide the minimum before them.
    """
    values = np.asarray(losses, dtype=float)
    finite = values[np.isfinite(values)]
    top = highest(min([first, *finite]) if len(finite) else first, first)
    kept = np.where(np.isposinf(values), top, np.minimum(values, top))
    return Curve(seed, tuple(rates), tuple(map(float, losses)), tuple(smooth(rates, kept)), first, ended)


def highest(best: float, first: float) -> float:
    """The smoothed loss above which the test ends: four times the best, and never below the first.

    Where the best is not positive, as a density's may be, three times the fall so far above the best.
    """
    return max(4 * best, first) if best > 0 else best + 3 * max(first - best, 1e-12)


def smooth(rates: Sequence[float], losses: Any) -> list[float]:
    """The mean of the losses nearby, by a Gaussian kernel over the decades of the rate: centred, so it does not lag.

    A running average, which is usual, moves every feature of the curve towards higher rates.
    """
    decades, values = np.log10(np.asarray(rates, dtype=float)), np.asarray(losses, dtype=float)
    known = np.isfinite(values)
    if not known.any():
        return [math.nan] * len(values)
    weights = np.exp(-0.5 * ((decades[:, None] - decades[None, known]) / WIDTH) ** 2)  # (S, S known)
    return [float(v) for v in weights @ values[known] / np.maximum(weights.sum(1), 1e-300)]
