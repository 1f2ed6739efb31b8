"""What each column of a table is (number, truth value, date, category) and how it becomes numbers and codes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sonde.core.errors import SondeError
from sonde.data.frames import is_truth, numbers, plain_text
from sonde.data.problems import closest, listed, quoted
from sonde.data.strict import MAX_TEXT, Reader
from sonde.data.targets import MOSTLY, Wrong

if TYPE_CHECKING:
    import polars as pl

Kind = Literal["numeric", "boolean", "date", "categorical"]
KINDS: tuple[Kind, ...] = ("numeric", "boolean", "date", "categorical")
MAX_CATEGORIES = 10_000  # of one column; rarer ones read as unseen
PARTS = ("days", "month", "weekday", "hour")  # of a date; days count from 2000-01-01
FORMATS = (
    "%Y-%m-%d", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f%z",
    "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y/%m/%d", "%Y/%m/%d %H:%M:%S", "%d.%m.%Y", "%d.%m.%Y %H:%M",
    "%m/%d/%Y", "%d/%m/%Y", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M", "%d-%m-%Y",
)  # fmt: skip
AMBIGUOUS = {"%m/%d/%Y": "%d/%m/%Y", "%m/%d/%Y %H:%M": "%d/%m/%Y %H:%M"}
LIKE_ID = re.compile(
    r"(?i:id|index|row|row[_ -]?(id|num|number|index)|uuid|guid|unnamed.*|.*[_ -](id|uuid|guid))|.*[a-z]I[dD]|"
)
EXACT = 2**24  # whole numbers above this are rounded by float32


@dataclass(frozen=True)
class Column:
    """One input column.

    kind: numeric and boolean give one number (1 for true), date gives its `parts`, categorical gives a code.
    categories: of a categorical column; category i has code i + 1, and 0 stands for missing or unseen.
    format: of a date as text; "" tries the usual ones.
    """

    name: str
    kind: Kind
    categories: tuple[str, ...] = ()
    format: str = ""
    parts: tuple[str, ...] = ()

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the columns of x["numeric"] that it fills."""
        if self.kind == "categorical":
            return ()
        return tuple(f"{self.name}.{part}" for part in self.parts) if self.kind == "date" else (self.name,)

    def encode_numbers(self, series: pl.Series) -> tuple[np.ndarray, Wrong]:
        """The column as (N, outputs) float32 with NaN for missing, and the cells that are no number or date."""
        if self.kind == "date":
            moments = as_dates(series, self.format)
            lost = series.is_not_null() & moments.is_null()
            wrong = [(int(i), _strange(series, int(i), "a date")) for i in np.flatnonzero(lost.to_numpy())]
            return np.stack([_part(moments, part) for part in self.parts], 1), wrong
        parsed = numbers(series)
        values = parsed.to_numpy().astype(np.float64)
        with np.errstate(over="ignore"):
            single = values.astype(np.float32)
        lost = series.is_not_null().to_numpy() & ~np.isfinite(single)
        wrong = [(int(i), _strange(series, int(i), "a number")) for i in np.flatnonzero(lost)]
        return single[:, None], wrong

    def encode_codes(self, series: pl.Series) -> np.ndarray:
        """The column as (N,) int64 codes."""
        import polars as pl

        if not self.categories:
            return np.zeros(len(series), np.int64)
        codes = range(1, len(self.categories) + 1)
        found = plain_text(series).replace_strict(self.categories, codes, default=0, return_dtype=pl.Int64)
        return found.fill_null(0).to_numpy().astype(np.int64)

    def to_data(self) -> dict[str, Any]:
        """JSON; `from_data` is its inverse."""
        return {
            "name": self.name, "kind": self.kind, "categories": list(self.categories),
            "format": self.format, "parts": list(self.parts),
        }  # fmt: skip

    @staticmethod
    def from_data(data: object) -> Column:
        """Read what `to_data` wrote, trusting none of it."""
        read = Reader(data, "column", ("name", "kind", "categories", "format", "parts"))
        column = Column(
            read.text("name"),
            read.choice("kind", KINDS),
            read.names("categories", MAX_CATEGORIES),
            read.text("format"),
            read.names("parts", len(PARTS)),
        )
        date = column.kind == "date"
        misplaced = (column.categories and column.kind != "categorical") or (column.format and not date)
        if misplaced or date != bool(column.parts):
            raise read.error(f"{quoted(column.name)} has settings that do not belong to its kind")
        if set(column.parts) - set(PARTS):
            raise read.error(f"{quoted(column.name)} has unknown parts")
        return column


def infer_column(series: pl.Series, asked: str = "") -> tuple[Column | None, str]:
    """What a column is, or what it was `asked` to be; None leaves it out, and the text says why it was chosen."""
    name = series.name
    if asked:
        return _asked(series, asked)
    if series.dtype.is_nested() or not (
        series.dtype.is_numeric() or series.dtype.is_temporal() or series.dtype in (_string(), _boolean())
    ):
        raise SondeError(
            f"column {quoted(name)} holds {series.dtype} values, which no model here reads",
            f"leave it out with kinds={{{name!r}: 'drop'}}",
        )
    known = series.drop_nulls()
    if not len(known):
        return None, "no values"
    if series.dtype.is_temporal():
        return Column(name, "date", parts=_parts(as_dates(series, ""))), ""
    if is_truth(known):
        return Column(name, "boolean"), ""
    if series.dtype.is_numeric():
        return _number(series, known)
    parsed = numbers(known)
    if len(parsed) - parsed.null_count() >= MOSTLY * len(known):
        if known.str.contains(r"^0\d+$").any():  # zip codes, product codes: leading zeros carry meaning
            return Column(name, "categorical"), "leading zeros"
        return _number(series, parsed.drop_nulls())
    format, note = date_format(known)
    if format:
        return Column(name, "date", format=format, parts=_parts(as_dates(known, format))), note
    distinct = known.n_unique()
    if len(known) >= 20 and distinct > 0.9 * len(known):
        return None, f"{distinct} different texts in {len(known)} rows, like an identifier"
    return Column(name, "categorical"), ""


def _number(series: pl.Series, values: pl.Series) -> tuple[Column | None, str]:
    """A numeric column, unless its name and values say that it only counts the rows."""
    name = series.name
    finite = values.filter(values.is_finite()) if values.dtype.is_float() else values
    if LIKE_ID.fullmatch(name) and len(values) >= 20 and values.n_unique() == len(values) and len(finite):
        if (finite == finite.round() if finite.dtype.is_float() else finite == finite).all():
            return None, "named like an identifier, and different in every row"
    column = Column(name, "numeric")
    wide = finite.cast(float).to_numpy()
    if len(wide) and np.abs(wide).max() > EXACT:
        with np.errstate(over="ignore"):
            if len(np.unique(wide.astype(np.float32))) < len(np.unique(wide)):
                return column, "float32 rounds some of its values together"
    return column, ""


def _asked(series: pl.Series, asked: str) -> tuple[Column | None, str]:
    kind, _, format = asked.partition(":")
    if kind == "drop":
        return None, "as asked"
    if kind not in KINDS or (format and kind != "date"):
        known = (*KINDS, "drop")
        raise SondeError(
            f"kind {quoted(asked)} of column {quoted(series.name)} is not known{closest(kind, known)}",
            f"choose from {listed(known)}, or 'date:%d/%m/%Y'",
        )
    if kind != "date":
        return Column(series.name, KINDS[KINDS.index(kind)]), "as asked"  # type: ignore[arg-type]
    if not format and series.dtype == _string():
        format = date_format(series.drop_nulls())[0]
        if not format:
            raise SondeError(
                f"column {quoted(series.name)} has no date format that is known here",
                f"say which: kinds={{{series.name!r}: 'date:%d/%m/%Y'}}",
            )
    return Column(series.name, "date", format=format, parts=_parts(as_dates(series, format))), "as asked"


def with_categories(column: Column, series: pl.Series) -> tuple[Column, int]:
    """The column with the categories of `series` (the training rows), most frequent kept; and how many were not."""
    if column.kind != "categorical":
        return column, 0
    counts = plain_text(series).alias("value").drop_nulls().value_counts()
    names = counts.sort(["count", "value"], descending=[True, False])["value"].to_list()
    kept = sorted([name for name in names if len(name) <= MAX_TEXT][:MAX_CATEGORIES])
    return replace(column, categories=tuple(kept)), len(names) - len(kept)


def date_format(known: pl.Series) -> tuple[str, str]:
    """The date format that most values of a text column have, or ""; and a note where two would do."""
    if known.dtype != _string() or not len(known) or not re.match(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}", known[0]):
        return "", ""
    sample = known.head(1000)
    fits = {f: len(sample) - as_dates(sample, f).null_count() for f in FORMATS}
    best = max(FORMATS, key=lambda f: fits[f])
    if fits[best] < MOSTLY * len(sample):
        return "", ""
    other = AMBIGUOUS.get(best)
    if other and len(known) - as_dates(known, other).null_count() >= MOSTLY * len(known):
        mine, theirs = as_dates(known, best).null_count(), as_dates(known, other).null_count()
        if theirs < mine:
            return other, ""
        if theirs == mine:
            return best, f"read as {best}; say kinds={{{known.name!r}: 'date:{other}'}} if the day comes first"
    return best, ""


def as_dates(series: pl.Series, format: str) -> pl.Series:
    """A column as moments (UTC, microseconds); what is no date is null."""
    import polars as pl

    if series.dtype.is_temporal():
        return series.cast(pl.Datetime("us"))
    if series.dtype != pl.String:
        return pl.Series(series.name, [None] * len(series), pl.Datetime("us"))
    if not format:
        format = date_format(series.drop_nulls())[0] or FORMATS[0]
    if "%Y" in format and not format.startswith("%Y"):  # polars would read the year 20 in 1/2/20
        series = series.set(~series.str.contains(r"\d{4}").fill_null(False), None)
    if format.endswith("%z"):
        series = series.str.replace("[zZ]$", "+00:00")
    try:
        found = series.str.to_datetime(format, strict=False, time_unit="us")
    except pl.exceptions.PolarsError as error:
        raise SondeError(f"{quoted(format)} is not a date format", "write one such as 'date:%d/%m/%Y'") from error
    return found.dt.replace_time_zone(None)


def _parts(moments: pl.Series) -> tuple[str, ...]:
    """Which parts of the dates say anything: the hour only where there is a time of day."""
    known = moments.drop_nulls()
    return PARTS if len(known) and bool((known.dt.truncate("1d") != known).any()) else PARTS[:3]


def _part(moments: pl.Series, part: str) -> np.ndarray:
    """One part of the dates as (N,) float32, NaN for missing."""
    import polars as pl

    if part == "days":
        epoch = pl.datetime(2000, 1, 1, time_unit="us")
        values = pl.select((pl.lit(moments) - epoch).dt.total_seconds(fractional=True) / 86400).to_series()
    elif part == "month":
        values = moments.dt.month()
    elif part == "weekday":
        values = moments.dt.weekday()  # 1 is Monday
    else:
        values = moments.dt.hour().cast(pl.Float64) + moments.dt.minute().cast(pl.Float64) / 60
    return values.cast(pl.Float64).to_numpy().astype(np.float32)


def _strange(series: pl.Series, row: int, wanted: str) -> str:
    value = series[row]
    huge = wanted == "a number" and not numbers(series[row : row + 1]).is_null()[0]
    reason = "is infinite or too large for float32" if huge else f"is not {wanted} like the rest"
    return f"{quoted(value)} in column {quoted(series.name)} {reason}"


def _string() -> Any:
    import polars as pl

    return pl.String


def _boolean() -> Any:
    import polars as pl

    return pl.Boolean


def check_kinds(kinds: Mapping[str, str], names: list[str]) -> None:
    """Refuse a kind for a column that is not there."""
    for name in kinds:
        if name not in names:
            raise SondeError(
                f"kinds= names column {quoted(name)}, which is not in the data{closest(name, names)}",
                f"choose from {listed(names, 40)}",
            )
