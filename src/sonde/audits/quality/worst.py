"""The worst of many shares, without claiming more of it than so many looks allow.

The lowest of many observed shares is too low: it was chosen for being low. So every share gets an exact interval
(Clopper and Pearson, 1934) at level 1 - 0.05 / m, m being how many there are (Dunn, 1961, the Bonferroni inequality):
all of them hold together 95 times in 100, and so does what is said of the lowest, however it was chosen.

Entry: confidence interval.
"""

# M shares

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .intervals import LEVEL, Array, Interval

HOW = "Clopper and Pearson (1934), for {} shares at once (Bonferroni)"


@dataclass(frozen=True)
class Worst:
    """index: of the lowest share. value: it. interval: of the lowest true share. compared: how many shares, M."""

    index: int
    value: float
    interval: Interval
    compared: int

    @property
    def how(self) -> dict[str, Any]:
        """For a measure's settings."""
        return {"interval": HOW.format(self.compared), "compared": self.compared}


def clopper_pearson(right: Any, n: Any, level: float = LEVEL) -> tuple[Array, Array]:
    """The exact interval of shares, `right` of `n`, (M,) each; 0 and 1 for n = 0.

    >>> low, high = clopper_pearson(9, 10)
    >>> round(float(low), 4), round(float(high), 4)
    (0.555, 0.9975)
    """
    from scipy.special import betaincinv

    right, n = np.asarray(right, float), np.asarray(n, float)
    tail = (1 - level) / 2
    low = np.where(right > 0, betaincinv(np.maximum(right, 1e-9), n - right + 1, tail), 0.0)
    high = np.where(right < n, betaincinv(right + 1, np.maximum(n - right, 1e-9), 1 - tail), 1.0)
    return low, high


def simultaneous(right: Array, n: Array) -> tuple[Array, Array]:
    """Intervals (M,) and (M,) that hold all at once 95 times in 100."""
    return clopper_pearson(right, n, 1 - (1 - LEVEL) / max(1, len(n)))


def worst_of(right: Array, n: Array, smallest: int = 1) -> Worst | None:
    """The lowest of the shares `right` of `n`, (M,) each, with at least `smallest` rows; None where there are none.

    >>> worst_of(np.array([90, 40, 1]), np.array([100, 50, 2]), smallest=10).index
    1
    """
    enough = np.flatnonzero(np.asarray(n) >= max(1, smallest))
    if not len(enough):
        return None
    right, n = np.asarray(right)[enough], np.asarray(n)[enough]
    low, high = simultaneous(right, n)
    share = right / n
    at = int(share.argmin())
    return Worst(int(enough[at]), float(share[at]), (float(low.min()), float(high.min())), len(enough))
