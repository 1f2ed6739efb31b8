"""What a learning-rate range test shows: losses against rates, smoothed, and the rates that they suggest.

Smith, Cyclical learning rates for training neural networks, 2017, section 3.3, reads the range of useful rates off such
a curve: from where training begins to work to where it begins to fail. The steepest descent and a tenth of the minimum
are rules of thumb for a rate that stays constant, common since Howard and Gugger, Deep learning for coders, 2020.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# S steps

WIDTH = 0.12  # decades: the standard deviation of the smoothing kernel, two to three steps of the default test
SURE = 5.0  # how many standard errors of the smoothed loss a fall must have to be one: it is the largest of many
EDGE = 0.05  # share of the fall by which the loss must exceed its minimum to be off the bottom


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
        """The standard error of the smoothed loss, from how much losses differ from the next, up to the minimum."""
        upto = max(self.lowest + 1, len(self.losses) // 2)
        steps = np.diff(np.asarray(self.losses[:upto]))
        steps = steps[np.isfinite(steps)]
        if len(steps) < 3:
            return math.inf
        # 1.48 times the median is the standard deviation of a normal distribution; a difference has two of them.
        spread = 1.4826 * float(np.median(np.abs(steps))) / math.sqrt(2)
        per_decade = (len(self.rates) - 1) / max(1e-9, math.log10(self.rates[-1] / self.rates[0]))
        return spread / math.sqrt(max(1.0, 2 * math.sqrt(math.pi) * WIDTH * per_decade))  # of a Gaussian kernel

    def suggested(self) -> dict[str, float]:
        """The rates by rule, the lowest usually first; none where the loss did not clearly fall.

        steepest: where the smoothed loss falls fastest per decade. minimum: where it is lowest, which is about the
        highest rate of use (Smith's upper bound); of a flat bottom the geometric middle. The others: a part of that.
        """
        low = self.lowest
        if low < 2 or not self.fall > SURE * self.noise:
            return {}
        decades, smoothed = np.log10(np.asarray(self.rates)), np.asarray(self.smoothed)
        slopes = np.gradient(smoothed, decades)[: low + 1]
        high = smoothed > smoothed[low] + EDGE * self.fall + 2 * self.noise
        first = low - int(np.argmax([*high[low::-1], True])) + 1
        last = low + int(np.argmax([*high[low:], True])) - 1
        bottom = (decades[first] + decades[last]) / 2
        return {
            "steepest": float(10 ** decades[int(slopes.argmin())]),
            "minimum / 10": float(10**bottom / 10),
            "minimum / 3": float(10**bottom / 3),
            "minimum": float(10**bottom),
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
