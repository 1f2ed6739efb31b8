"""Learning-rate schedules as pure functions of the step: `schedule(step, total)` is the factor on the base rate.

A schedule has no state, so a resumed run and a fresh one agree, and a schedule can be drawn before it is used.

Entry: step decay; cosine annealing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """The factor on the base learning rate at step `step` of `total`; steps count from 0."""

    def __call__(self, step: int, total: int) -> float:
        """The factor."""


@dataclass(frozen=True, slots=True)
class Constant:
    """The base rate throughout, after a linear warm-up over the first `warmup` share of the steps.

    >>> [Constant(warmup=0.5)(t, 4) for t in range(4)]
    [0.5, 1.0, 1.0, 1.0]
    """

    warmup: float = 0.0

    def __call__(self, step: int, total: int) -> float:
        """The factor."""
        return _warm(step, total, self.warmup)


@dataclass(frozen=True, slots=True)
class Cosine:
    """Half a cosine from 1 to `floor` (Loshchilov and Hutter, 2017, eq. 5), after a linear warm-up.

    >>> [round(Cosine()(t, 4), 3) for t in range(5)]
    [1.0, 0.854, 0.5, 0.146, 0.0]
    """

    warmup: float = 0.0
    floor: float = 0.0

    def __call__(self, step: int, total: int) -> float:
        """The factor."""
        rising = _warm(step, total, self.warmup)
        if rising < 1.0:
            return rising
        begin = self.warmup * total
        share = min(1.0, max(0.0, step - begin) / max(1.0, total - begin))  # the last warm step is before `begin`
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * share))


@dataclass(frozen=True, slots=True)
class OneCycle:
    """Up by a half cosine from 1/`divide` to 1 within the first `rise` share, then down to 1/`end` (Smith, 2018).

    >>> [round(OneCycle(rise=0.5, divide=10)(t, 4), 3) for t in range(5)]
    [0.1, 0.55, 1.0, 0.5, 0.0]
    """

    rise: float = 0.25
    divide: float = 25.0
    end: float = 1e4

    def __call__(self, step: int, total: int) -> float:
        """The factor."""
        peak = self.rise * total
        if step < peak:
            return _between(1 / self.divide, 1.0, step / peak)
        return _between(1.0, 1 / self.end, min(1.0, (step - peak) / max(1.0, total - peak)))


@dataclass(frozen=True, slots=True)
class StepDecay:
    """Multiply by `factor` at each of the given shares of the steps.

    >>> [round(StepDecay(at=(0.5, 0.75))(t, 4), 3) for t in range(4)]
    [1.0, 1.0, 0.1, 0.01]
    """

    at: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1

    def __call__(self, step: int, total: int) -> float:
        """The factor."""
        return float(self.factor ** sum(step >= share * total for share in self.at))


def _warm(step: int, total: int, warmup: float) -> float:
    steps = warmup * total
    return min(1.0, (step + 1) / steps) if steps > 0 else 1.0


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))
