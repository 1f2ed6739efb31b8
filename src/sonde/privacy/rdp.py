"""Rényi differential privacy of the Gaussian mechanism on a Poisson sample: an upper bound.

Mironov, Talwar and Zhang, Rényi differential privacy of the sampled Gaussian mechanism, 2019, section 3.3: with rate q
and noise multiplier sigma one step has RDP log(A_alpha) / (alpha - 1), where A_alpha is the alpha-th moment of
(1 - q) + q exp((2 z - 1) / (2 sigma^2)) over z ~ N(0, sigma^2). For an integer alpha that is a finite sum, else two
series that meet at z0. Steps add up. Balle et al., Hypothesis testing interpretations and Rényi differential privacy,
2020, theorem 21 (also Canonne, Kamath and Steinke, 2020, proposition 12), turns the sum into (epsilon, delta).

Difference from the paper's sum for integers: its first two terms are taken out, since they make 1 - (the rest's -1), so
what remains of A_alpha - 1 is a sum of positive terms and keeps its precision however small the rate is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# The orders alpha at which privacy is followed: those of Opacus, so that the two give one epsilon.
ORDERS: Floats = np.array([1 + x / 10 for x in range(1, 100)] + list(range(12, 64)))
_WHOLE = ORDERS == np.floor(ORDERS)
_SMALL = -30.0  # log of a series' term that no longer matters: A_alpha is at least 1


@lru_cache(maxsize=256)
def _step(noise: float, rate: float) -> Floats:
    """RDP of one step at every order of ORDERS; read-only."""
    rdp = np.empty_like(ORDERS)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if rate == 0 or math.isinf(noise):
            rdp[:] = 0.0
        elif noise == 0:
            rdp[:] = np.inf
        elif rate == 1:
            rdp[:] = ORDERS / 2 / noise / noise
        else:
            rdp[_WHOLE] = _log_moment_whole(noise, rate, ORDERS[_WHOLE])
            rdp[~_WHOLE] = _log_moment(noise, rate, ORDERS[~_WHOLE])
            rdp /= ORDERS - 1
    rdp[np.isnan(rdp)] = np.inf  # noise so small that its square is no number
    rdp.flags.writeable = False
    return rdp


def _log_moment_whole(sigma: float, q: float, orders: Floats) -> Floats:
    """log A_alpha for integers alpha: A - 1 is the sum over k >= 2 of binom(alpha, k) (1-q)^(alpha-k) q^k (e^x - 1)."""
    from scipy.special import gammaln, logsumexp

    k = np.arange(2, orders.max() + 1)
    alpha = orders[:, None]
    left = np.maximum(alpha - k, 0)  # (orders, k)
    binomial = gammaln(alpha + 1) - gammaln(k + 1) - gammaln(left + 1)
    x = (k * k - k) / 2 / sigma / sigma
    terms = binomial + left * math.log1p(-q) + k * math.log(q) + x + np.log(-np.expm1(-x))
    rest: Floats = logsumexp(np.where(k <= alpha, terms, -np.inf), axis=1)  # log(A - 1)
    return np.logaddexp(0.0, rest)


def _log_moment(sigma: float, q: float, orders: Floats) -> Floats:
    """log A_alpha for other alpha: the integrals below and above z0, each a series in i."""
    from scipy.special import log_ndtr

    z0 = sigma * sigma * (math.log1p(-q) - math.log(q)) + 0.5
    total, going = np.zeros_like(orders), np.arange(len(orders))
    scale = np.maximum(0.0, (orders * orders - orders) / 2 / sigma / sigma + orders * math.log(q))  # about log A
    start, length = 0, 32
    last = np.zeros_like(orders)  # log |binom(alpha, start - 1)|
    while len(going):
        alpha = orders[going, None]
        i = np.arange(start, start + length, dtype=float)
        j = alpha - i
        # binom(alpha, i) = binom(alpha, i - 1) (alpha - i + 1) / i; from i > alpha + 1 on the signs alternate
        ratio = np.log(np.abs(j + 1)) - np.log(np.maximum(i, 1))
        if start == 0:
            ratio[:, 0] = 0.0
        coefficient = last[going, None] + np.cumsum(ratio, axis=1)
        sign = 1 - 2 * (np.maximum(i - np.ceil(alpha), 0) % 2)
        below = coefficient + i * math.log(q) + j * math.log1p(-q) + (i * i - i) / 2 / sigma / sigma
        above = coefficient + j * math.log(q) + i * math.log1p(-q) + (j * j - j) / 2 / sigma / sigma
        below = below + log_ndtr((z0 - i) / sigma)
        above = above + log_ndtr((j - z0) / sigma)
        part = np.exp(below - scale[going, None]) + np.exp(above - scale[going, None])
        total[going] += (sign * part).sum(axis=1)
        last[going] = coefficient[:, -1]
        going = going[np.maximum(below[:, -1], above[:, -1]) >= _SMALL]
        start, length = start + length, min(2 * length, 4096)
    return np.maximum(np.log(total) + scale, 0.0)


def _pure(epsilon: float) -> Floats:
    """RDP of a pure epsilon-DP mechanism: that of randomised response, the worst there is.

    Bun and Steinke, Concentrated differential privacy, 2016, proof of proposition 3.3: at most
    log((sinh(alpha e) - sinh((alpha - 1) e)) / sinh(e)) / (alpha - 1), which is below alpha e^2 / 2 and below e.
    """
    if epsilon == 0:
        return np.zeros_like(ORDERS)
    with np.errstate(over="ignore", invalid="ignore"):
        # sinh(a) - sinh(b) = 2 cosh((a + b) / 2) sinh((a - b) / 2), and sinh(e) = 2 sinh(e / 2) cosh(e / 2)
        exact = np.log(np.cosh((ORDERS - 0.5) * epsilon) / math.cosh(epsilon / 2)) if epsilon < 10 else np.inf
    return np.minimum(np.minimum(exact / (ORDERS - 1), ORDERS * epsilon**2 / 2), epsilon)


def rdp(history: Iterable[tuple[float, float, int]], pure: Iterable[float] = ()) -> Floats:
    """The Rényi divergence bound of a whole history at every order of ORDERS.

    pure: the epsilons of pure mechanisms that read all records beside it.
    """
    total = sum((_pure(e) for e in pure), np.zeros_like(ORDERS))
    for noise, rate, steps in history:
        if steps:
            total = total + steps * _step(noise, rate)
    return total


def epsilon(
    history: Iterable[tuple[float, float, int]], delta: float, pure: Iterable[float] = ()
) -> tuple[float, float]:
    """The smallest epsilon over the orders, and the order that gives it.

    history: of (noise multiplier, sampling rate, steps). delta: in (0, 1). pure: see `rdp`.

    >>> value, order = epsilon([(1.1, 256 / 60000, 1000)], 1e-5)
    >>> round(value, 4), order
    (0.8895, 12.0)
    """
    total = rdp(history, pure)
    if not total.any():
        return 0.0, math.inf
    found = total + np.log1p(-1 / ORDERS) - (math.log(delta) + np.log(ORDERS)) / (ORDERS - 1)
    best = int(np.argmin(found))
    return max(0.0, float(found[best])), float(ORDERS[best])
