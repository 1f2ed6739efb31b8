"""What is to be predicted: the target columns of a table (or of an image folder) as classes, labels or numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sonde.core.errors import SondeError
from sonde.data.frames import is_truth, numbers, plain_text
from sonde.data.problems import closest, listed, quoted
from sonde.data.strict import MAX_NAMES, MAX_TEXT, Reader

if TYPE_CHECKING:
    import polars as pl

Task = Literal["classification", "multilabel", "regression"]
TASKS: tuple[Task, ...] = ("classification", "multilabel", "regression")
FEW = 20  # whole numbers with at most this many different values are taken for classes
MOSTLY = 0.9  # share of a column's values that must be numbers (or dates) for the others to count as mistakes
Wrong = list[tuple[int, str]]  # (row, reason)


@dataclass(frozen=True)
class Target:
    """How the target columns become y.

    task: what is learned. columns: names in the data, and of the outputs of a regression.
    classes: names of the classes or labels in the order of the outputs; () for regression.
    separator: what stands between labels that share one column; "" where each label has its own.
    """

    task: Task
    columns: tuple[str, ...]
    classes: tuple[str, ...] = ()
    separator: str = ""

    def encode(self, data: pl.DataFrame) -> tuple[np.ndarray, Wrong]:
        """y, and the rows whose target cannot be used: missing, not a number, infinite, a class never seen."""
        missing = [name for name in self.columns if name not in data.columns]
        if missing:
            raise SondeError(f"target columns {listed(missing)} are not in the data", "give data with the target in it")
        if self.task == "regression":
            return _numeric(data, self.columns)
        if self.task == "classification":
            return _codes(data[self.columns[0]], self.classes)
        if self.separator:
            return _split_labels(data[self.columns[0]], self.separator, self.classes)
        y, wrong = _numeric(data, self.columns)
        strange = np.flatnonzero(((y != 0) & (y != 1)).any(1) & np.isfinite(y).all(1))
        return y, wrong + [(int(i), "a label is neither 0 nor 1") for i in strange]

    def to_data(self) -> dict[str, Any]:
        """JSON; `from_data` is its inverse."""
        return {
            "task": self.task, "columns": list(self.columns), "classes": list(self.classes),
            "separator": self.separator,
        }  # fmt: skip

    @staticmethod
    def from_data(data: object) -> Target:
        """Read what `to_data` wrote, trusting none of it."""
        read = Reader(data, "target", ("task", "columns", "classes", "separator"))
        task = read.choice("task", TASKS)
        columns, classes = read.names("columns"), read.names("classes")
        separator = read.text("separator")
        single = task == "classification" or bool(separator)
        wrong = not columns or (single and len(columns) != 1) or (bool(separator) and task != "multilabel")
        wrong |= bool(classes) == (task == "regression") or (task == "classification" and len(classes) < 2)
        if wrong or (task == "multilabel" and not separator and columns != classes):
            raise read.error("the columns and classes do not fit the task")
        return Target(task, columns, classes, separator)


def infer_target(
    data: pl.DataFrame, columns: Sequence[str], task: str | None = None, separator: str = ""
) -> tuple[Target, str]:
    """The target that the values of `columns` suggest (or the one `task` asks for), and a note on why.

    Raises:
        SondeError: an unknown task, or values that do not fit the task asked for.
    """
    if task is not None and task not in TASKS:
        raise SondeError(f"task {quoted(task)} is not known{closest(task, TASKS)}", f"choose from {listed(TASKS)}")
    if len(columns) > 1:
        return _several(data, tuple(columns), task)
    name = columns[0]
    series = data[name]
    if series.dtype.is_nested() or series.dtype.is_temporal():
        raise SondeError(f"target {quoted(name)} holds {series.dtype} values", "give classes or numbers as the target")
    known = series.drop_nulls()
    if not len(known):
        raise SondeError(f"target {quoted(name)} has no values", "give data whose target is filled in")
    parsed = numbers(known)
    share = 1 - parsed.null_count() / len(known)
    truth = is_truth(known)
    values = parsed.drop_nulls()
    finite = values.filter(values.is_finite())
    distinct = finite.n_unique()
    why = ""
    if separator or task == "multilabel":
        chosen, why = "multilabel", "labels share the column"
    elif task is not None:
        chosen, why = task, "as asked"
    elif truth:
        chosen, why = "classification", "truth values"
    elif share < MOSTLY:
        separator = _label_separator(plain_text(known))
        chosen, why = ("multilabel", "several labels a row") if separator else ("classification", "text values")
    elif (finite == finite.floor()).all() and distinct <= min(FEW, len(known) / 2):
        chosen, why = "classification", f"{distinct} whole numbers"
    else:
        chosen, why = "regression", f"{distinct} different numbers"
    if chosen == "regression":
        if share < MOSTLY:
            example = known.filter(parsed.is_null())[0]
            raise SondeError(
                f"target {quoted(name)} is not made of numbers, e.g. {quoted(example)}", "use task='classification'"
            )
        return Target("regression", (name,)), f"target {quoted(name)}: regression ({why})"
    text = plain_text(known)
    if chosen == "multilabel":
        separator = separator or _label_separator(text) or ";"
        classes = in_order(_parts(text, separator))
    else:
        classes = in_order(text.unique().to_list())
        separator = ""
    if len(classes) > MAX_NAMES:
        raise SondeError(
            f"target {quoted(name)} has {len(classes):,} different values; at most {MAX_NAMES:,} are classes",
            "choose another target, or task='regression' if it is a number",
        )
    if any(len(label) > MAX_TEXT for label in classes):
        raise SondeError(f"target {quoted(name)} holds texts, not classes", "choose another target")
    target = Target("multilabel" if chosen == "multilabel" else "classification", (name,), classes, separator)
    unit = "labels" if separator else "classes"
    mark = f", separated by {separator!r}" if separator else ""
    return target, f"target {quoted(name)}: {target.task} ({why}): {len(classes)} {unit}{mark}: {listed(classes)}"


def _several(data: pl.DataFrame, columns: tuple[str, ...], task: str | None) -> tuple[Target, str]:
    """Several target columns: labels when every value is 0 or 1, else numbers."""
    if task == "classification":
        raise SondeError(
            f"classification has one target, not {len(columns)}", "name one column, or use task='multilabel'"
        )
    binary = True
    for name in columns:
        known = data[name].drop_nulls()
        parsed = numbers(known).drop_nulls()
        if len(parsed) < MOSTLY * len(known) or not len(known):
            raise SondeError(
                f"target {quoted(name)} is not made of numbers", "several targets must all be 0/1 labels or all numbers"
            )
        binary &= bool(parsed.is_in([0.0, 1.0]).all())
    chosen: Task = (
        "multilabel" if (task or ("multilabel" if binary else "regression")) == "multilabel" else "regression"
    )
    target = Target(chosen, columns, columns if chosen == "multilabel" else ())
    why = "as asked" if task else "every value is 0 or 1" if binary else "numbers"
    return target, f"targets {listed(columns)}: {chosen} ({why})"


def _label_separator(text: pl.Series) -> str:
    """'|' or ';' where it splits the values into fewer distinct parts than there are distinct values."""
    for mark in ("|", ";"):
        often = int(text.str.contains(mark, literal=True).sum()) >= 0.1 * len(text)
        if often and len(_parts(text, mark)) < text.n_unique():
            return mark
    return ""


def _parts(text: pl.Series, separator: str) -> list[str]:
    """The distinct labels in a column of joined labels."""
    found = {part.strip() for value in text.unique().to_list() for part in value.split(separator)}
    return sorted(found - {""})


def in_order(values: Sequence[str]) -> tuple[str, ...]:
    """Names in order: as numbers when all are, else by their letters."""
    try:
        return tuple(sorted(values, key=float))
    except ValueError:
        return tuple(sorted(values))


def _codes(series: pl.Series, classes: Sequence[str]) -> tuple[np.ndarray, Wrong]:
    """Class indices (N,) int64; -1 and a reason where there is none."""
    import polars as pl

    text = plain_text(series)
    code = text.replace_strict(classes, range(len(classes)), default=-1, return_dtype=pl.Int64)
    y = code.fill_null(-1).to_numpy().astype(np.int64)
    wrong = []
    for i in np.flatnonzero(y < 0):
        value = text[int(i)]
        reason = f"no value in target {quoted(series.name)}"
        if value is not None:
            reason = f"{quoted(value)} is not a class that was seen in training{closest(value, classes)}"
        wrong.append((int(i), reason))
    return y, wrong


def _split_labels(series: pl.Series, separator: str, classes: Sequence[str]) -> tuple[np.ndarray, Wrong]:
    """Indicators (N, L) float32; a row without a value has no label, which is an answer."""
    place = {name: i for i, name in enumerate(classes)}
    y = np.zeros((len(series), len(classes)), np.float32)
    wrong = []
    for row, value in enumerate(plain_text(series).to_list()):
        for part in (value or "").split(separator):
            if not (label := part.strip()):
                continue
            if label in place:
                y[row, place[label]] = 1
            else:
                near = closest(label, classes)
                wrong.append((row, f"{quoted(label)} is not a label that was seen in training{near}"))
    return y, wrong


def _numeric(data: pl.DataFrame, columns: Sequence[str]) -> tuple[np.ndarray, Wrong]:
    """Numbers (N, T) float32, and the cells that hold none."""
    wrong: Wrong = []
    values = []
    for name in columns:
        series = data[name]
        column = numbers(series).to_numpy().astype(np.float64)
        with np.errstate(over="ignore"):
            single = column.astype(np.float32)
        for i in np.flatnonzero(~np.isfinite(single)):
            value = series[int(i)]
            reason = f"{quoted(value)} in target {quoted(name)} is not a finite number"
            wrong.append((int(i), f"no value in target {quoted(name)}" if value is None else reason))
        values.append(single)
    return np.stack(values, 1), wrong
