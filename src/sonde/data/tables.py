"""Tables: the schema that reads rows into numbers and category codes, and the data set made of a whole table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from sonde.core.errors import SondeError
from sonde.data import splits
from sonde.data.columns import Column, check_kinds, infer_column, with_categories
from sonde.data.dataset import Dataset, RowNames
from sonde.data.frames import MAX_COLUMNS, Frame, read_frame, split_names
from sonde.data.groups import Groups, infer_groups
from sonde.data.outputs import decode
from sonde.data.problems import Problem, bad_data, closest, listed, quoted
from sonde.data.rowchecks import check_classes
from sonde.data.strict import Reader
from sonde.data.targets import Target, Task, Wrong, infer_target

if TYPE_CHECKING:
    import polars as pl

# N rows, F numeric columns, K categorical columns


@dataclass(frozen=True)
class TableSchema:
    """How a table becomes x = {"numeric": (N, F) float32, "categorical": (N, K) int64}, and what the outputs mean.

    columns: the input columns, in order. target: what is predicted. fields: the sensitive columns.
    missing: cells that stand for no value, beside the usual ones.

    >>> schema = TableSchema((Column("age", "numeric"), Column("sex", "categorical", ("F", "M"))),
    ...                      Target("classification", ("paid",), ("no", "yes")))
    >>> schema.encode([{"sex": "M", "age": 31}, {"sex": "X", "age": None}])
    {'numeric': tensor([[31.],
            [nan]]), 'categorical': tensor([[2],
            [0]])}
    """

    columns: tuple[Column, ...]
    target: Target
    fields: tuple[Groups, ...] = ()
    missing: tuple[str, ...] = ()
    kind: ClassVar[str] = "table"

    @property
    def task(self) -> Task:
        """What is learned."""
        return self.target.task

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes or labels; () for regression."""
        return self.target.classes

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what is predicted: the classes, the labels, or the targets of a regression."""
        return self.target.classes or self.target.columns

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Names of the groups of each sensitive column, in the order of their codes."""
        return {field.column: field.names for field in self.fields}

    @property
    def numeric(self) -> tuple[str, ...]:
        """Names of the columns of x["numeric"]; a date gives several."""
        return tuple(name for column in self.columns for name in column.outputs)

    @property
    def categorical(self) -> tuple[str, ...]:
        """Names of the columns of x["categorical"]."""
        return tuple(column.name for column in self.columns if column.kind == "categorical")

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """How many codes each column of x["categorical"] has, the 0 for missing or unseen included."""
        return tuple(len(column.categories) + 1 for column in self.columns if column.kind == "categorical")

    def encode(
        self, raw: Any, *, encoding: str = "utf-8", separator: str = "", header: bool = True
    ) -> dict[str, Tensor]:
        """x for new rows: a CSV, TSV or Parquet path, a polars or pandas frame, or a list of dicts.

        The order of columns does not matter, others are ignored, and a category never seen reads as missing.
        encoding, separator, header: of a text table, as in `open`.

        Raises:
            SondeError: a column that is missing, by name.
            BadData: cells that are not of their column's kind, all of them.
        """
        return self.encode_named(raw, encoding=encoding, separator=separator, header=header)[0]

    def encode_named(
        self, raw: Any, *, encoding: str = "utf-8", separator: str = "", header: bool = True
    ) -> tuple[dict[str, Tensor], Sequence[str]]:
        """x for new rows as in `encode`, and what a person calls each row."""
        frame = read_frame(raw, encoding=encoding, separator=separator, header=header, missing=self.missing)
        x, wrong = self.encode_frame(frame.data)
        found = [*frame.problems, *(Problem(frame.where(row), reason) for row, reason in wrong)]
        if found:
            raise bad_data("the table", found, "mend the rows, or leave them out")
        return x, RowNames(frame.numbers)

    def encode_frame(self, data: pl.DataFrame) -> tuple[dict[str, Tensor], Wrong]:
        """x for a clean frame, and the cells that could not be read."""
        lacking = [column.name for column in self.columns if column.name not in data.columns]
        if lacking:
            near = closest(lacking[0], data.columns) if len(lacking) == 1 else ""
            raise SondeError(
                f"the model reads columns that the table does not have: {listed(lacking)}{near}",
                f"give all of {listed([column.name for column in self.columns], 40)}",
            )
        numeric, codes, wrong = [], [], []
        for column in self.columns:
            if column.kind == "categorical":
                codes.append(column.encode_codes(data[column.name]))
            else:
                values, strange = column.encode_numbers(data[column.name])
                numeric.append(values)
                wrong += strange
        n = len(data)
        x = {
            "numeric": torch.from_numpy(np.concatenate(numeric, 1) if numeric else np.zeros((n, 0), np.float32)),
            "categorical": torch.from_numpy(np.stack(codes, 1) if codes else np.zeros((n, 0), np.int64)),
        }
        return x, sorted(wrong)

    def decode(self, values: Tensor) -> list[Any]:
        """What the model answers, in words: see `outputs.decode`."""
        return decode(self.target, values)

    def to_data(self) -> dict[str, Any]:
        """JSON; `from_data` is its inverse."""
        return {
            "kind": self.kind, "columns": [column.to_data() for column in self.columns],
            "target": self.target.to_data(), "fields": [field.to_data() for field in self.fields],
            "missing": list(self.missing),
        }  # fmt: skip

    @staticmethod
    def from_data(data: object) -> TableSchema:
        """Read what `to_data` wrote, trusting none of it."""
        read = Reader(data, "table schema", ("kind", "columns", "target", "fields", "missing"))
        read.choice("kind", ("table",))
        schema = TableSchema(
            tuple(Column.from_data(column) for column in read.items("columns", MAX_COLUMNS)),
            Target.from_data(read.data["target"]),
            tuple(Groups.from_data(field) for field in read.items("fields", MAX_COLUMNS)),
            read.names("missing", 1000),
        )
        for names in ([c.name for c in schema.columns], [f.column for f in schema.fields], list(schema.numeric)):
            if len(set(names)) != len(names):
                raise read.error("a column stands in it twice")
        if not schema.columns:
            raise read.error("it has no columns")
        return schema


def table_dataset(
    frame: Frame,
    target: str | Sequence[str],
    *,
    name: str,
    sensitive: str | Sequence[str] = (),
    kinds: Mapping[str, str] | None = None,
    task: str | None = None,
    on_bad: str = "fail",
    missing: Sequence[str] = (),
    separator: str = "",
    given: np.ndarray | None = None,
    test: float = 0.2,
    val: float = 0.1,
    seed: int = 0,
    drop: Sequence[str] = (),
    source: Mapping[str, Any] | None = None,
    names: Sequence[str] = (),
) -> Dataset:
    """The data set of a whole table; `given` (N,) are splits that came with it (0 train, 1 val, 2 test).

    Kinds and mistakes are found in all rows; categories and constant columns in the training rows alone, so nothing of
    the test rows reaches the model. `drop` are columns never to be inputs; `names` replaces "row i".
    """
    kinds, missing = dict(kinds or {}), tuple(dict.fromkeys(missing))
    head = frame.data.columns
    targets = split_names(target, head, "target")
    fields = split_names(sensitive, head, "sensitive")
    check_kinds(kinds, head)
    goal, note = infer_target(frame.data, targets, task, separator)
    notes = [note]
    groups = []
    for field in fields:
        found, note = infer_groups(frame.data, field)
        groups.append(found)
        notes.append(note)
    columns: list[Column] = []
    left: list[str] = []
    for series in frame.data:
        if series.name in targets or series.name in drop:
            continue
        column, why = infer_column(series, kinds.get(series.name, ""))
        if column is None:
            left.append(f"{quoted(series.name)} ({why})")
            continue
        if why and why != "as asked":
            notes.append(f"column {quoted(series.name)}: {column.kind}: {why}")
        columns.append(column)

    draft = TableSchema(tuple(columns), goal, tuple(groups), tuple(missing))
    keep, problems = _sift(frame, draft)
    labels: Sequence[str] = names or RowNames(frame.numbers)
    y = goal.encode(frame.data)[0]
    more = check_classes(goal, y, keep, labels, given)
    problems = [*frame.problems, *problems, *more]
    if problems and on_bad == "fail":
        raise bad_data(name, problems)
    if problems:
        notes.append(f"left out {len(problems)} bad rows or cells, e.g. {problems[0]}")
        if not keep.all():
            frame = frame.keep(keep)
            labels = [labels[int(i)] for i in np.flatnonzero(keep)] if names else RowNames(frame.numbers)
            given = given[keep] if given is not None else None
        goal, _ = infer_target(frame.data, targets, task, separator)  # classes that only bad rows had are gone
        y = goal.encode(frame.data)[0]
        check_classes(goal, y, np.ones(len(y), bool), labels, given, strict=True)

    split = splits.make(
        torch.from_numpy(y), goal.task, test, val, seed, None if given is None else torch.from_numpy(given)
    )
    training = frame.data[split["train"].numpy()]
    final = []
    for column in columns:
        series = training[column.name]
        if series.n_unique() <= 1 and column.name not in kinds:
            left.append(f"{quoted(column.name)} (the same value in every training row)")
            continue
        column, rare = with_categories(column, series)
        if rare:
            notes.append(f"column {quoted(column.name)}: the {rare} rarest of its values read as missing")
        final.append(column)
    if not final:
        raise SondeError(
            f"{name}: no column is left to learn from: {'; '.join(left)}", "keep one with kinds={'column': 'numeric'}"
        )
    schema = TableSchema(tuple(final), goal, tuple(groups), tuple(missing))
    if len(set(schema.numeric)) != len(schema.numeric):
        twice = [column for column in schema.numeric if schema.numeric.count(column) > 1]
        raise SondeError(f"{name}: a part of a date is called like a column: {listed(twice)}", "rename the column")
    x, _ = schema.encode_frame(frame.data)
    for kind in ("numeric", "boolean", "date", "categorical"):
        these = [c for c in final if c.kind == kind]
        if these:
            what = [c.name + (f" ({len(c.categories)} values)" if kind == "categorical" else "") for c in these]
            notes.append(f"{kind}: {', '.join(what)}")
    if left:
        notes.append(f"left out columns: {'; '.join(left)}")
    target_tensor = torch.from_numpy(y)
    notes += splits.duplicate_notes(x, target_tensor, split, labels)
    codes = {group.column: torch.from_numpy(group.encode(frame.data)[0]) for group in groups}
    return Dataset(name, goal.task, schema, x, target_tensor, split, codes, labels, tuple(notes), dict(source or {}))


def _sift(frame: Frame, schema: TableSchema) -> tuple[np.ndarray, list[Problem]]:
    """Which rows can be used (N,) bool, and every reason against the others."""
    _, wrong = schema.target.encode(frame.data)
    for field in schema.fields:
        wrong += field.encode(frame.data)[1]
    wrong += schema.encode_frame(frame.data)[1]
    keep = np.ones(len(frame.data), bool)
    keep[[row for row, _ in wrong]] = False
    return keep, [Problem(frame.where(row), reason) for row, reason in sorted(wrong)]
