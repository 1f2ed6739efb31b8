"""How differently groups are decided about, as numbers with 95 % intervals.

Every measure is a function of one table of counts: how many records of each group have which label and which decision.
The definitions are those of Fairlearn (Weerts et al., 2023: a difference is the largest rate less the smallest) and,
for the signed one, of AI Fairness 360 (Bellamy et al., 2019). Deliberate difference: a group without a single label of
the kind that a rate divides by has no such rate and is left out, where those libraries count it as 0 or fail.

Intervals: rates of different groups are independent shares, so each is drawn from its Jeffreys posterior, Beta(k + 1/2,
n - k + 1/2) (Brown, Cai and DasGupta, Interval estimation for a binomial proportion, 2001, sec. 3.1), and the measure
computed from the draws. Unlike a bootstrap they stay honest where a rate is 0 or 1. The largest less the smallest rate
is biased upwards, in the draws once more than in the data: its lower end is therefore that of the basic interval and
its upper end that of the percentile interval (Davison and Hinkley, 1997, eqs. 5.6 and 5.18).

Entry: demographic parity; equal opportunity; equalised odds.
"""

# N records, G groups, B draws

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonde.core import Measure, SondeError

Array = NDArray[Any]
MINIMUM = 30  # labels; with fewer, a rate's 95 % interval is wider than a third of the whole scale
DRAWS = 10_000  # the ends of an interval are then right to two digits
SOURCES = {
    "demographic_parity_difference": "Agarwal et al., A reductions approach to fair classification, 2018, definition 1",
    "equal_opportunity_difference": "Hardt, Price and Srebro, Equality of opportunity, 2016, definition 2.2",
    "equalised_odds_difference": "Hardt, Price and Srebro, Equality of opportunity, 2016, definition 2.1",
    "average_odds_difference": "Bellamy et al., AI Fairness 360, 2019, sec. 7",
}


def confusion(y: Any, decision: Any, group: Any, groups: int | None = None) -> Array:
    """Counts (G, 2, 2) int64: entry [g, l, d] is the number of records of group g with label l and decision d.

    y, decision: (N,) of 0 and 1. group: (N,) codes; negative ones belong to no group. groups: G, or the codes' range.

    >>> confusion([1, 0, 1, 1], [1, 0, 0, 1], [0, 0, 1, 1])[1].tolist()
    [[0, 0], [1, 1]]
    """
    y, decision, group = (np.asarray(v).ravel() for v in (y, decision, group))
    if not len(y) == len(decision) == len(group):
        raise ValueError(f"labels, decisions and groups differ in length: {len(y)}, {len(decision)}, {len(group)}")
    for what, values in (("labels", y), ("decisions", decision)):
        if not np.isin(values, (0, 1)).all():
            raise SondeError(
                f"{what} are 0 and 1; got {np.unique(values)[:5].tolist()}", "compare with one class first"
            )
    groups = int(group.max(initial=-1)) + 1 if groups is None else groups
    cell = 4 * group.astype(np.int64) + 2 * y.astype(np.int64) + decision.astype(np.int64)
    return np.bincount(cell[group >= 0], minlength=4 * groups).reshape(groups, 2, 2)


def rates(table: Array) -> tuple[Array, Array, Array]:
    """The share that each group is decided 1: of all, of those with label 1, of those with label 0; (..., G) each.

    table: (..., G, 2, 2). NaN where there is nobody to take a share of.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        chosen, all_ = table[..., 1], table.sum(-1)  # (..., G, 2) by label
        return chosen.sum(-1) / all_.sum(-1), chosen[..., 1] / all_[..., 1], chosen[..., 0] / all_[..., 0]


def demographic_parity_difference(y: Any, decision: Any, group: Any) -> float:
    """max_g P(d = 1 | g) - min_g P(d = 1 | g)."""
    return float(_demographic_parity(confusion(y, decision, group)))


def equal_opportunity_difference(y: Any, decision: Any, group: Any) -> float:
    """max_g P(d = 1 | y = 1, g) - min_g P(d = 1 | y = 1, g)."""
    return float(_equal_opportunity(confusion(y, decision, group)))


def equalised_odds_difference(y: Any, decision: Any, group: Any) -> float:
    """The larger of the differences of P(d = 1 | y = 1, g) and of P(d = 1 | y = 0, g) between groups."""
    return float(_equalised_odds(confusion(y, decision, group)))


def average_odds_difference(y: Any, decision: Any, group: Any, reference: int) -> float:
    """Mean of the differences in P(d = 1 | y = 0) and P(d = 1 | y = 1): all other groups less the reference group.

    reference: the code of the group to compare with, called privileged in the source. Signed: negative where the
    others are decided 1 less often.
    """
    return float(_average_odds(_against(confusion(y, decision, group), reference)))


def fairness_measures(
    y: Any,
    decision: Any,
    group: Any,
    names: Sequence[str] = (),
    reference: int | None = None,
    minimum: int = MINIMUM,
    split: str = "test",
) -> list[Measure]:
    """The differences between groups, each with its interval and the groups that it leaves out.

    y, decision: (N,) of 0 and 1. group: (N,) codes of `names` (G,). reference: with it, the signed average odds
    difference is measured too. minimum: labels of the kind a rate divides by, below which a group is left out of that
    measure. A measure with fewer than two groups left is NaN and has no interval.
    """
    table = confusion(y, decision, group, len(names) or None)
    names = list(names) or [str(g) for g in range(len(table))]
    every, by_label = table.sum((1, 2)), table.sum(2)  # (G,), (G, 2)
    enough = {
        "demographic_parity_difference": every >= minimum,
        "equal_opportunity_difference": by_label[:, 1] >= minimum,
        "equalised_odds_difference": (by_label >= minimum).all(1),
    }
    forms: dict[str, tuple[Callable[[Array], Any], Array, list[str]]] = {}
    for name, kept in enough.items():
        left = [names[g] for g in np.flatnonzero(~kept & (every > 0))]
        forms[name] = (_FORMS[name], table[kept], left)
    if reference is not None:
        two = _against(table, reference)
        few = bool((two.sum(2) < minimum).any())
        forms["average_odds_difference"] = (_average_odds, two[: 0 if few else 2], names if few else [])
    found = []
    for name, (form, counts, left) in forms.items():
        signed = name == "average_odds_difference"
        known = len(counts) >= 2
        settings = {"groups": len(counts), "minimum": minimum, "left_out": left, "interval": "Jeffreys", "draws": DRAWS}
        found.append(
            Measure(
                name=f"fairness/{name}",
                value=float(form(counts)) if known else math.nan,
                unit="1",
                n=int(counts.sum()),
                better="neither" if signed else "lower",
                source=SOURCES[name],
                interval=_interval(form, counts, signed) if known else None,
                split=split,
                settings=settings,
            )
        )
    return found


# ---------------------------------------------------------------- from counts (..., G, 2, 2) to numbers (...)
def _spread(rate: Array) -> Any:
    """The largest less the smallest rate of (..., G); NaN where fewer than two groups have one."""
    known = np.isfinite(rate)
    spread = np.where(known, rate, -np.inf).max(-1) - np.where(known, rate, np.inf).min(-1)
    return np.where(known.sum(-1) >= 2, spread, np.nan)


def _demographic_parity(table: Array) -> Any:
    return _spread(rates(table)[0])


def _equal_opportunity(table: Array) -> Any:
    return _spread(rates(table)[1])


def _equalised_odds(table: Array) -> Any:
    _, right, wrong = rates(table)
    return np.fmax(_spread(right), _spread(wrong))


def _average_odds(table: Array) -> Any:
    _, right, wrong = rates(table)
    return ((wrong[..., 0] - wrong[..., 1]) + (right[..., 0] - right[..., 1])) / 2


def _against(table: Array, reference: int) -> Array:
    """The counts of all other groups, and of the reference group: (2, 2, 2)."""
    if not 0 <= reference < len(table):
        raise SondeError(f"the reference group {reference} is not among the {len(table)} groups", "name one that is")
    return np.stack([np.delete(table, reference, 0).sum(0), table[reference]])


_FORMS: dict[str, Callable[[Array], Any]] = {
    "demographic_parity_difference": _demographic_parity,
    "equal_opportunity_difference": _equal_opportunity,
    "equalised_odds_difference": _equalised_odds,
}


def _interval(form: Callable[[Array], Any], table: Array, signed: bool) -> tuple[float, float] | None:
    generator = np.random.default_rng(0)  # of its own: the same decisions always get the same interval
    if form is _demographic_parity:  # a share of all, whatever the label
        table = np.stack([table.sum(1), np.zeros_like(table.sum(1))], 1)
    chosen, all_ = table[..., 1], table.sum(-1)  # (G, 2) by label
    share = generator.beta(chosen + 0.5, all_ - chosen + 0.5, size=(DRAWS, *chosen.shape))  # (B, G, 2)
    drawn = np.stack([(1 - share) * all_, share * all_], -1)  # (B, G, 2, 2)
    values = form(drawn)
    value = float(form(table))
    if not math.isfinite(value):
        return None
    low, high = (float(v) for v in np.quantile(values[np.isfinite(values)], [0.025, 0.975]))
    return (low, high) if signed else (max(0.0, min(low, 2 * value - high)), min(1.0, high))
