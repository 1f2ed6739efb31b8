"""Gaussian differential privacy: one number mu for a whole run, by a central limit theorem. An approximation.

Dong, Roth and Su, Gaussian differential privacy, 2019: releasing a Gaussian mechanism T times is mu-GDP with
mu = sqrt(T) / sigma, exactly (theorem 2.7 and corollary 3.3). On a Poisson sample Bu, Dong, Long and Su, Deep learning
with Gaussian differential privacy, 2020, section 3, take the limit of many steps at a small rate,
mu = q sqrt(T (e^(1/sigma^2) - 1)). For any real number of steps the limit can **understate** epsilon (Gopi, Lee and
Wutschitz, Numerical composition of differential privacy, 2021, figure 1): never rest a guarantee on it.
Histories compose as mu^2 = sum of mu_i^2; corollary 2.13 of the first paper turns mu into (epsilon, delta).
"""

from __future__ import annotations

import math
from collections.abc import Iterable


def mu(history: Iterable[tuple[float, float, int]], pure: Iterable[float] = ()) -> float:
    """The GDP parameter of a history of (noise multiplier, sampling rate, steps).

    pure: the epsilons of pure mechanisms beside it. A pure mechanism's trade-off curve consists of two lines that meet
    at 1 / (1 + e^epsilon) on the diagonal; the convex curve of mu-GDP that goes through there lies below both.
    """
    from scipy.special import ndtri

    corners = (-2 * float(ndtri(1 / (1 + math.exp(min(e, 700.0))))) for e in pure)
    return math.sqrt(sum(_squared(*entry) for entry in history) + sum(m * m for m in corners))


def _squared(sigma: float, q: float, steps: int) -> float:
    if not steps or not q:
        return 0.0
    try:
        once = 1 / sigma / sigma
        return steps * once if q == 1 else q * q * steps * math.expm1(once)
    except (ZeroDivisionError, OverflowError):
        return math.inf


def epsilon(history: Iterable[tuple[float, float, int]], delta: float, pure: Iterable[float] = ()) -> float:
    """The epsilon at which mu-GDP has this delta: Phi(mu/2 - e/mu) - e^e Phi(-mu/2 - e/mu) = delta.

    >>> round(epsilon([(1.1, 256 / 60000, 1000)], 1e-5), 4)
    0.5413
    """
    from scipy.optimize import brentq
    from scipy.special import log_ndtr

    m = mu(history, pure)
    if m == 0 or math.isinf(m):
        return m

    def excess(e: float) -> float:  # log delta(e) - log delta, falling in e
        above = float(log_ndtr(m / 2 - e / m))
        ratio = e + float(log_ndtr(-m / 2 - e / m)) - above
        return above + math.log(-math.expm1(ratio)) - math.log(delta) if ratio < 0 else -math.inf

    if excess(0.0) <= 0:
        return 0.0
    high = max(1.0, m * m)
    while excess(high) > 0:
        high *= 2
    return float(brentq(excess, 0.0, high, xtol=1e-13, rtol=1e-13))
