"""Sensitive columns as group codes: values as they are, or ranges where a column is a number with many values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sonde.core.errors import SondeError
from sonde.data.frames import numbers, plain_text
from sonde.data.problems import listed, quoted
from sonde.data.strict import MAX_TEXT, Reader
from sonde.data.targets import MOSTLY, Wrong, in_order

if TYPE_CHECKING:
    import polars as pl

MANY = 10  # a number with more different values than this is grouped into quarters
MOST = 1_000  # groups of one column; more say nothing about any of them
MISSING = "missing"


@dataclass(frozen=True)
class Groups:
    """How one sensitive column becomes codes.

    column: its name. names: of the groups, in the order of their codes; "missing" is last where it was needed.
    edges: inner bounds of the ranges of a number, rising; () where each value is a group of its own.
    """

    column: str
    names: tuple[str, ...]
    edges: tuple[float, ...] = ()

    def encode(self, data: pl.DataFrame) -> tuple[np.ndarray, Wrong]:
        """Codes (N,) int64, and the rows that belong to no group that was seen."""
        import polars as pl

        if self.column not in data.columns:
            raise SondeError(
                f"sensitive column {quoted(self.column)} is not in the data", f"choose from {listed(data.columns)}"
            )
        series = data[self.column]
        if self.edges:
            value = numbers(series).to_numpy().astype(np.float64)
            codes = np.searchsorted(np.asarray(self.edges), value, side="right").astype(np.int64)
            codes[np.isnan(value)] = -1
        else:
            text = plain_text(series)
            found = text.replace_strict(self.names, range(len(self.names)), default=-1, return_dtype=pl.Int64)
            codes = found.fill_null(-1).to_numpy().astype(np.int64)
        if self.names[-1] == MISSING:
            codes[series.is_null().to_numpy()] = len(self.names) - 1
        wrong = [
            (int(i), f"{quoted(series[int(i)])} in sensitive column {quoted(self.column)} is no group that was seen")
            for i in np.flatnonzero(codes < 0)
        ]
        return codes, wrong

    def to_data(self) -> dict[str, Any]:
        """JSON; `from_data` is its inverse."""
        return {"column": self.column, "names": list(self.names), "edges": list(self.edges)}

    @staticmethod
    def from_data(data: object) -> Groups:
        """Read what `to_data` wrote, trusting none of it."""
        read = Reader(data, "group", ("column", "names", "edges"))
        found = Groups(read.text("column"), read.names("names", MOST + 1), read.rising("edges", MANY))
        ranges = len(found.names) - (found.names[-1:] == (MISSING,))
        if not found.names or (found.edges and ranges != len(found.edges) + 1):
            raise read.error("the names and edges do not fit each other")
        return found


def infer_groups(data: pl.DataFrame, column: str) -> tuple[Groups, str]:
    """The groups of a sensitive column, and a note that names them.

    Raises:
        SondeError: more than 1,000 different values.
    """
    series = data[column]
    known = series.drop_nulls()
    if series.dtype.is_temporal() or series.dtype.is_nested():
        raise SondeError(
            f"sensitive column {quoted(column)} holds {series.dtype} values", "name a column of groups or of numbers"
        )
    parsed = numbers(known)
    lacking = (MISSING,) if series.null_count() else ()
    values = parsed.drop_nulls()
    values = values.filter(values.is_finite())
    if len(values) and len(values) >= MOSTLY * len(known) and values.n_unique() > MANY:
        quarters = np.quantile(values.to_numpy(), [0.25, 0.5, 0.75], method="higher")
        edges = tuple(float(e) for e in np.unique(quarters) if e > values.min())  # type: ignore[operator]
        bounds = [f"{e:g}" for e in edges]
        names = [f"under {bounds[0]}"] if bounds else []
        names += [f"{a} to under {b}" for a, b in zip(bounds, bounds[1:], strict=False)]
        names += [f"{bounds[-1]} and over"] if bounds else []
        if edges and len(set(names)) == len(names):
            groups = Groups(column, (*names, *lacking), edges)
            return groups, f"sensitive {quoted(column)}: a number, in quarters: {listed(groups.names)}"
    names = [name for name in in_order(plain_text(known).unique().to_list()) if name != MISSING]
    lacking = lacking or ((MISSING,) if bool((plain_text(known) == MISSING).any()) else ())
    if any(len(group) > MAX_TEXT for group in names):
        raise SondeError(f"sensitive column {quoted(column)} holds texts, not groups", "name a column of groups")
    if len(names) > MOST:
        raise SondeError(
            f"sensitive column {quoted(column)} has {len(names):,} different values; at most {MOST:,} can be groups",
            "name a column of groups, or group the values first",
        )
    if not names:
        raise SondeError(f"sensitive column {quoted(column)} has no values", "leave it out of sensitive=")
    groups = Groups(column, (*names, *lacking))
    return groups, f"sensitive {quoted(column)}: {len(groups.names)} groups: {listed(groups.names)}"
