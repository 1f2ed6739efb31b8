"""Split conformal prediction: sets of classes, and intervals of numbers, that hold the truth at a rate chosen before.

Rows that played no part in training say how strange the truth looks to the model; whatever looks no stranger than the
ceil((n + 1) (1 - alpha))-th of n of them is in the set. If new rows are exchangeable with them, the set holds the truth
with probability at least 1 - alpha, whatever the model (Lei et al., 2018, theorem 2.2).
Given the calibration rows the rate itself follows a beta law (Vovk, 2012, "Conditional validity of inductive conformal
predictors", proposition 2a), and the number of m new rows covered a beta-binomial one.

    lac    s = 1 - p_y                                  Sadinle, Lei and Wasserman, 2019: the smallest sets on average
    aps    s = sum of p over likelier classes + u p_y   Romano, Sesia and Candes, 2020: fairer to rows that are hard
    raps   s = aps + penalty (rank of y - rank)^+       Angelopoulos, Bates, Malik and Jordan, 2021: aps, smaller sets

u is uniform on [0, 1), a fresh one a row, by which aps and raps meet the rate exactly; their sets may then be empty.

Entry: calibration; confidence interval.
"""

# N rows, n calibration rows, m new rows, C classes, T targets

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from sonde.core import SondeError

from ._rows import Array, rows_of

Method: TypeAlias = Literal["lac", "aps", "raps"]
METHODS: tuple[Method, ...] = ("lac", "aps", "raps")


@dataclass(frozen=True)
class Sets:
    """Sets of classes that hold the true one for a share 1 - alpha of new rows.

    threshold: what the score of a class in the set is at most; inf where there were too few rows to calibrate on: every
        set then holds all classes. n: calibration rows. penalty, rank: of raps, see above. seed: of the draws u.

    >>> p = torch.tensor([[0.9, 0.1], [0.6, 0.4]])
    >>> Sets("lac", 0.1, threshold=0.5, n=100)(p).tolist()
    [[True, False], [True, False]]
    """

    method: Method
    alpha: float
    threshold: float
    n: int
    penalty: float = 0.01
    rank: int = 1
    seed: int = 1

    def __call__(self, probabilities: Tensor) -> Tensor:
        """Which classes are in the set of each row: (N, C) bool of probabilities (N, C)."""
        p = probabilities.detach().cpu().double().numpy()
        return torch.from_numpy(scores(p, self.method, self.penalty, self.rank, self.seed) <= self.threshold)

    def coverage_range(self, m: int) -> tuple[float, float]:
        """What the share of m new rows covered stays within, 95 times in 100, if they are exchangeable."""
        return coverage_range(self.n, m, self.alpha)


def fit(
    probabilities: Tensor,
    y: Tensor,
    alpha: float = 0.1,
    method: Method = "lac",
    penalty: float = 0.01,
    rank: int = 1,
    seed: int = 0,
) -> Sets:
    """Calibrate prediction sets on held-out rows.

    probabilities: (N, C). y: (N,) int64. alpha: the share of new rows whose set may miss the true class, in (0, 1).
    penalty, rank: of raps (lambda and k_reg): what each class beyond the `rank` likeliest ones adds. The paper chooses
        them on rows set apart; the values here are fixed. seed: of the draws for aps and raps.
    """
    if not 0 < alpha < 1:
        raise SondeError(f"alpha must lie between 0 and 1; got {alpha}", "0.1 gives sets that hold the truth in 90 %")
    if method not in METHODS:
        raise SondeError(f"there is no conformal method {method!r}", f"choose from {', '.join(METHODS)}")
    p, truth = rows_of(probabilities, y)
    own = scores(p, method, penalty, rank, seed)[np.arange(len(p)), truth]  # (N,)
    return Sets(method, alpha, quantile(own, alpha), len(p), penalty, rank, seed + 1)


def scores(p: Array, method: Method, penalty: float = 0.0, rank: int = 0, seed: int = 0) -> Array:
    """How strange each class looks, (N, C), of probabilities (N, C). Equally likely classes: in their order."""
    if method == "lac":
        return 1 - p  # type: ignore[no-any-return]
    order = np.argsort(-p, axis=1, kind="stable")  # (N, C)
    ranked = np.take_along_axis(p, order, 1)
    u = np.random.default_rng(seed).random((len(p), 1))
    ordered = np.cumsum(ranked, 1) - ranked + u * ranked
    if method == "raps":
        ordered = ordered + penalty * np.maximum(np.arange(1, p.shape[1] + 1) - rank, 0)
    found = np.empty_like(p)
    np.put_along_axis(found, order, ordered, 1)
    return found


def quantile(own: Array, alpha: float) -> float:
    """The ceil((n + 1) (1 - alpha))-th smallest of the scores (n,); inf where that is more than n.

    >>> quantile(np.arange(1.0, 20.0), 0.1), quantile(np.ones(5), 0.1)
    (18.0, inf)
    """
    n = len(own)
    k = _kth(n, alpha)
    return math.inf if k > n else float(np.sort(own)[k - 1])


def _kth(n: int, alpha: float) -> int:
    return math.ceil((n + 1) * (1 - alpha) - 1e-9)  # 1e-9: 20 times 0.9 is 18, not a little more


def coverage_range(n: int, m: int, alpha: float) -> tuple[float, float]:
    """The central 95 % of the share of m new rows that n calibration rows cover, by the beta-binomial law.

    >>> tuple(round(end, 3) for end in coverage_range(1000, 1000, 0.1))
    (0.873, 0.925)
    """
    from scipy.stats import betabinom

    k = _kth(n, alpha)
    if k > n or m == 0:
        return (1.0, 1.0)
    law = betabinom(m, k, n + 1 - k)
    return float(law.ppf(0.025)) / m, float(law.ppf(0.975)) / m


@dataclass(frozen=True)
class ResidualIntervals:
    """Intervals prediction +- width, (T,) widths, that hold the truth for a share 1 - alpha of new rows.

    Lei, G'Sell, Rinaldo, Tibshirani and Wasserman, "Distribution-free predictive inference for regression", 2018,
    algorithm 2. Every row's interval is equally wide; each of several targets has its own.
    """

    alpha: float
    width: tuple[float, ...]
    n: int

    def __call__(self, prediction: Tensor) -> tuple[Tensor, Tensor]:
        """The lower and upper ends, (N, T) each, of predictions (N, T)."""
        values = prediction.detach().cpu().double()
        width = torch.tensor(self.width, dtype=torch.float64)
        return values - width, values + width


def fit_residuals(prediction: Tensor, y: Tensor, alpha: float = 0.1) -> ResidualIntervals:
    """Calibrate intervals of numbers on held-out rows. prediction, y: (N, T)."""
    if not 0 < alpha < 1:
        raise SondeError(f"alpha must lie between 0 and 1; got {alpha}", "0.1 gives intervals that hold in 90 %")
    residual = (prediction.detach().cpu().double() - y.detach().cpu().double()).abs().numpy()  # (N, T)
    if np.isnan(residual).any():
        raise SondeError("predictions or truths are not numbers", "calibrate a model that answers")
    return ResidualIntervals(alpha, tuple(quantile(r, alpha) for r in residual.T), len(residual))
