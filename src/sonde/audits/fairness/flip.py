"""What happens to decisions when nothing but the sensitive column is changed.

Galhotra, Brun and Meliou, Fairness testing: testing software for discrimination, 2017: causal discrimination is the
share of people for whom some change of the sensitive attributes alone changes the decision. It is about direct use
of the column: what gives the attribute away stays as it is (see `Proxies`), so a share of 0 is not counterfactual
fairness, for which other columns would have to change with it (Kusner et al., Counterfactual fairness, 2017).

Entry: counterfactuals; audits.
"""

# N rows, G groups

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sonde.core import Audit, Batch, Clock, Measure, SondeError, Subject
from sonde.core.finding import Shown, Table
from sonde.fairness.comparisons import MINIMUM

from ..quality.intervals import bootstrap, left_out, mean, settings, wilson
from ._rows import Array, Grouped, favoured, grouped, listed, percent, refusal

SOURCE = "Galhotra, Brun and Meliou, Fairness testing, 2017, causal discrimination"
MOST = 10  # values that a column is set to: the most frequent


class FlipTest(Audit):
    """Whether decisions change when nothing but a person's group is changed in the input.

    favourable: as in `GroupFairness`; with more than two classes none is needed. minimum: rows a value must have to be
        set. rows: how many are asked; each is asked once for every value.
    """

    def __init__(self, favourable: str = "", minimum: int = MINIMUM, rows: int = 20_000, split: str = "test") -> None:
        if rows < 1 or minimum < 1:
            raise SondeError(f"rows={rows}, minimum={minimum}: nothing would be asked", "give 1 or more")
        self.favourable, self.minimum, self.rows, self.split = favourable, minimum, rows, split

    def refuses(self, subject: Subject) -> str:
        """See `Audit.refuses`."""
        why = refusal(subject, self.favourable)
        if why or any(_reads(subject, attribute) for attribute in subject.groups):
            return why
        if subject.kind != "table" or not hasattr(subject.schema, "columns"):
            return "the inputs are not a table with a column for the group, so there is nothing to flip"
        return f"the model does not read {listed(list(subject.groups))}, so flipping it changes nothing"

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        """See `Audit.run`."""
        code = favoured(subject, self.favourable)
        every = [rows for rows in grouped(subject, self.split) if _reads(subject, rows.attribute)]
        if not every:
            raise SondeError(f"the {self.split} rows lack the columns to flip", "give rows that have them")
        for i, rows in enumerate(every):
            yield from self._of(subject, rows, code, clock, (i, len(every)))
            clock.at((i + 1) / len(every))

    def _of(
        self, subject: Subject, rows: Grouped, code: int | None, clock: Clock, part: tuple[int, int]
    ) -> Iterator[Shown]:
        """One attribute: every value in turn is put in the place of each person's own."""
        large = rows.large(self.minimum)
        values = large[:MOST]
        settable = {g: to for g in values if (to := _setting(subject, rows, g)) is not None}
        if len(settable) < 2:
            why = f"fewer than two values that {self.minimum} rows have can be set"
            for name in ("flip_rate", "flip_effect"):
                yield left_out(f"fairness/{rows.attribute}/{name}", "1", 0, "lower", SOURCE, rows.split, why)
            return
        some = np.sort(np.random.default_rng(0).permutation(len(rows.index))[: self.rows])
        batch = subject.rows(self.split)[torch.from_numpy(rows.index[some])]
        was, p = rows.decision[some], rows.answers[some]
        changed, effect = np.zeros(len(some), bool), np.zeros(len(some))  # by any of the values
        of = 1 if code is None else code
        body: list[tuple[str | float | int | None, ...]] = []
        set_to: list[str] = []
        for k, (g, to) in enumerate(settable.items()):
            if clock.left <= 0 and len(set_to) >= 2:
                break
            new, answer = _asked(subject, batch, rows.attribute, g, to)
            others = rows.codes[some] != g
            known = others & np.isfinite(answer).all(1)
            flipped = known & (new != was)
            changed |= flipped
            moved = np.abs(answer - p).sum(1) / 2  # total variation: for two classes, the change of a probability
            effect = np.where(known, np.maximum(effect, moved), effect)
            body.append(_row(rows.names[g], known, flipped, new == of, was == of, code))
            set_to.append(rows.names[g])
            clock.at((part[0] + (k + 1) / len(settable)) / part[1])
        n, how = (
            len(some),
            {"set_to": set_to, "left_out": [rows.names[g] for g in large[len(set_to) :]], **rows.settings},
        )
        how["left_out"] += rows.small(self.minimum)
        ends = wilson(int(changed.sum()), n)
        yield Measure(
            f"fairness/{rows.attribute}/flip_rate", float(changed.mean()), "1", n, "lower", SOURCE, ends, rows.split,
            {**settings("wilson", ends), **how},
        )  # fmt: skip
        of_rows = mean(effect, 0.0, 1.0)
        ends = bootstrap({"": of_rows})[""]
        yield Measure(
            f"fairness/{rows.attribute}/flip_effect", float(effect.mean()), "1", n, "lower",
            "mean over rows of the largest total variation between the answers, after " + SOURCE, ends, rows.split,
            {**settings("bca", ends), **how},
        )  # fmt: skip
        both = () if code is None else ("now given it", "no longer given it")
        columns = (f"{rows.attribute} set to", "others' rows", "decided otherwise", *both)
        caption = f"Decisions after {rows.attribute} alone is set to one value in all rows that have another,"
        caption += " with 95 % intervals (Wilson)."
        yield Table(f"flipped {rows.attribute}", caption, columns, tuple(body))


def _row(
    name: str, asked: Array, flipped: Array, now: Array, before: Array, code: int | None
) -> tuple[str | int | None, ...]:
    n = int(asked.sum())
    masks = [flipped] if code is None else [flipped, flipped & now & ~before, flipped & ~now & before]
    counts = [int(m.sum()) for m in masks]
    return (name, n, *(percent(c / n, wilson(c, n)) if n else None for c in counts))


def _column(subject: Subject, attribute: str) -> Any:
    """The input column of a table that a sensitive attribute is, or None."""
    return next((c for c in getattr(subject.schema, "columns", ()) if c.name == attribute and c.kind != "date"), None)


def _reads(subject: Subject, attribute: str) -> bool:
    """Whether a decision can depend on the attribute itself: as an input, or by a rule made for groups."""
    if subject.kind != "table" or not hasattr(subject.schema, "columns"):
        return False
    return _column(subject, attribute) is not None or subject.decide is not None


def _setting(subject: Subject, rows: Grouped, g: int) -> float | int | None:
    """What stands in the column for group g: a category's code, or the middle of the group's numbers.

    0 where the column is no input and only the group's own code is changed; None where the value is no input.
    """
    column, name = _column(subject, rows.attribute), rows.names[g]
    if column is None:
        return 0
    if column.kind == "categorical":
        if name in column.categories:
            return int(column.categories.index(name)) + 1
        return 0 if name == "missing" else None
    at = list(subject.schema.numeric).index(column.name)
    values = subject.rows(rows.split).x["numeric"][torch.from_numpy(rows.index[rows.codes == g]), at]
    known = values[values.isfinite()]
    return float(known.median()) if len(known) else math.nan


def _asked(subject: Subject, batch: Batch, attribute: str, g: int, to: float | int) -> tuple[Array, Array]:
    """Decisions (N,) and answers (N, C) with the attribute set to group g in every row."""
    column = _column(subject, attribute)
    x = batch.x
    if column is not None:
        kind = "categorical" if column.kind == "categorical" else "numeric"
        at = list(getattr(subject.schema, kind)).index(column.name)
        changed: Tensor = x[kind].clone()
        changed[:, at] = to
        x = {**x, kind: changed}
    fields = {**batch.fields, attribute: torch.full_like(batch.fields[attribute], g)}
    other = replace(batch, x=x, fields=fields)
    answer = subject.ask(x).double()
    decision = answer.argmax(1) if subject.decide is None else subject.decide(other)
    return decision.cpu().numpy(), answer.numpy()
