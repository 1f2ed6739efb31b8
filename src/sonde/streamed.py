"""What a run over a stream of experiences tells its report: what was kept of each, and which rows the rest is about."""

# T experiences, R test rows

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sonde.continual import kept
from sonde.core import Measure, Run
from sonde.methods import Retention
from sonde.report import words
from sonde.report.facts import Retained

if TYPE_CHECKING:
    from sonde.data import Dataset
    from sonde.data.streams import Experience, Stream

LOOKED_AT = 16  # rows by which an experience is compared with the data it is made of


@dataclass(frozen=True)
class Streamed:
    """The end of a stream.

    facts: the accuracy matrix. measures: average accuracy first; () where stages are missing.
    index: the test rows (R,) that a model without a stream can be asked for; those of `names`. whole: that is all.
    """

    facts: Retained
    measures: tuple[Measure, ...]
    index: Tensor
    names: tuple[str, ...]
    whole: bool

    def of(self, data: Dataset) -> Dataset:
        """The data with the test rows that can be asked for."""
        return replace(data, splits={**data.splits, "test": self.index})

    def called(self, label: str) -> str:
        """A measure on those rows as a table names it."""
        return f"{label}, all test rows" if self.whole else f"{label}, {' and '.join(self.names)} alone"

    @property
    def verdict(self) -> str:
        """The result in one sentence, or "" where stages are missing."""
        if not self.measures:
            return ""
        average, forgetting = self.measures[0], self.measures[1]
        value = words.measured(average.value, percent=True, interval=average.interval)
        between = f" (95 % interval {words.ends(average.interval, True)})" if average.interval else ""
        text = f"{value} right on average over {len(self.facts.names)} experiences{between}"
        if math.isfinite(forgetting.value):
            text += f", {words.measured(forgetting.value, percent=True, interval=forgetting.interval)} forgotten"
        return f"{text}."


def streamed(run: Run, data: Dataset) -> Streamed | None:
    """What the `Retention` of a run knows at its end; None without one."""
    found = next((m for m in run.methods if isinstance(m, Retention)), None)
    if found is None or not len(found.right):
        return None
    from sonde.audits.continual import accuracy_matrix

    stream, split = found.stream, found.split
    matrix = accuracy_matrix(found.right.numpy(), found.task.numpy())
    names = tuple(e.name for e in stream)
    measures = kept(run).measures if len(matrix) == len(stream) + 1 else ()
    same = [e for e in stream if _as_it_lies(e, data)]
    index = torch.cat([e.splits["test"] for e in same] or [torch.zeros(0, dtype=torch.int64)]).unique()
    facts = Retained(
        names,
        tuple(tuple(row) for row in matrix.tolist()),
        tuple(len(e.splits[split]) for e in stream),
        split,
        _about(stream, same),
    )
    return Streamed(facts, measures, index, tuple(e.name for e in same), len(same) == len(stream))


def _as_it_lies(experience: Experience, data: Dataset) -> bool:
    """Whether its rows are those of the data: not permuted, turned, labelled anew or told their task."""
    index = experience.splits.get("test", torch.zeros(0, dtype=torch.int64))[:LOOKED_AT]
    if experience.data is not data or not len(index):
        return False
    own, plain = experience.change(data.batch(index)).rows(), data.batch(index).rows()
    return own.keys() == plain.keys() and all(_equal(own[k], plain[k]) for k in own)


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())  # a missing number is NaN


def _about(stream: Stream, same: list[Any]) -> str:
    if len(same) == len(stream):
        return "Measures of single rows, and what is wrong with them, are of the test rows of all experiences at once."
    if same:
        which = " and ".join(e.name for e in same)
        return f"Measures of “{which} alone”, and what is wrong there, are of one part of the stream: not its result."
    return "The experiences differ from the rows as the data has them, so single rows were not looked at."
