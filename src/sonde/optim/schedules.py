"""Learning-rate schedules as pure functions of the step: `schedule(step, total)` is the factor on the base rate.

A schedule has no state, so a resumed run and a fresh one agree, and a schedule can be drawn before it is used.
Durations are shares of the stage's steps, so that a schedule does for any budget. What depends on measurements is a
method with a state (`ReduceOnPlateau`), whose factor multiplies the schedule's.

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


@dataclass(frozen=True, slots=True)
class Linear:
    """In a straight line from `start` to `end`.

    >>> [Linear(end=0.2)(t, 4) for t in (0, 2, 4)]
    [1.0, 0.6, 0.2]
    """

    start: float = 1.0
    end: float = 0.0

    def __call__(self, step: int, total: int) -> float:
        """The factor."""
        share = min(1.0, step / max(1, total))
        return self.start * (1 - share) + self.end * share


@dataclass(frozen=True, slots=True)
class Exponential:
    """The same factor every step, from 1 to `end` > 0.

    >>> [round(Exponential(end=0.01)(t, 4), 4) for t in range(5)]
    [1.0, 0.3162, 0.1, 0.0316, 0.01]
    """

    end: float = 0.01

    def __post_init__(self) -> None:
        if not self.end > 0:
            raise ValueError(f"end is above 0; got {self.end}")

    def __call__(self, step: int, total: int) -> float:
        """The factor."""
        return float(self.end ** min(1.0, step / max(1, total)))


@dataclass(frozen=True, slots=True)
class CosineRestarts:
    """Half a cosine from 1 to `floor`, `cycles` times, each `longer` times as long as the last (SGDR, 2017, eq. 5).

    >>> [round(CosineRestarts(cycles=2)(t, 8), 3) for t in range(8)]
    [1.0, 0.854, 0.5, 0.146, 1.0, 0.854, 0.5, 0.146]
    """

    cycles: int = 4
    longer: float = 1.0
    floor: float = 0.0

    def __post_init__(self) -> None:
        if self.cycles < 1 or self.longer <= 0:
            raise ValueError(f"cycles is 1 or more and longer above 0; got {self.cycles} and {self.longer}")

    def __call__(self, step: int, total: int) -> float:
        """The factor."""
        length = total / sum(self.longer**i for i in range(self.cycles))  # of the first cycle, in steps
        begin = 0.0
        for _ in range(self.cycles - 1):
            # A restart falls on a step, not a rounding error past it.
            if step < begin + length - 1e-9 * total:
                break
            begin, length = begin + length, length * self.longer
        share = min(1.0, max(0.0, step - begin) / length)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * share))


@dataclass(frozen=True, slots=True)
class InverseSqrt:
    """A linear warm-up to 1, then sqrt(warm steps / steps) (Vaswani et al., 2017, eq. 3, over its peak).

    >>> [round(InverseSqrt(warmup=0.25)(t, 16), 3) for t in (0, 3, 4, 15)]
    [0.25, 1.0, 0.894, 0.5]
    """

    warmup: float = 0.1

    def __call__(self, step: int, total: int) -> float:
        """The factor."""
        warm, taken = max(1.0, self.warmup * total), step + 1
        return min(taken / warm, math.sqrt(warm / taken))


@dataclass(frozen=True, slots=True)
class WarmUpStableDecay:
    """A linear warm-up, the base rate, and a decay to `floor` over the last `decay` share (Hu et al., MiniCPM, 2024).

    shape: of the decay: `linear`, or `sqrt` for 1 - sqrt(share), which is steeper at first (Hagele et al., 2024).

    >>> [round(WarmUpStableDecay(warmup=0.25, decay=0.5)(t, 8), 3) for t in range(9)]
    [0.5, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    """

    warmup: float = 0.05
    decay: float = 0.2
    floor: float = 0.0
    shape: str = "linear"

    def __post_init__(self) -> None:
        if self.shape not in ("linear", "sqrt"):
            raise ValueError(f"shape is 'linear' or 'sqrt'; got {self.shape!r}")

    def __call__(self, step: int, total: int) -> float:
        """The factor."""
        begin = (1 - self.decay) * total
        share = min(1.0, max(0.0, step - begin) / max(1.0, total - begin))
        gone = share if self.shape == "linear" else math.sqrt(share)
        return min(_warm(step, total, self.warmup), 1 - (1 - self.floor) * gone)


@dataclass(frozen=True, slots=True)
class WarmUp:
    """A linear rise over the first `share` of the steps, then another schedule, from its beginning, over the rest.

    >>> [round(WarmUp(Linear(), 0.5)(t, 8), 3) for t in range(9)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    """

    schedule: Schedule
    share: float = 0.05

    def __call__(self, step: int, total: int) -> float:
        """The factor."""
        begin = min(round(self.share * total), total)
        if step < begin:
            return (step + 1) / begin * self.schedule(0, max(1, total - begin))
        return self.schedule(step - begin, max(1, total - begin))


@dataclass(frozen=True, slots=True)
class Sequence:
    """One schedule over the first `at` share of the steps, then another over the rest, each from its beginning.

    >>> [round(Sequence(Constant(), Linear(), at=0.5)(t, 8), 3) for t in range(9)]
    [1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    """

    first: Schedule
    second: Schedule
    at: float = 0.5

    def __call__(self, step: int, total: int) -> float:
        """The factor."""
        begin = min(round(self.at * total), total)
        if step < begin:
            return self.first(step, begin)
        return self.second(step - begin, max(1, total - begin))


@dataclass(frozen=True, slots=True)
class Product:
    """Two schedules at once: the product of their factors.

    >>> Product(Linear(), Linear())(1, 2)
    0.25
    """

    first: Schedule
    second: Schedule

    def __call__(self, step: int, total: int) -> float:
        """The factor."""
        return self.first(step, total) * self.second(step, total)


def _warm(step: int, total: int, warmup: float) -> float:
    steps = warmup * total
    return min(1.0, (step + 1) / steps) if steps > 0 else 1.0


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))
