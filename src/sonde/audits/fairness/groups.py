"""How differently the groups of each sensitive attribute are decided about: rates by group, and what compares them.

The comparisons are those of Fairlearn and AI Fairness 360; see `sonde.fairness.comparisons` and, for the indices of
inequality, `sonde.fairness.inequality`. Deliberate difference: a group with too few rows for a rate is left out of what
compares that rate, and is named.

Entry: demographic parity; equal opportunity; equalised odds; audits.
"""

# N rows, C classes, G groups

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from sonde.core import Audit, Clock, Measure, SondeError, Subject
from sonde.core.finding import Shown
from sonde.fairness.comparisons import BY_NAME, COMPARISONS, MINIMUM, Comparison, compared
from sonde.fairness.inequality import BENEFITS, generalised_entropy

from ..quality.intervals import Statistic, bootstrap, left_out, settings
from ._rows import Array, Grouped, favoured, grouped, refusal
from ._shown import DRAWN_RATES, RATES, RIGHT_OF_ALL, figure_of, table_of

CLASSES = 10  # more classes than this are not compared one by one
OF_A_CLASS = ("demographic_parity_difference", "equal_opportunity_difference")
SPEICHER = "Speicher et al., A unified approach to quantifying algorithmic unfairness, 2018, generalised entropy"


class GroupFairness(Audit):
    """How differently groups are decided about.

    favourable: the class that is good to be decided for; the last of two if not given. With more classes and none
        named, each is compared with the rest.
    reference: the value that others are compared with where a measure needs one, in the attributes that have it; the
        largest group elsewhere. minimum: rows of the kind a rate is taken of, below which a group is left out.
    """

    def __init__(self, favourable: str = "", reference: str = "", minimum: int = MINIMUM, split: str = "test") -> None:
        if minimum < 1:
            raise SondeError(f"minimum={minimum} rows are no group", "give 1 or more")
        self.favourable, self.reference, self.minimum, self.split = favourable, reference, minimum, split

    def refuses(self, subject: Subject) -> str:
        """See `Audit.refuses`."""
        return refusal(subject, self.favourable)

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        """See `Audit.run`."""
        code = favoured(subject, self.favourable)
        every = grouped(subject, self.split)
        for i, rows in enumerate(every):
            if code is None:
                yield from self._of_classes(rows, subject.classes)
            else:
                yield from self._of_decisions(rows, code, subject.classes[code])
            clock.at((i + 1) / len(every))
        if code is not None:
            yield from inequality(every[0], code)

    def _of_decisions(self, rows: Grouped, code: int, label: str) -> Iterator[Shown]:
        """Every comparison, the index between groups, a table and a figure of the rates."""
        table, more = rows.table(code), {"favourable": label, **rows.settings}
        prefix, reference = f"fairness/{rows.attribute}", self._reference(rows)
        for comparison in COMPARISONS:
            yield compared(table, rows.names, comparison, prefix, reference, self.minimum, rows.split, more=more)
        yield between(rows, code, self.minimum)
        yield table_of(rows, table, RATES, self.minimum, f"The favourable class is {label}.")
        drawn = figure_of(rows, table, DRAWN_RATES, self.minimum)
        if drawn is not None:
            yield drawn

    def _of_classes(self, rows: Grouped, classes: tuple[str, ...]) -> Iterator[Shown]:
        """Accuracy by group, and for each of a few classes whether it is decided for alike."""
        prefix, right = f"fairness/{rows.attribute}", rows.right
        for name in ("accuracy_difference", "lowest_accuracy"):
            form = _of_right(name)
            yield compared(right, rows.names, form, prefix, None, self.minimum, rows.split, more=rows.settings)
        for c, label in enumerate(classes if len(classes) <= CLASSES else ()):
            table, more = rows.table(c), {"favourable": label, **rows.settings}
            for name in OF_A_CLASS:
                where = f"{prefix}/{label}"
                yield compared(table, rows.names, BY_NAME[name], where, None, self.minimum, rows.split, more=more)
        found = {"right": RIGHT_OF_ALL}
        yield table_of(rows, right, found, self.minimum)
        drawn = figure_of(rows, right, found, self.minimum)
        if drawn is not None:
            yield drawn

    def _reference(self, rows: Grouped) -> int:
        named = [g for g, name in enumerate(rows.names) if name == self.reference]
        return named[0] if named else int(rows.counts.argmax())


def _of_right(name: str) -> Comparison:
    """A comparison of accuracies, of the counts that `Grouped.right` gives."""
    return replace(BY_NAME[name], shares=(RIGHT_OF_ALL,))


def inequality(rows: Grouped, code: int) -> Iterator[Measure]:
    """Theil's index and the generalised entropy of what decisions give each person, over all rows."""
    cells = rows.table(code).sum(0).ravel()  # (4,)
    columns = np.eye(4)
    for name, alpha in (("theil_index", 1.0), ("generalised_entropy_index", 2.0)):
        of = Statistic(columns, lambda s, a=alpha: generalised_entropy(BENEFITS, s, a), low=0.0)  # type: ignore[misc]
        yield _index(f"fairness/{name}", of, cells, rows, {"alpha": alpha})


def between(rows: Grouped, code: int, minimum: int) -> Measure:
    """Theil's index of the groups' mean benefits: the part of the inequality that lies between groups."""
    table, large = rows.table(code), sorted(rows.large(minimum))
    name, groups = f"fairness/{rows.attribute}/between_group_theil_index", len(large)
    if groups < 2:
        why = f"fewer than two groups have {minimum} rows"
        return left_out(name, "1", int(rows.counts[large].sum()), "lower", SPEICHER, rows.split, why)
    member = np.eye(groups).repeat(4, 0)  # (4 G, G): of each cell
    columns = np.concatenate([member, member * np.tile(BENEFITS, groups)[:, None]], 1)

    def of(sums: Array) -> Array:
        people, benefit = sums[..., :groups], sums[..., groups:]
        with np.errstate(all="ignore"):
            return generalised_entropy(benefit / people, people, 1.0)

    more = {"alpha": 1.0, "groups": groups, "minimum": minimum, "left_out": rows.small(minimum)}
    return _index(name, Statistic(columns, of, "upward", 0.0), table[large].ravel(), rows, more)


def _index(name: str, statistic: Statistic, cells: Array, rows: Grouped, more: dict[str, Any]) -> Measure:
    with np.errstate(all="ignore"):
        value = float(statistic.of(cells @ statistic.columns)) if cells.sum() else math.nan
    if math.isnan(value):
        why = "nobody has a benefit" if cells.sum() else "there are no rows with an answer and a group"
        return left_out(name, "1", int(cells.sum()), "lower", SPEICHER, rows.split, why)
    ends = bootstrap({name: statistic}, cells)[name]
    how = {**settings(statistic.method, ends), **more, **rows.settings}
    return Measure(name, value, "1", int(cells.sum()), "lower", SPEICHER, ends, rows.split, how)
