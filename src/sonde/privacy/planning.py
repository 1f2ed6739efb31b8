"""The noise that keeps a run within a given epsilon, and the steps that a given noise allows.

Entry: differential privacy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from sonde.core.errors import SondeError

from .spending import History, check_accountant, check_delta, checked, spent

TIGHT = 0.9999  # the share of the target that the planned noise spends at least
MOST = 2.0**40  # more noise hides nothing further, whatever the number of steps
LEAST = 2.0**-9  # less noise protects nothing
FOREVER = 2**62  # more steps than any run takes


def noise_for(
    target_epsilon: float,
    target_delta: float,
    sampling_rate: float,
    steps: int,
    accountant: str = "rdp",
    before: Iterable[Sequence[float]] = (),
    pure: Iterable[float] = (),
) -> float:
    """The least noise multiplier with which `steps` steps stay within the target, by bisection.

    The epsilon it spends is at most the target, and at least 0.999 of it. before: a history that was spent already.
    pure: the epsilons of pure mechanisms that were, or will be, spent beside the steps.

    >>> round(noise_for(3.0, 1e-5, 256 / 60000, steps=10_000), 3)
    0.925

    Raises:
        SondeError: a target that no noise reaches, or that asks for none.
    """
    past, beside = _asked(target_epsilon, target_delta, accountant, before), tuple(pure)
    _sampled(sampling_rate, steps, "no noise is needed")

    def epsilon(noise: float) -> float:
        return spent([*past, (noise, sampling_rate, steps)], target_delta, accountant, None, beside).epsilon

    if (least := epsilon(MOST)) > target_epsilon:
        raise _unreachable(target_epsilon, target_delta, accountant, least, bool(past), bool(beside))
    high = 1.0
    if accountant == "pld":  # rdp's noise is enough for pld too, and costs nothing to find
        try:
            high = noise_for(target_epsilon, target_delta, sampling_rate, steps, "rdp", past, beside)
        except SondeError:  # rdp cannot show so small an epsilon
            high = 1.0
    while epsilon(high) > target_epsilon:
        high *= 2
    low = high / 2
    while epsilon(low) <= target_epsilon:
        high, low = low, low / 2
        if low < LEAST:
            raise SondeError(f"epsilon {target_epsilon:g} protects nothing", "ask for a smaller one: 1 to 10 is usual")
    while epsilon(high) < TIGHT * target_epsilon and high / low > 1 + 1e-12:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if epsilon(middle) > target_epsilon else (low, middle)
    return high


def steps_within(
    target_epsilon: float,
    target_delta: float,
    noise_multiplier: float,
    sampling_rate: float,
    accountant: str = "rdp",
    before: Iterable[Sequence[float]] = (),
    pure: Iterable[float] = (),
) -> int:
    """The most steps that stay within the target; 0 where not even one does. before: a history spent already.
    pure: see `noise_for`.

    >>> steps_within(3.0, 1e-5, noise_multiplier=1.1, sampling_rate=256 / 60000)
    18338

    Raises:
        SondeError: no number of steps is the most.
    """
    past, beside = _asked(target_epsilon, target_delta, accountant, before), tuple(pure)
    _sampled(sampling_rate, 1, "there is no limit")

    def fits(steps: int) -> bool:
        done = [*past, (noise_multiplier, sampling_rate, steps)]
        return spent(done, target_delta, accountant, None, beside).epsilon <= target_epsilon

    low, high = 0, 1
    while fits(high):
        low, high = high, 2 * high
        if high > FOREVER:
            raise SondeError(f"noise of {noise_multiplier:g} allows any number of steps", "choose less noise")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _asked(epsilon: float, delta: float, accountant: str, before: Iterable[Sequence[float]]) -> History:
    """What was spent already, where the target is one."""
    check_delta(delta)
    check_accountant(accountant)
    if not (epsilon > 0 and math.isfinite(epsilon)):
        raise SondeError(f"the target epsilon is {epsilon}", "give a number above 0: 1 to 10 is usual")
    return checked(before)


def _sampled(rate: float, steps: int, therefore: str) -> None:
    if not checked([(1.0, rate, steps)]) or not rate:
        raise SondeError(f"no record is drawn in any step, so {therefore}", "ask with steps and a rate above 0")


def _unreachable(target: float, delta: float, accountant: str, least: float, past: bool, beside: bool) -> SondeError:
    why = f"as {accountant} counts"
    if past or beside:
        why = f"of which {'earlier steps' if past else 'what was read beside the steps'} spent a part"
    other = "" if accountant == "pld" else ", or take accountant='pld', which shows smaller ones"
    return SondeError(
        f"no noise reaches epsilon {target:g} at delta {delta:g}: the least is {least:.3g}, {why}",
        f"ask for a larger epsilon{other}",
    )
