"""Comparisons of groups: each is a function of shares by group, and its interval comes from draws of these shares.

A share of a group is so many of its records out of so many: the true positive rate is those decided 1 of those with
label 1. Shares of one comparison count different records, so they are drawn independently, each from its Jeffreys
posterior, Beta(k + 1/2, n - k + 1/2) (Brown, Cai and DasGupta, Interval estimation for a binomial proportion, 2001,
sec. 3.1), and the comparison is computed from the draws. Unlike a bootstrap they stay honest where a share is 0 or 1.
The largest less the smallest rate is biased upwards, in the draws once more than in the data: its lower end is
therefore that of the basic interval and its upper end that of the percentile interval (Davison and Hinkley, 1997, eqs.
5.6 and 5.18); for the smallest over the largest it is the other way round. Of more than two groups that is not enough
where several of them are alike: the end also allows for the spread of all their errors, as Tukey's studentised range
does, which covers whatever the rates are.

Entry: demographic parity; equal opportunity; equalised odds.
"""

# G groups, S shares, B draws

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sonde.core import Measure, SondeError

Array = NDArray[Any]
Interval = tuple[float, float]
MINIMUM = 30  # records; with fewer, a rate's 95 % interval is wider than a third of the whole scale
DRAWS = 10_000  # the ends of an interval are then right to two digits


@dataclass(frozen=True)
class Share:
    """How many records of a group are `hits`, of those that are counted in `of`.

    hits, of: 0 or 1 for each cell of the counts: label 0 decided 0, label 0 decided 1, label 1 decided 0, label 1
    decided 1.
    """

    name: str
    hits: tuple[int, int, int, int]
    of: tuple[int, int, int, int]

    def counts(self, table: Array) -> tuple[Array, Array]:
        """k and n (..., G) of counts (..., G, 2, 2)."""
        cells = table.reshape(*table.shape[:-2], 4)
        return cells @ np.array(self.hits), cells @ np.array(self.of)

    def rate(self, table: Array) -> Array:
        """k / n (..., G); NaN where there is nobody to take a share of."""
        k, n = self.counts(table)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(k / n)


LABELLED = Share("label 1", (0, 0, 1, 1), (1, 1, 1, 1))
SELECTED = Share("decided 1", (0, 1, 0, 1), (1, 1, 1, 1))
RIGHT = Share("right", (1, 0, 0, 1), (1, 1, 1, 1))
FALSE_POSITIVE = Share("decided 1 of label 0", (0, 1, 0, 0), (1, 1, 0, 0))
TRUE_POSITIVE = Share("decided 1 of label 1", (0, 0, 0, 1), (0, 0, 1, 1))
FALSE_NEGATIVE = Share("decided 0 of label 1", (0, 0, 1, 0), (0, 0, 1, 1))
PRECISION = Share("label 1 of decided 1", (0, 0, 0, 1), (0, 1, 0, 1))
_NOTHING = Share("", (0, 0, 0, 0), (0, 0, 0, 0))


@dataclass(frozen=True)
class Comparison:
    """One number about how differently groups fare.

    shares: what it reads. of: rates (..., S, G) -> (...).
    kind: `spread`: largest less smallest rate; `ratio`: smallest over largest; `signed`: of all others less those of
        the reference group; `against`: of all others over that of the reference group; `lowest`: the smallest rate.
    """

    name: str
    shares: tuple[Share, ...]
    of: Callable[[Array], Any]
    kind: Literal["spread", "ratio", "signed", "against", "lowest"]
    source: str

    @property
    def referred(self) -> bool:
        """Whether it compares with a reference group."""
        return self.kind in ("signed", "against")

    def value(self, table: Array) -> float:
        """Of counts (G, 2, 2); NaN where it is undefined. The reference group comes last of two, if there is one."""
        return float(self.of(np.stack([share.rate(table) for share in self.shares], -2)))

    def enough(self, table: Array, minimum: int) -> Array:
        """Which groups have `minimum` records of every kind that its shares are taken of, (G,) bool."""
        return np.asarray(np.stack([share.counts(table)[1] for share in self.shares]).min(0) >= minimum)

    def interval(self, table: Array, draws: int = DRAWS) -> Interval | None:
        """95 %, from counts (G, 2, 2); None where the value is undefined."""
        value = self.value(table)
        if not math.isfinite(value):
            return None
        first = self.shares[0]
        # Rates of label 0 and of label 1 are drawn side by side, so that every comparison sees the same draws of them.
        beside = {FALSE_POSITIVE.of: (first, TRUE_POSITIVE), TRUE_POSITIVE.of: (FALSE_POSITIVE, first)}
        read = self.shares if len(self.shares) == 2 else beside.get(first.of, (first, _NOTHING))
        k, n = (np.stack(counts, -1) for counts in zip(*(share.counts(table) for share in read), strict=True))  # (G, 2)
        generator = np.random.default_rng(0)  # of its own: the same decisions always get the same interval
        drawn = generator.beta(k + 0.5, n - k + 0.5, size=(draws, *k.shape))  # (B, G, 2)
        rates = np.moveaxis(drawn[..., [share in self.shares for share in read]], -1, -2)  # (B, S, G)
        values = self.of(rates)
        low, high = (float(v) for v in np.quantile(values[np.isfinite(values)], [0.025, 0.975]))
        several = rates.shape[-1] > 2
        if self.kind == "spread":
            # The spread of rates is at most that of the true ones plus that of their errors (Tukey, 1953).
            least = value - float(np.quantile(self.of(errors(rates)), 0.95)) if several else value
            return max(0.0, min(low, 2 * value - high, least)), min(1.0, high)
        if self.kind == "ratio":
            most = value * math.exp(float(np.quantile(_spread(errors(np.log(rates))), 0.95))) if several else value
            return max(0.0, low), min(1.0, max(high, 2 * value - low, most))
        if self.kind == "lowest":
            most = value + float(np.quantile(-errors(rates).min((-2, -1)), 0.975)) if several else value
            return max(0.0, low), min(1.0, max(high, 2 * value - low, most))
        return low, high


def errors(drawn: Array) -> Array:
    """How far draws (B, ...) are from their means."""
    return np.asarray(drawn - drawn.mean(0))


# ---------------------------------------------------------------- from rates (..., S, G) to numbers (...)
def _ends(rate: Array) -> tuple[Array, Array]:
    """The smallest and the largest rate of (..., G); NaN where fewer than two groups have one."""
    known = np.isfinite(rate)
    several = known.sum(-1) >= 2
    low, high = np.where(known, rate, np.inf).min(-1), np.where(known, rate, -np.inf).max(-1)
    return np.where(several, low, np.nan), np.where(several, high, np.nan)


def _spread(rates: Array) -> Any:
    low, high = _ends(rates)  # (..., S)
    return np.fmax.reduce(high - low, -1)


def _ratio(rates: Array) -> Any:
    low, high = _ends(rates)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.fmin.reduce(low / high, -1)


def _lowest(rates: Array) -> Any:
    return _ends(rates)[0][..., 0]


def _average_odds(rates: Array) -> Any:
    return (rates[..., 0] - rates[..., 1]).mean(-1)


def _impact(rates: Array) -> Any:
    with np.errstate(invalid="ignore", divide="ignore"):
        found = rates[..., 0, 0] / rates[..., 0, 1]
    return np.where(np.isfinite(found), found, np.nan)


HARDT = "Hardt, Price and Srebro, Equality of opportunity, 2016, definition"
AGARWAL = "Agarwal et al., A reductions approach to fair classification, 2018, definition 1"
BELLAMY = "Bellamy et al., AI Fairness 360, 2019, sec. 7"
CHOULDECHOVA = "Chouldechova, Fair prediction with disparate impact, 2017, sec. 2"
WEERTS = "Weerts et al., Fairlearn, 2023"
ODDS = (FALSE_POSITIVE, TRUE_POSITIVE)

COMPARISONS = (
    Comparison("demographic_parity_difference", (SELECTED,), _spread, "spread", AGARWAL),
    Comparison("demographic_parity_ratio", (SELECTED,), _ratio, "ratio", WEERTS + "; at least 0.8: four-fifths rule"),
    Comparison("disparate_impact", (SELECTED,), _impact, "against", "Feldman et al., Disparate impact, 2015, def. 1.1"),
    Comparison("equal_opportunity_difference", (TRUE_POSITIVE,), _spread, "spread", f"{HARDT} 2.2"),
    Comparison("equal_opportunity_ratio", (TRUE_POSITIVE,), _ratio, "ratio", WEERTS),
    Comparison("equalised_odds_difference", ODDS, _spread, "spread", f"{HARDT} 2.1"),
    Comparison("equalised_odds_ratio", ODDS, _ratio, "ratio", WEERTS),
    Comparison("average_odds_difference", ODDS, _average_odds, "signed", BELLAMY),
    Comparison("false_positive_rate_difference", (FALSE_POSITIVE,), _spread, "spread", CHOULDECHOVA),
    Comparison("false_negative_rate_difference", (FALSE_NEGATIVE,), _spread, "spread", CHOULDECHOVA),
    Comparison("predictive_parity_difference", (PRECISION,), _spread, "spread", CHOULDECHOVA),
    Comparison("accuracy_difference", (RIGHT,), _spread, "spread", WEERTS),
    Comparison("lowest_accuracy", (RIGHT,), _lowest, "lowest", WEERTS),
)
BY_NAME: Mapping[str, Comparison] = {c.name: c for c in COMPARISONS}


def compared(
    table: Array,
    names: Sequence[str],
    comparison: Comparison,
    prefix: str = "fairness",
    reference: int | None = None,
    minimum: int = MINIMUM,
    split: str = "test",
    draws: int = DRAWS,
    more: Mapping[str, Any] | None = None,
) -> Measure:
    """One comparison of groups as a measure that names the groups it leaves out.

    table: counts (G, 2, 2), see `confusion`. names: of the groups (G,). reference: the group's code, for comparisons
    that need one. minimum: records of each kind a share is taken of, below which a group is left out; with fewer than
    two groups left the value is NaN, there is no interval, and `settings["omitted"]` says why. more: other settings.
    """
    if comparison.referred:
        counts = against(table, reference)
        few = not comparison.enough(counts, minimum).all()
        counts, left = counts[: 0 if few else 2], list(names) if few else []
    else:
        kept = comparison.enough(table, minimum)
        left = [names[int(g)] for g in np.flatnonzero(~kept & (table.sum((1, 2)) > 0))]
        counts = table[kept]
    settings: dict[str, Any] = {"groups": len(counts), "minimum": minimum, "left_out": left}
    if comparison.referred and reference is not None:
        settings["reference"] = names[reference]
    settings |= {"interval": "Jeffreys", "draws": draws, **(more or {})}
    known = len(counts) >= 2
    value = comparison.value(counts) if known else math.nan
    if not known:
        kind = " and of ".join(f"those {s.name.partition(' of ')[2]}" for s in comparison.shares if " of " in s.name)
        settings["omitted"] = f"fewer than two groups have {minimum} rows" + (f" of {kind}" if kind else "")
    elif math.isnan(value):
        settings["omitted"] = f"the rates it divides by are 0 ({comparison.shares[0].name})"
    better: dict[str, Any] = {"spread": "lower", "ratio": "higher", "lowest": "higher"}
    return Measure(
        name=f"{prefix}/{comparison.name}",
        value=value,
        unit="1",
        n=int(counts.sum()),
        better=better.get(comparison.kind, "neither"),
        source=comparison.source,
        interval=comparison.interval(counts, draws) if known else None,
        split=split,
        settings=settings,
    )


def against(table: Array, reference: int | None) -> Array:
    """The counts of all other groups, and of the reference group: (2, 2, 2)."""
    if reference is None or not 0 <= reference < len(table):
        raise SondeError(f"the reference group {reference} is not among the {len(table)} groups", "name one that is")
    return np.stack([np.delete(table, reference, 0).sum(0), table[reference]])
