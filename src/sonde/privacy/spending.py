"""How much privacy a history of noisy steps has spent, with everything that the number rests on, in words.

A history is a list of (noise multiplier, sampling rate, steps): the noise's standard deviation over the clipping bound,
the probability with which each record entered each of these steps, and their number. Neighbouring data sets differ by
one record added or removed. A step draws its records by Poisson sampling; rate 1 is the full batch, without
amplification.

Entry: differential privacy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from sonde.core.errors import SondeError

Accountant = Literal["rdp", "gdp", "pld"]
ACCOUNTANTS: tuple[str, ...] = get_args(Accountant)
Claim = Literal["upper bound", "approximation", "exact"]
History = tuple[tuple[float, float, int], ...]

NEIGHBOURS = "add or remove one record"
METHODS = {
    "rdp": "RDP (Rényi differential privacy)",
    "gdp": "GDP (Gaussian differential privacy)",
    "pld": "PLD (privacy loss distribution)",
}


@dataclass(frozen=True, slots=True)
class Spent:
    """(epsilon, delta), and what is to be read with it.

    epsilon: at least 0; inf where nothing is protected. delta: in (0, 1). accountant: `rdp`, `gdp`, `pld`.
    claim: whether epsilon is an upper bound of the truth, the truth, or an approximation that may lie below it.
    sampling, neighbours: how records enter a step, and which data sets are to be indistinguishable, in words.
    steps: noisy steps taken. history: the (noise multiplier, sampling rate, steps) they were taken with.
    notes: what weakens the statement, a sentence each.
    pure: the epsilons of pure mechanisms that read all records once, each, beside the steps; they are part of epsilon.

    >>> s = spent([(1.1, 256 / 60000, 1000)], delta=1e-5)
    >>> round(s.epsilon, 3), s.claim, s.sampling
    (0.889, 'upper bound', 'Poisson, each record in each step with probability 0.00427')
    """

    epsilon: float
    delta: float
    accountant: str
    claim: Claim
    sampling: str
    neighbours: str
    steps: int
    history: History
    notes: tuple[str, ...] = ()
    pure: tuple[float, ...] = ()

    @property
    def bound(self) -> bool:
        """Whether the truth is certainly no worse."""
        return self.claim != "approximation"

    def __str__(self) -> str:
        article = {"upper bound": "an upper bound", "approximation": "an approximation", "exact": "exact"}[self.claim]
        shown = rounded_up(self.epsilon) if math.isfinite(self.epsilon) else "infinite (nothing is protected)"
        noise = " and ".join(f"{_steps(n)} of noise multiplier {s:.4g}" for s, _, n in self.history) or "no step"
        if self.pure:
            length = math.sqrt(math.fsum(e * e for e in self.pure))
            noise += f" and {len(self.pure)} pure mechanisms that cost as one of epsilon {length:.3g}"
        said = (
            f"epsilon {shown} at delta {self.delta:g}, {article} by {METHODS[self.accountant]}; "
            f"neighbouring data sets: {self.neighbours}; sampling: {self.sampling}; {noise}"
        )
        return ". ".join([said, *self.notes])


def rounded_up(epsilon: float) -> str:
    """Epsilon to three digits, never below what it is.

    >>> rounded_up(2.9801), rounded_up(0.5)
    ('2.99', '0.5')
    """
    if epsilon == 0 or not math.isfinite(epsilon):
        return f"{epsilon:g}"
    step = 10.0 ** (math.floor(math.log10(epsilon)) - 2)
    return f"{math.ceil(epsilon / step * (1 - 1e-12)) * step:.3g}"


def spent_by(methods: Iterable[object]) -> Spent | None:
    """What the private method among these has spent so far; None where there is none."""
    found = (getattr(m, "spent", None) for m in methods)
    return next((s for s in found if isinstance(s, Spent)), None)


def spent(
    history: Iterable[Sequence[float]],
    delta: float,
    accountant: str = "rdp",
    records: int | None = None,
    pure: Iterable[float] = (),
) -> Spent:
    """What `history` has spent at `delta`.

    accountant: `rdp`, an upper bound in milliseconds; `pld`, a tighter one in tenths of a second, which needs the
        extra `private`; `gdp`, an approximation that may understate epsilon.
    records: how many the data set has, to say where delta is too large for it.
    pure: the epsilons of pure mechanisms that read all records beside the steps: their cost is part of what was spent.

    Raises:
        SondeError: delta outside (0, 1), an accountant there is not, a history that is none.
    """
    check_delta(delta)
    check_accountant(accountant)
    done, beside = checked(history), checked_pure(pure)
    value, order = _epsilon(done, float(delta), accountant, beside)
    claim: Claim = "upper bound"
    if not done and not beside:
        claim = "exact"
    elif accountant == "gdp" and done:
        whole = all(q == 1 for _, q, _ in done)
        claim = "approximation" if not whole else "upper bound" if beside else "exact"
    notes = list(_notes(delta, records))
    if claim == "approximation":
        notes.insert(0, "A central limit is taken: the true epsilon can be LARGER; state the one of rdp or pld")
    if order is not None and math.isfinite(value) and done and order == _last_order():
        notes.append("The largest order considered decides: pld gives a smaller epsilon")
    steps = sum(n for _, _, n in done)
    return Spent(value, float(delta), accountant, claim, _sampling(done), NEIGHBOURS, steps, done, tuple(notes), beside)


def _notes(delta: float, records: int | None) -> Iterable[str]:
    if records and delta > 1 / records:
        yield (
            f"Delta {delta:g} is larger than 1 / {records}: publishing a record at random would satisfy it; "
            f"take one well below {1 / records:.1g}"
        )


def _sampling(history: History) -> str:
    rates = sorted({q for _, q, _ in history})
    if not rates:
        return "nothing was drawn"
    if rates == [1.0]:
        return "none, every record in every step"
    shown = " or ".join(f"{q:.3g}" for q in rates) if len(rates) <= 3 else f"{rates[0]:.3g} to {rates[-1]:.3g}"
    return f"Poisson, each record in each step with probability {shown}"


def _steps(n: int) -> str:
    return "1 step" if n == 1 else f"{n} steps"


@lru_cache(maxsize=256)
def _epsilon(
    history: History, delta: float, accountant: str, pure: tuple[float, ...] = ()
) -> tuple[float, float | None]:
    """Epsilon, and the order that decided it where there is one."""
    if not history and not pure:
        return 0.0, None
    if any(sigma == 0 and q for sigma, q, _ in history):
        return math.inf, None
    if accountant == "rdp":
        from . import rdp

        together, order = rdp.epsilon(history, delta, pure)
        apart = rdp.epsilon(history, delta)[0] + math.fsum(pure)  # simple composition, less where orders end too soon
        return min(together, apart), order if together <= apart else None
    if accountant == "gdp":
        from . import gdp

        return gdp.epsilon(history, delta, pure), None
    from . import pld

    return pld.epsilon(history, delta, pure), None


def _last_order() -> float:
    from .rdp import ORDERS

    return float(ORDERS[-1])


# ---------------------------------------------------------------- what is no history
def check_delta(delta: float) -> None:
    """Refuse a delta outside (0, 1)."""
    if not 0 < delta < 1:
        raise SondeError(f"delta is {delta!r}, and must lie between 0 and 1", "take one below 1 / records, e.g. 1e-5")


def check_accountant(accountant: str) -> None:
    """Refuse an accountant that there is not."""
    if accountant not in ACCOUNTANTS:
        raise SondeError(f"there is no accountant {accountant!r}", f"choose one of {', '.join(ACCOUNTANTS)}")


def checked_pure(pure: Iterable[float]) -> tuple[float, ...]:
    """The epsilons of pure mechanisms as numbers, largest first; those of 0 left out."""
    values = tuple(float(e) for e in pure)
    for e in values:
        if not 0 <= e < math.inf:
            raise SondeError(f"the epsilon of a pure mechanism is {e}", "give a number from 0 on")
    return tuple(sorted((e for e in values if e), reverse=True))


def checked(history: Iterable[Sequence[float]]) -> History:
    """The history as tuples: entries of no step left out, entries of the same noise and rate added up."""
    merged: dict[tuple[float, float], int] = {}
    for entry in history:
        noise, rate, steps = _entry(entry)
        if steps:
            merged[noise, rate] = merged.get((noise, rate), 0) + steps
    return tuple((noise, rate, steps) for (noise, rate), steps in merged.items())


def _entry(entry: Sequence[float]) -> tuple[float, float, int]:
    try:
        noise, rate, steps = entry
        noise, rate, whole = float(noise), float(rate), int(steps)
    except (TypeError, ValueError, OverflowError) as error:
        raise SondeError(
            f"{entry!r} is no part of a history", "give (noise multiplier, sampling rate, steps)"
        ) from error
    if not noise >= 0:
        raise SondeError(f"the noise multiplier is {noise}", "give 0 or more; 0.5 to 2 is usual")
    if not 0 <= rate <= 1:
        raise SondeError(f"the sampling rate is {rate}", "give a probability: batch size / records")
    if whole != steps or whole < 0:
        raise SondeError(f"{steps} is no number of steps", "give a whole number, 0 or more")
    return noise, rate, whole
