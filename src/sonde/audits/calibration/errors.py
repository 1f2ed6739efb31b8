"""How far probabilities are from how often they come true: calibration errors over bins, with intervals.

    adaptive   sum_b n_b / N |right_b - sure_b|, bins of equally many rows        Nguyen and O'Connor (2015)
    class-wise 1/C sum_c sum_b n_cb / N |there_cb - p_cb|, bins of equal width    Nixon et al. (2019), eq. 3 (SCE)
    debiased   sqrt(sum_b n_b / N [(right_b - sure_b)^2 - right_b (1 - right_b) / (n_b - 1)])
                                                                                  Kumar, Liang and Ma (2019), sec. 4

The first two are never zero on real rows: a calibrated model has some, more with fewer rows. Where the value is one
that a calibrated model would have, its interval starts at zero. The third takes that part off, and may come out zero.

Entry: calibration; expected calibration error.
"""

# N rows, C classes, K bins of one class or of all, B resamples

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from sonde.audits.quality.intervals import HOW, LEVEL, RESAMPLES, Array, Interval, Statistic, bootstrap

BINS = 15  # Guo et al. (2017, sec. 4)
MOST_COLUMNS = 40 * BINS  # of a statistic that is still resampled


@dataclass(frozen=True, eq=False)
class Binned:
    """Answers in bins. which: (N,) or (N, C) the bin of each, all different for different classes. bins: K.

    p: what was said. hit: whether it came true, the same shape. scale: what sums of rows are divided by, 1 or C times.
    """

    which: Array
    bins: int
    p: Array
    hit: Array
    scale: float = 1.0

    @property
    def gaps(self) -> Array:
        """Sum over rows of p - hit in each bin, (K,)."""
        return np.bincount(self.which.ravel(), (self.p - self.hit).ravel(), self.bins)

    @property
    def error(self) -> float:
        """sum_b |gap_b| / N."""
        return float(np.abs(self.gaps).sum() / (len(self.p) * self.scale))

    def if_calibrated(self) -> float:
        """What the error of a calibrated model stays below on 97.5 % of test sets of this size.

        Hits are then binomial in each bin, with its mean probability, which spreads a little more than rows' own.
        """
        rows = np.bincount(self.which.ravel(), minlength=self.bins)
        sure = np.clip(np.bincount(self.which.ravel(), self.p.ravel(), self.bins) / np.maximum(rows, 1), 0.0, 1.0)
        generator = np.random.default_rng(0)
        hits = generator.binomial(rows, sure, size=(min(RESAMPLES, int(2e6 // self.bins) + 100), self.bins))
        found = np.abs(hits - rows * sure).sum(1) / (len(self.p) * self.scale)
        return float(np.quantile(found, 0.5 + LEVEL / 2))

    def statistic(self) -> Statistic:
        """The error as a function of sums over rows."""
        n = len(self.p)
        columns = np.zeros((n, self.bins + 1))
        columns[:, -1] = self.scale
        which = self.which.reshape(n, -1)
        np.add.at(columns, (np.arange(n)[:, None], which), (self.p - self.hit).reshape(n, -1))
        return Statistic(columns, lambda s: np.abs(s[..., :-1]).sum(-1) / s[..., -1], "upward", 0.0, 1.0)

    def interval(self) -> tuple[Interval | None, dict[str, Any]]:
        """Of the error, and how it was made."""
        if self.bins > MOST_COLUMNS:
            return None, {"interval": f"none: {self.bins} bins are too many to resample"}
        resamples = RESAMPLES if self.bins <= 10 * BINS else 500
        found = bootstrap({"": self.statistic()}, resamples=resamples)[""]
        if found is None:
            return None, {"interval": "none: too few rows, or the number is the same on every resample of them"}
        if self.error <= self.if_calibrated():
            found = (0.0, found[1])
        zero = "where a calibrated model's would be as large (Bröcker and Smith, 2007)"
        return found, {"interval": HOW["upward"].replace(str(RESAMPLES), str(resamples)), "from_zero": zero}


def equal_mass(p: Array, hit: Array, bins: int = BINS) -> Binned:
    """Bins of about equally many rows, by probability (N,); equal probabilities share a bin."""
    edges = np.unique(np.quantile(p, np.linspace(0, 1, bins + 1)[1:-1])) if len(p) else np.zeros(0)
    return Binned(np.searchsorted(edges, p, side="left"), len(edges) + 1, p, hit.astype(float))


def equal_width(p: Array, hit: Array, bins: int = BINS) -> Binned:
    """Bins (b / K, (b + 1) / K] of the probability (N,), or of each class's (N, C)."""
    which = np.clip(np.ceil(p * bins).astype(int) - 1, 0, bins - 1)
    if p.ndim == 1:
        return Binned(which, bins, p, hit.astype(float))
    c = p.shape[1]
    return Binned(which + bins * np.arange(c), bins * c, p, hit.astype(float), float(c))


def debiased(binned: Binned) -> tuple[float, Interval | None]:
    """Kumar et al.'s estimate over bins of a share a row, and its interval.

    A resample's estimate is right on average about the squared error of the rows it is drawn from, which is the plain
    one (without the correction). So the interval is the estimate less how far resamples' estimates are from that.
    """
    columns = _sums(binned)
    n, total = len(columns), columns.sum(0)
    value = float(_square(total, True))
    root = math.sqrt(max(0.0, value))
    if n < 2 * binned.bins:
        return root, None
    off = _square(resampled(columns), True) - float(_square(total, False))
    low, high = value - np.quantile(off, [(1 + LEVEL) / 2, (1 - LEVEL) / 2])
    return root, (math.sqrt(max(0.0, low)), math.sqrt(max(0.0, high)))


def debiased_square(binned: Binned) -> float:
    """The square of `debiased` before it is cut at zero: right on average, and so sometimes negative."""
    return float(_square(_sums(binned).sum(0), True))


def _sums(binned: Binned) -> Array:
    """Columns (N, 3 K): rows, hits and probabilities by bin."""
    row = np.arange(len(binned.p))
    columns = np.zeros((len(row), 3 * binned.bins))
    for k, values in enumerate((np.ones(len(row)), binned.hit, binned.p)):
        columns[row, k * binned.bins + binned.which] = values
    return columns


def _square(sums: Array, corrected: bool) -> Array:
    """The squared error (...) from sums (..., 3 K), without what chance adds to it if `corrected`."""
    rows, hits, sure = np.split(sums, 3, axis=-1)
    share = hits / np.maximum(rows, 1)
    gap = ((hits - sure) / np.maximum(rows, 1)) ** 2
    noise = np.where(rows > 1, share * (1 - share) / np.maximum(rows - 1, 1), gap)
    return (rows * (gap - noise * corrected)).sum(-1) / rows.sum(-1)  # type: ignore[no-any-return]


def resampled(columns: Array, resamples: int = RESAMPLES, seed: int = 0) -> Array:
    """Sums of columns (N, K) over resamples of the rows, (B, K)."""
    n = len(columns)
    generator = np.random.default_rng(seed)
    at_once = max(1, int(4e6 // n))
    parts = [
        generator.multinomial(n, np.full(n, 1 / n), size=min(at_once, resamples - b)) @ columns
        for b in range(0, resamples, at_once)
    ]
    return np.concatenate(parts)
