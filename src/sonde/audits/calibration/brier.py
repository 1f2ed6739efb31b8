"""The Brier score and what it is made of.

    score = miscalibration - discrimination + uncertainty

Uncertainty is the score of always giving the shares of the classes; discrimination is what the order of the
probabilities improves on that; miscalibration is what is lost because they are not right as numbers: what the best
rising function of them would win back (Dimitriadis, Gneiting and Jordan, 2021, eq. 7; no bins). With several classes
each part is the sum over classes, each against the rest.

Entry: calibration.
"""

# N rows, C classes, U distinct probabilities, B resamples

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sonde.audits.quality.intervals import LEVEL, Array, Interval, upward

WORK = 1e8  # rows times classes times resamples that take a few seconds


@dataclass(frozen=True)
class Parts:
    """score = miscalibration - discrimination + uncertainty, summed over classes; intervals of the first two."""

    score: float
    miscalibration: float
    discrimination: float
    uncertainty: float
    miscalibration_interval: Interval | None = None
    discrimination_interval: Interval | None = None
    resamples: int = 0


def decomposed(p: Array, hit: Array) -> Parts:
    """The parts of the Brier score of probabilities p (N, C), of which those of `hit` (N, C) of 0 and 1 came true."""
    n, c = p.shape
    resamples = int(np.clip(WORK / max(1, n * c), 20, 200))
    generator = np.random.default_rng(0)
    times = np.concatenate([np.ones((1, n)), generator.multinomial(n, np.full(n, 1 / n), size=resamples)])
    sides = [_Side(p[:, k]) for k in range(c)]
    every = np.array([[side.parts(t, hit[:, k].astype(float)) for t in times] for k, side in enumerate(sides)]).sum(0)
    score, lost, gained, base = every[0]  # every: (1 + B, 4)
    # Resamples of a calibrated model: the probabilities as they are, and answers drawn by them.
    draws = generator.random((40, n, c)) < p if c * n <= 2e5 else None
    calibrated = np.inf
    if draws is not None:
        calm = [sum(s.parts(times[0], d[:, k].astype(float))[1] for k, s in enumerate(sides)) for d in draws]
        calibrated = float(np.quantile(calm, 0.5 + LEVEL / 2))
    first = upward(float(lost), every[1:, 1]) if n > 1 else None
    second = upward(float(gained), every[1:, 2]) if n > 1 else None
    if first is not None:
        first = (0.0 if lost <= calibrated else max(0.0, first[0]), first[1])
    if second is not None:
        second = (max(0.0, second[0]), second[1])
    return Parts(float(score), float(lost), float(gained), float(base), first, second, resamples)


class _Side:
    """One class against the rest, sorted once."""

    def __init__(self, p: Array) -> None:
        self.p = p
        self.distinct, self.which = np.unique(p, return_inverse=True)

    def parts(self, times: Array, hit: Array) -> Array:
        """score, miscalibration, discrimination, uncertainty, where row i counts times[i] times."""
        from sklearn.isotonic import isotonic_regression

        rows = np.bincount(self.which, times, len(self.distinct))  # (U,)
        hits = np.bincount(self.which, times * hit, len(self.distinct))
        seen = rows > 0
        rows, hits, p = rows[seen], hits[seen], self.distinct[seen]
        best = isotonic_regression(hits / rows, sample_weight=rows)
        n, all_ = rows.sum(), hits.sum()

        def squares(q: Array | float) -> float:
            return float((rows * q * q - 2 * hits * q + hits).sum() / n)  # hits are 0 or 1: their square is themselves

        score, calibrated, base = squares(p), squares(best), squares(all_ / n)
        return np.array([score, score - calibrated, base - calibrated, base])
