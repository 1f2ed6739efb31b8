"""Groups crossed: a model can treat both sexes and all races alike, and black women worse.

Crenshaw, Demarginalizing the intersection of race and sex, 1989; for machines: Buolamwini and Gebru, Gender shades,
2018. Crossing makes groups small, and of many small groups some look bad by chance: hence the smallest size, and the
intervals, which allow for the largest difference being picked among many.

Entry: demographic parity; equal opportunity; equalised odds; audits.
"""

# N rows, G groups, A attributes

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from sonde.core import Audit, Clock, Measure, SondeError, Subject
from sonde.core.finding import Shown
from sonde.fairness.comparisons import BY_NAME, MINIMUM, compared

from ..quality.intervals import left_out
from ._rows import Array, Grouped, favoured, grouped, refusal
from ._shown import DRAWN_RATES, RATES, figure_of, table_of

SMALLEST = "share of rows in groups below the smallest size"
COMPARED = (
    "demographic_parity_difference",
    "demographic_parity_ratio",
    "equal_opportunity_difference",
    "equalised_odds_difference",
    "accuracy_difference",
    "lowest_accuracy",
)


class Intersections(Audit):
    """How differently groups of two attributes crossed are decided about.

    favourable: as in `GroupFairness`. minimum: rows below which a crossed group is left out, and named.
    at_once: how many attributes are crossed. most: crossings looked at, in the order of the attributes.
    """

    def __init__(
        self, favourable: str = "", minimum: int = MINIMUM, at_once: int = 2, most: int = 6, split: str = "test"
    ) -> None:
        if at_once < 2 or most < 1 or minimum < 1:
            raise SondeError("two attributes or more are crossed, once or more, in groups of one row or more",
                             "give at_once=2, most=1, minimum=1 or higher")  # fmt: skip
        self.favourable, self.minimum, self.at_once, self.most, self.split = favourable, minimum, at_once, most, split

    def refuses(self, subject: Subject) -> str:
        """See `Audit.refuses`."""
        why = refusal(subject, self.favourable, binary=True)
        if not why and len(subject.groups) < self.at_once:
            return f"{self.at_once} attributes are crossed, and {len(subject.groups)} is known"
        return why

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        """See `Audit.run`."""
        code = favoured(subject, self.favourable)
        known = {rows.attribute: rows for rows in grouped(subject, self.split)}
        crossings = list(combinations(known, self.at_once))[: self.most]
        if code is None or not crossings:
            raise SondeError(f"the {self.split} rows have too few attributes to cross", "give rows that have them")
        for i, attributes in enumerate(crossings):
            yield from self._of(crossed([known[a] for a in attributes]), code, subject.classes[code])
            clock.at((i + 1) / len(crossings))

    def _of(self, rows: Grouped, code: int, label: str) -> Iterator[Shown]:
        table, more = rows.table(code), {"favourable": label, **rows.settings}
        prefix = f"fairness/{rows.attribute}"
        for name in COMPARED:
            yield compared(table, rows.names, BY_NAME[name], prefix, None, self.minimum, rows.split, more=more)
        yield too_small(rows, self.minimum)
        yield table_of(rows, table, RATES, self.minimum, f"The favourable class is {label}.")
        drawn = figure_of(rows, table, DRAWN_RATES, self.minimum)
        if drawn is not None:
            yield drawn


def too_small(rows: Grouped, minimum: int) -> Measure:
    """The share of rows whose group is too small to be compared: of these people nothing is known."""
    name, few, n = f"fairness/{rows.attribute}/too_small_share", rows.small(minimum), len(rows.codes)
    if not n:
        why = "there are no rows with an answer and a group"
        return left_out(name, "1", n, "lower", SMALLEST, rows.split, why)
    share = float(rows.counts[rows.counts < minimum].sum() / n)
    how = {"minimum": minimum, "left_out": few, "interval": "none: it is a count of these rows", **rows.settings}
    return Measure(name, share, "1", n, "lower", SMALLEST, None, rows.split, how)


def crossed(several: Sequence[Grouped]) -> Grouped:
    """The rows that have a group of every attribute, in groups like `female, black`; only those that occur."""
    first = several[0]
    size = 1 + max((int(rows.index.max(initial=-1)) for rows in several), default=-1)
    codes: Array = np.full((len(several), size), -1)  # (A, rows of the split)
    for a, rows in enumerate(several):
        codes[a, rows.index] = rows.codes
    kept = np.asarray((codes >= 0).all(0))[first.index]
    index = first.index[kept]
    occur, mine = np.unique(codes[:, index], axis=1, return_inverse=True)
    return replace(
        first,
        attribute=" x ".join(rows.attribute for rows in several),
        names=tuple(", ".join(r.names[g] for r, g in zip(several, pair, strict=True)) for pair in occur.T),
        codes=mine.ravel(),
        y=first.y[kept],
        decision=first.decision[kept],
        answers=first.answers[kept],
        index=index,
    )
