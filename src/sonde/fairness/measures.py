"""How differently groups are decided about, as numbers with 95 % intervals.

Every measure is a function of one table of counts: how many records of each group have which label and which decision.
The definitions are those of Fairlearn (Weerts et al., 2023: a difference is the largest rate less the smallest) and,
for the signed one, of AI Fairness 360 (Bellamy et al., 2019). Deliberate difference: a group without a single label of
the kind that a rate divides by has no such rate and is left out, where those libraries count it as 0 or fail.

Intervals are made from draws of the groups' rates: see `sonde.fairness.comparisons`.

Entry: demographic parity; equal opportunity; equalised odds.
"""

# N records, G groups

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sonde.core import Measure, SondeError

from .comparisons import BY_NAME, FALSE_POSITIVE, MINIMUM, SELECTED, TRUE_POSITIVE, Array, against, compared


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
    return SELECTED.rate(table), TRUE_POSITIVE.rate(table), FALSE_POSITIVE.rate(table)


def demographic_parity_difference(y: Any, decision: Any, group: Any) -> float:
    """max_g P(d = 1 | g) - min_g P(d = 1 | g)."""
    return BY_NAME["demographic_parity_difference"].value(confusion(y, decision, group))


def equal_opportunity_difference(y: Any, decision: Any, group: Any) -> float:
    """max_g P(d = 1 | y = 1, g) - min_g P(d = 1 | y = 1, g)."""
    return BY_NAME["equal_opportunity_difference"].value(confusion(y, decision, group))


def equalised_odds_difference(y: Any, decision: Any, group: Any) -> float:
    """The larger of the differences of P(d = 1 | y = 1, g) and of P(d = 1 | y = 0, g) between groups."""
    return BY_NAME["equalised_odds_difference"].value(confusion(y, decision, group))


def average_odds_difference(y: Any, decision: Any, group: Any, reference: int) -> float:
    """Mean of the differences in P(d = 1 | y = 0) and P(d = 1 | y = 1): all other groups less the reference group.

    reference: the code of the group to compare with, called privileged in the source. Signed: negative where the
    others are decided 1 less often.
    """
    return BY_NAME["average_odds_difference"].value(against(confusion(y, decision, group), reference))


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
    named = list(names) or [str(g) for g in range(len(table))]
    asked = ["demographic_parity_difference", "equal_opportunity_difference", "equalised_odds_difference"]
    asked += [] if reference is None else ["average_odds_difference"]
    return [compared(table, named, BY_NAME[name], "fairness", reference, minimum, split) for name in asked]
