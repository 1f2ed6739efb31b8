"""95 % confidence intervals: Wilson's for a share, the bootstrap's for the rest, and a paired test for differences.

The bootstrap here resamples rows by how often each is drawn, not by copying them. Every statistic is a smooth function
of column sums over rows (a mean, an F1, an R2), so one matrix product of counts (B, N) and columns (N, K) gives the
sums of B resamples, and the jackknife that BCa needs is the total without each row in turn.

Entry: confidence interval.
"""

# N rows, K columns, B resamples

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sonde.core import Measure

Array = NDArray[Any]
Interval = tuple[float, float]

LEVEL = 0.95
RESAMPLES = 2000  # Efron and Tibshirani (1993, sec. 14.3): at least 1000 for BCa
BLOCKS = 5_000  # more rows than this are drawn in blocks, so that the cost does not grow with the test set
_AT_ONCE = 2_000_000  # counts held in memory at a time
_NORMAL = NormalDist()


def wilson(right: int, n: int) -> Interval | None:
    """The score interval of a share, `right` of `n` (Wilson, 1927); None for n = 0.

    >>> tuple(round(end, 4) for end in wilson(98, 100))
    (0.93, 0.9945)
    """
    if n == 0:
        return None
    z = _NORMAL.inv_cdf(0.5 + LEVEL / 2)
    p, shrink = right / n, 1 + z * z / n
    centre = (p + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # The ends are exactly 0 and 1 there, up to rounding.
    return (0.0 if right == 0 else max(0.0, centre - half), 1.0 if right == n else min(1.0, centre + half))


@dataclass(frozen=True, eq=False)
class Statistic:
    """A number computed from sums over rows.

    columns: (N, K) what is summed. of: sums (..., K) -> value (...); NaN where it is undefined.
    method: `bca`: bias-corrected and accelerated (Efron, 1987, eq. 2.3). `upward`: for what is biased upwards
        by more than BCa can undo, the lower end of the basic and the upper end of the percentile interval (Davison
        and Hinkley, 1997, eqs. 5.6 and 5.18).
    low, high: the range of the statistic, at which an interval is cut.
    """

    columns: Array
    of: Callable[[Array], Array]
    method: Literal["bca", "upward"] = "bca"
    low: float = -math.inf
    high: float = math.inf

    @property
    def value(self) -> float:
        """The statistic on the rows themselves."""
        with np.errstate(all="ignore"):
            return float(self.of(self.columns.sum(0)))


def mean(values: Array, low: float = -math.inf, high: float = math.inf) -> Statistic:
    """The mean of values (N,)."""
    columns = np.stack([np.ones(len(values)), np.asarray(values, float)], 1)
    return Statistic(columns, lambda s: s[..., 1] / s[..., 0], low=low, high=high)


def bootstrap(
    statistics: Mapping[str, Statistic], counts: Array | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval | None]:
    """The intervals of statistics of the same rows, from the same resamples.

    counts: (N,) how many records each row of the columns stands for; None for one each. Few distinct rows (the cells
        of a confusion matrix) make it fast.
    seed: of its own generator: the same answers always get the same interval.

    None where no interval can be had: fewer than two records, a statistic that is undefined here or on more than 1 %
    of the resamples, or one that is the same on all of them (no resample of 20 right answers has a wrong one, which
    does not mean that the next answer cannot be).
    """
    columns = np.concatenate([s.columns for s in statistics.values()], 1).astype(float)  # (N, K)
    if counts is not None:
        columns, counts = columns[counts > 0], counts[counts > 0]
        if len(columns) > 0.1 * counts.sum():  # drawing records is then quicker than drawing counts
            columns, counts = columns.repeat(counts, 0), None
    records = len(columns) if counts is None else int(counts.sum())
    if records < 2:
        return dict.fromkeys(statistics)
    generator = np.random.default_rng(seed)
    if counts is None and len(columns) > BLOCKS:
        columns = _in_blocks(columns, generator)
    sums = np.concatenate([n @ columns for n in _draws(len(columns), counts, resamples, generator)])  # (B, K)
    times = np.ones(len(columns)) if counts is None else counts
    total = times @ columns  # (K,)
    found: dict[str, Interval | None] = {}
    start = 0
    with np.errstate(all="ignore"):
        for name, s in statistics.items():
            mine = slice(start, start := start + s.columns.shape[1])
            one_less = s.of(total[mine] - columns[:, mine]) if s.method == "bca" else np.empty(0)  # (N,)
            ends = _ends(float(s.of(total[mine])), s.of(sums[:, mine]), one_less, times, s.method)
            found[name] = ends and (max(ends[0], s.low), min(ends[1], s.high))
    return found


def _in_blocks(columns: Array, generator: np.random.Generator) -> Array:
    """Sums of rows in random blocks: rows are independent, so drawing blocks gives sums the same spread."""
    order = generator.permutation(len(columns))
    starts = np.linspace(0, len(columns), BLOCKS, endpoint=False).astype(int)
    return np.add.reduceat(columns[order], starts, axis=0)


def _draws(rows: int, counts: Array | None, resamples: int, generator: np.random.Generator):  # type: ignore[no-untyped-def]
    """How often each row is drawn in each resample, (b, N) float64 at a time."""
    if counts is not None:
        n = int(counts.sum())
        yield generator.multinomial(n, counts / n, size=resamples).astype(float)
        return
    at_once = max(1, _AT_ONCE // rows)
    for begin in range(0, resamples, at_once):
        b = min(at_once, resamples - begin)
        drawn = generator.integers(0, rows, size=(b, rows), dtype=np.int32)
        drawn += np.arange(b, dtype=np.int32)[:, None] * rows
        yield np.bincount(drawn.ravel(), minlength=b * rows).reshape(b, rows).astype(float)


def _ends(value: float, resampled: Array, one_less: Array, times: Array, method: str) -> Interval | None:
    defined = resampled[np.isfinite(resampled)]
    if not math.isfinite(value) or len(defined) < 0.99 * len(resampled):
        return None
    spread = defined.max() - defined.min()
    if spread <= 1e-12 * max(1.0, abs(value)):  # rounding alone
        return None
    tail = (1 - LEVEL) / 2
    if method == "upward":
        high = float(np.quantile(defined, 1 - tail))
        return min(value, 2 * value - high), max(value, high)
    below = ((defined < value).sum() + 0.5 * (defined == value).sum()) / len(defined)
    if not 0 < below < 1:
        low, high = np.quantile(defined, [tail, 1 - tail])
        return float(low), float(high)
    bias = _NORMAL.inv_cdf(below)  # z_0
    usable = np.isfinite(one_less)
    pull = np.average(one_less[usable], weights=times[usable]) - one_less[usable]
    squares = float(times[usable] @ pull**2)
    bend = float(times[usable] @ pull**3) / (6 * squares**1.5) if squares > 0 else 0.0  # a, the acceleration
    at = []
    for share in (tail, 1 - tail):
        z = bias + _NORMAL.inv_cdf(share)
        stretch = 1 - bend * z
        at.append(_NORMAL.cdf(bias + z / stretch) if stretch > 0 else share)
    low, high = np.quantile(defined, at)
    return float(low), float(high)


def percentile(resampled: Array) -> Interval | None:
    """The middle 95 % of a statistic on resamples (B,); None where it is undefined on many, or always the same."""
    known = resampled[np.isfinite(resampled)]
    if len(known) < 0.95 * len(resampled) or len(known) < 2 or np.ptp(known) <= 1e-12 * max(1.0, np.abs(known).max()):
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def upward(value: float, resampled: Array) -> Interval | None:
    """The interval of a statistic that is biased upwards, from its values on resamples (B,); see `Statistic`."""
    return _ends(value, resampled, np.empty(0), np.empty(0), "upward")


HOW = {
    "wilson": "Wilson (1927)",
    "bca": f"BCa bootstrap (Efron, 1987), {RESAMPLES} resamples",
    "upward": f"bootstrap, basic below and percentile above (Davison and Hinkley, 1997), {RESAMPLES} resamples",
}
NONE = "none: too few rows, or the number is the same on every resample of them"


def omission(measure: Measure) -> str | None:
    """Why a measure has no value (it is NaN then), or None for one that has.

    >>> omission(left_out("quality/r2", "1", 1, "higher", "Wright (1921)", "test", "one row has no variance"))
    'one row has no variance'
    """
    return measure.settings.get("omitted")


def left_out(name: str, unit: str, n: int, better: Any, source: str, split: str, why: str) -> Measure:
    """A measure that cannot be had on these rows: its value is NaN and its settings say why."""
    return Measure(name, math.nan, unit, n, better, source, None, split, {"omitted": why})


def settings(how: str, interval: Interval | None, **more: Any) -> dict[str, Any]:
    """A measure's settings: how the interval was made, or why there is none, and whatever else defines the number."""
    return {"interval": NONE if interval is None else HOW[how], **more}


@dataclass(frozen=True)
class Comparison:
    """Two models on the same rows.

    difference: mean over rows of the first's score minus the second's; higher scores are better.
    interval: of the difference, 95 %, by resampling rows in pairs; None where every row has the same difference.
    p: for right and wrong answers, McNemar's test (1947) with mid-p (Fagerland et al., 2013); None for other scores.
    distinguishable: whether the interval leaves out zero (and p < 0.05, where there is one).
    n: rows.
    """

    difference: float
    interval: Interval | None
    p: float | None
    distinguishable: bool
    n: int

    @property
    def winner(self) -> Literal["first", "second", "neither"]:
        """Which model is better, as far as these rows can tell."""
        if not self.distinguishable:
            return "neither"
        return "first" if self.difference > 0 else "second"


def compare(first: Array, second: Array) -> Comparison:
    """Compare two models by their scores (N,) on the same rows, higher better: 1 for right and 0 for wrong, or any.

    >>> a, b = np.array([1.0] * 90 + [0.0] * 10), np.array([1.0] * 70 + [0.0] * 30)
    >>> found = compare(a, b)
    >>> found.winner, round(found.difference, 3), found.p < 0.001
    ('first', 0.2, True)
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"needs two scores a row, (N,) each; got {first.shape} and {second.shape}")
    difference = first - second  # (N,)
    if not len(difference):
        return Comparison(math.nan, None, None, False, 0)
    values, counts = np.unique(difference, return_counts=True)
    interval = bootstrap({"": mean(values)}, counts)[""]  # equal differences are one row that counts several times
    p = _mcnemar(first, second) if np.isin(np.concatenate([first, second]), (0.0, 1.0)).all() else None
    apart = interval is not None and not interval[0] <= 0 <= interval[1]
    if interval is None and p is not None and len(values) == 1 and values[0] != 0:
        apart = True  # one model is right on every row and the other on none: McNemar decides
    return Comparison(float(difference.mean()), interval, p, apart and (p is None or p < 1 - LEVEL), len(difference))


def _mcnemar(first: Array, second: Array) -> float:
    from scipy.special import bdtr  # the binomial distribution function

    wins, losses = int(((first == 1) & (second == 0)).sum()), int(((first == 0) & (second == 1)).sum())
    n, k = wins + losses, min(wins, losses)
    if n == 0:
        return 1.0
    at_most, below = float(bdtr(k, n, 0.5)), float(bdtr(k - 1, n, 0.5)) if k else 0.0
    return min(1.0, at_most + below)  # 2 P(X <= k) - P(X = k)
