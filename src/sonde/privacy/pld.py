"""The distribution of the privacy loss, followed by numbers: a tight upper bound.

Koskela, Jälkö and Honkela, Computing tight differential privacy guarantees using FFT, 2020; discretised upwards by
connecting the dots (Doroshenko et al., 2022), so that the result is never below the truth. The arithmetic is that of
dp-accounting. Others' PRV accountant (Gopi, Lee and Wutschitz, 2021) discretises the same distribution in another way.
A history costs some 0.1 s, where `rdp` costs milliseconds and shows an epsilon that is usually 5 to 20 % larger.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sonde.core.errors import SondeError

FINENESS = 20  # mesh points in one standard deviation of a step's loss: epsilon within about 0.05 %, always above
FINEST = 5e-5  # below it, tables of millions of entries; only rates under 0.001 meet it, and pay a few per cent


def epsilon(history: Sequence[tuple[float, float, int]], delta: float, pure: Sequence[float] = ()) -> float:
    """The epsilon at this delta of a history of (noise multiplier, sampling rate, steps).

    pure: the epsilons of pure mechanisms beside it, of which the worst is taken: randomised response.

    Raises:
        SondeError: dp-accounting is not installed.
    """
    try:
        from dp_accounting.pld import common  # type: ignore[import-untyped]
        from dp_accounting.pld import privacy_loss_distribution as distributions
    except ImportError as error:
        raise SondeError(
            "the pld accountant needs the package dp-accounting, which is not installed",
            "pip install 'sonde[private]', or take accountant='rdp'",
        ) from error
    taken = [(sigma, q, steps) for sigma, q, steps in history if steps and q and not math.isinf(sigma)]
    beside = [e for e in pure if e > 0]
    if not taken:
        return _alone(beside, delta)
    if any(sigma < 1e-3 for sigma, _, _ in taken):
        return math.inf  # a true bound; the real one, above 100000, protects nothing and overflows the tables
    mesh = max(FINEST, min(_deviation(sigma, q) for sigma, q, _ in taken) / FINENESS)
    whole: Any = None
    for sigma, q, steps in taken:
        one = distributions.from_gaussian_mechanism(sigma, value_discretization_interval=mesh, sampling_prob=q)
        part = one.self_compose(steps)
        whole = part if whole is None else whole.compose(part)
    without = max(0.0, float(whole.get_epsilon_for_delta(delta)))
    for one in sorted(set(beside)):
        # Losses are rounded up to the mesh: `one` is counted as the next multiple, which is an upper bound still.
        some = distributions.from_privacy_parameters(common.DifferentialPrivacyParameters(one), mesh)
        whole = whole.compose(some.self_compose(beside.count(one)))
    together = max(0.0, float(whole.get_epsilon_for_delta(delta))) if beside else without
    return min(together, without + sum(beside))


def _alone(pure: Sequence[float], delta: float) -> float:
    """Pure mechanisms alone: simply composed, or by RDP where that is less."""
    from . import rdp

    return min(math.fsum(pure), rdp.epsilon((), delta, pure)[0]) if pure else 0.0


def _deviation(sigma: float, q: float) -> float:
    """The standard deviation of one step's privacy loss, about: q sqrt(e^(1/sigma^2) - 1), and 1 / sigma at rate 1."""
    return 1 / sigma if q == 1 or sigma < 0.05 else min(1 / sigma, q * math.sqrt(math.expm1(1 / sigma**2)))
