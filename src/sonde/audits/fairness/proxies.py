"""What gives a person's group away, though nobody names it: the other columns, and what the model makes of them.

Leaving a sensitive column out does not make a model blind to it where other columns tell it (Pedreshi, Ruggieri and
Turini, Discrimination-aware data mining, 2008; Feldman et al., Certifying and removing disparate impact, 2015, measure
it as here, by how well it can be predicted). Of the model, a linear probe tells what its last layer could use (Alain
and Bengio, Understanding intermediate layers using linear classifier probes, 2016).

Entry: proxies; audits.
"""

# N rows, D columns, G groups

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sonde.core import Audit, Clock, Measure, SondeError, Subject, Texts
from sonde.core.finding import Figure, Shown, Table
from sonde.fairness.comparisons import MINIMUM

from ..quality.intervals import Interval, left_out
from . import _probe
from ._rows import Array, Grouped, file_name, grouped, listed, refusal, short

FELDMAN = "Feldman et al., Disparate impact, 2015, predictability, by AUC"
ALAIN = "Alain and Bengio, Linear classifier probes, 2016, of the last layer's input, by AUC"
SINGLE = 60  # columns that are looked at one by one
WORDS = 2000  # of texts, the commonest
NAMED = 8  # of the strongest, in the table and the figure
Line = tuple[str, float, Interval | None]  # what it is told from, the area, its interval
HOW = "of cross-fitted guesses: placement values (DeLong et al., 1988), BCa bootstrap"


class Proxies(Audit):
    """How well a person's group can be told from the other columns, and from what the model makes of them.

    minimum: rows that a group must have; the others are left out, and named. rows: how many are looked at.
    """

    cost = 3.0

    def __init__(self, minimum: int = MINIMUM, rows: int = 4000, split: str = "test") -> None:
        if minimum < _probe.FOLDS or rows < 2 * minimum:
            raise SondeError(
                f"minimum={minimum} of rows={rows} cannot be cross-fitted",
                f"give minimum={_probe.FOLDS} or more, and rows of at least twice that",
            )
        self.minimum, self.rows, self.split = minimum, rows, split

    def refuses(self, subject: Subject) -> str:
        """See `Audit.refuses`."""
        return refusal(subject)

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        """See `Audit.run`."""
        every = grouped(subject, self.split)
        for i, rows in enumerate(every):
            yield from self._of(subject, rows, clock, (i, len(every)))

    def _of(self, subject: Subject, rows: Grouped, clock: Clock, part: tuple[int, int]) -> Iterator[Shown]:
        """One attribute: the representation first, then all other columns together, then one by one."""

        def at(share: float) -> None:
            clock.at((part[0] + share) / part[1])

        prefix = f"fairness/{rows.attribute}"
        chosen, codes, large = self._sample(rows)
        more = {"groups": len(large), "minimum": self.minimum, "left_out": rows.small(self.minimum), **rows.settings}
        whole = f"{prefix}/auc_from_representation", f"{prefix}/auc_from_features"
        if len(large) < 2:
            for name, source in zip(whole, (ALAIN, FELDMAN), strict=True):
                why = f"fewer than two groups have {self.minimum} rows"
                yield left_out(name, "1", len(codes), "neither", source, rows.split, why)
            return
        x = subject.rows(self.split)[torch.from_numpy(chosen)].x
        lines: list[Line] = []
        try:
            inside = _probe.narrowed(_probe.representation(subject, x))
            inputs = {**more, "attribute_is_input": of_input(subject, rows.attribute)}
            measure = self._measure(whole[0], inside, codes, _probe.linear, ALAIN, rows, inputs, "logistic regression")
            reads = f", which reads {rows.attribute}" if of_input(subject, rows.attribute) else ""
            lines.append((f"the model's last layer{reads}", measure.value, measure.interval))
        except SondeError as error:
            measure = left_out(whole[0], "1", len(codes), "neither", ALAIN, rows.split, error.cause)
        yield measure
        at(0.2)
        columns = columns_of(subject, x, rows.attribute)
        if not columns:
            why = "there are no other columns that can be read"
            yield left_out(whole[1], "1", len(codes), "neither", FELDMAN, rows.split, why)
            return
        together = np.concatenate([block for _, block in columns], 1)
        if subject.kind != "table":
            together = _probe.narrowed(together)
        without = {**more, "without": rows.attribute} if subject.kind == "table" else more
        by = "gradient-boosted trees and logistic regression, their mean"
        measure = self._measure(whole[1], together, codes, _probe.several, FELDMAN, rows, without, by)
        yield measure
        at(0.5)
        if subject.kind != "table":
            return
        lines.insert(0, ("all other columns", measure.value, measure.interval))
        single: list[Line] = []
        for j, (name, block) in enumerate(columns[:SINGLE]):
            if clock.left <= 0 and single:
                break
            single.append((name, *_probe.recovered(block, codes, _probe.bins)))
            at(0.5 + 0.5 * (j + 1) / len(columns[:SINGLE]))
        single.sort(key=lambda line: -line[1])
        yield table(rows, single, lines, len(columns), len(codes), self.minimum)
        yield figure(rows.attribute, lines, single[:NAMED])

    def _sample(self, rows: Grouped) -> tuple[Array, Array, list[int]]:
        """Rows of the split (N,), their groups counted anew from 0 (N,), and which groups these are.

        Of more rows than wanted, as many of each group as its part of all, but `minimum` at least.
        """
        large = sorted(rows.large(self.minimum))
        generator = np.random.default_rng(0)
        total, picked = int(rows.counts[large].sum()), []
        for g in large:
            mine = generator.permutation(np.flatnonzero(rows.codes == g))
            picked.append(mine[: max(self.minimum, round(len(mine) * min(1.0, self.rows / total)))])
        at = np.sort(np.concatenate(picked)) if picked else np.zeros(0, np.int64)
        return rows.index[at], np.searchsorted(large, rows.codes[at]) if large else at, large

    def _measure(
        self, name: str, columns: Array, codes: Array, fit: _probe.Fit, source: str, rows: Grouped,
        more: dict[str, Any], by: str,
    ) -> Measure:  # fmt: skip
        if not np.isfinite(columns).all() and fit is _probe.linear:
            return left_out(name, "1", len(codes), "neither", source, rows.split, "what the model reads is no number")
        value, ends = _probe.recovered(columns, codes, fit)
        how = {"by": by, "folds": _probe.FOLDS, "interval": HOW if ends is not None else "none: all guesses are alike"}
        return Measure(name, value, "1", len(codes), "neither", source, ends, rows.split, {**how, **more})


def of_input(subject: Subject, attribute: str) -> bool:
    """Whether a table's attribute is itself a column that the model reads."""
    return subject.kind == "table" and any(c.name == attribute for c in getattr(subject.schema, "columns", ()))


def columns_of(subject: Subject, x: Any, without: str) -> list[tuple[str, Array]]:
    """The input columns by name, each (N, D): a number with its gaps, or a category as 0s and 1s.

    without: the name of a column that is left out. Of what is no table, one block of all its numbers, or of texts the
    weights of their commonest words.
    """
    if isinstance(x, Tensor):
        return [("the input", x.flatten(1).double().cpu().numpy())] if x.is_floating_point() else []
    if isinstance(x, Texts):
        return _words(x)
    if subject.kind != "table" or not hasattr(subject.schema, "columns"):
        return []
    found, at = [], {"numeric": 0, "categorical": 0}
    for column in subject.schema.columns:
        kind = "categorical" if column.kind == "categorical" else "numeric"
        width = 1 if kind == "categorical" else len(column.outputs)
        block = x[kind][:, at[kind] : at[kind] + width].cpu().numpy()
        at[kind] += width
        if column.name != without:
            found.append((column.name, _one_hot(block[:, 0]) if kind == "categorical" else block.astype(np.float64)))
    return found


def _words(texts: Texts) -> list[tuple[str, Array]]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    try:
        counted = TfidfVectorizer(max_features=WORDS, token_pattern=r"(?u)\b\w+\b").fit_transform(texts)
    except ValueError:  # there is no word in any
        return []
    return [("the words", counted.toarray().astype(np.float64))]


def _one_hot(codes: Array) -> Array:
    occur, mine = np.unique(codes, return_inverse=True)
    return np.eye(len(occur))[mine.ravel()]


def table(
    rows: Grouped,
    single: list[Line],
    lines: list[Line],
    columns: int,
    n: int,
    minimum: int,
) -> Table:
    """The strongest single columns under all of them together."""

    def cell(value: float, ends: Interval | None) -> str:
        return f"{value:.3f}" + ("" if ends is None else f" ({ends[0]:.3f} to {ends[1]:.3f})")

    body = tuple((name, cell(value, ends)) for name, value, ends in [*lines, *single[:NAMED]])
    caption = f"How well {rows.attribute} can be told, as area under the ROC curve with 95 % intervals, on {n} rows:"
    caption += f" 0.5 is chance. The strongest {min(NAMED, len(single))} single columns of {columns}."
    if small := rows.small(minimum):
        caption += f" Groups that were too small: {listed(small)}."
    return Table(f"proxies of {rows.attribute}", caption, ("told from", "area under the ROC curve"), body)


def figure(attribute: str, lines: list[Line], single: list[Line]) -> Figure:
    """The areas as dots with intervals."""
    from sonde.drawing import COLOURS, INK, MUTED, canvas

    every = [*((line, COLOURS[1]) for line in lines), *((line, COLOURS[0]) for line in single)][::-1]
    drawing, at = canvas(6.5, 1.0 + 0.3 * len(every))
    at.axvline(0.5, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    for row, ((_, value, ends), colour) in enumerate(every):
        if ends is not None:
            at.plot(ends, [row, row], color=colour, linewidth=2.2, solid_capstyle="round")
        at.plot([value], [row], "o", color=colour, markersize=5.5)
    at.set_yticks(range(len(every)), [short(name, 44) for (name, _, _), _ in every])
    for label in at.get_yticklabels():
        label.set_parse_math(False)
        label.set_color(INK)
    at.tick_params(axis="y", length=0)
    at.grid(False, axis="y")
    at.set_xlabel("area under the ROC curve")
    at.set_xlim(min(0.45, *(v for (_, v, _), _ in every)), 1.01)
    caption = f"How well {attribute} can be told from each column alone, from all others together, and from what the"
    caption += " model's last layer reads. 0.5 is chance."
    return Figure.of(file_name("proxies", attribute), caption, drawing)
