"""Tables from any hand: CSV, TSV, Parquet, a polars or pandas frame, a list of dicts; one frame with named rows out."""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sonde.core.errors import SondeError
from sonde.data.files import GZIP, LIMIT, refuse_pickled, size_of
from sonde.data.problems import Problem, closest, listed, quoted
from sonde.data.strict import MAX_TEXT

if TYPE_CHECKING:
    import polars as pl

MAX_COLUMNS = 10_000
MISSING = ("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "None", "?")  # cells that stand for no value
TABLES = (".csv", ".tsv", ".tab", ".txt", ".parquet")


@dataclass(frozen=True)
class Frame:
    """A table as it was read: `numbers[i]` is what a person calls row i; `problems` are rows that could not be read."""

    data: pl.DataFrame
    numbers: np.ndarray
    problems: list[Problem] = field(default_factory=list)

    def where(self, row: int) -> str:
        """The name of row `row`."""
        return f"row {int(self.numbers[row])}"

    def keep(self, mask: np.ndarray) -> Frame:
        """The rows where `mask` (N,) is true."""
        import polars as pl

        return Frame(self.data.filter(pl.Series(mask)), self.numbers[mask], self.problems)


def read_frame(
    raw: Any,
    *,
    encoding: str = "utf-8",
    separator: str = "",
    header: bool = True,
    missing: Sequence[str] = (),
    limit: int = LIMIT,
) -> Frame:
    """Any table as a frame: text stripped, `MISSING` and `missing` cells null, column names checked.

    Raises:
        SondeError: what cannot be read, and why.
        Refused: for file kinds that can run code.
    """
    if isinstance(raw, str | Path):
        path = Path(raw)
        refuse_pickled(path)
        frame = (
            _read_parquet(path, limit) if _is_parquet(path) else _read_text(path, encoding, separator, header, limit)
        )
    else:
        data = _columns(raw)
        check_names(data.columns, "the frame")
        frame = Frame(data, np.arange(1, len(data) + 1))
        if not len(data):
            raise SondeError("the frame has no rows", "give rows of data")
    return Frame(cleaned(frame.data, missing), frame.numbers, frame.problems)


def _read_text(path: Path, encoding: str, separator: str, header: bool, limit: int) -> Frame:
    from sonde.data.delimited import read_delimited

    size_of(path)
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix not in TABLES and suffix not in ("", ".data", ".test"):
        raise SondeError(f"{path.name} is not a kind of table that is read", f"give one of {', '.join(TABLES)}")
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"PK\3\4" or (start[:2] == GZIP and path.suffix.lower() != ".gz"):
        raise SondeError(f"{path.name} is an archive, not text", "unpack it, or save the sheet as CSV, and open that")
    return read_delimited(path, encoding, separator, header, limit)


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() in (".parquet", ".pq")


def _read_parquet(path: Path, limit: int) -> Frame:
    """A Parquet file, unpacked by a process of its own: see `unparquet`."""
    import polars as pl

    if not size_of(path):
        raise SondeError(f"{path.name} is empty", "give a file with data in it")
    with tempfile.TemporaryDirectory() as folder:
        unpacked = Path(folder) / "table"
        script = Path(__file__).with_name("unparquet.py")
        command = [sys.executable, "-P", str(script), str(path), str(unpacked), str(limit), str(MAX_COLUMNS)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if done.returncode:
            told = done.stdout.decode(errors="replace") if done.returncode == 1 else ""
            reason = told or "is not a readable Parquet file: it asks for more memory than there is"
            mend = "write or copy it again"
            if "Parquet" not in reason:
                mend = "open a part of it, or raise the limit with limit=BYTES if memory allows"
            raise SondeError(f"{path.name} {reason}", mend)
        with unpacked.open("rb") as file:
            data = pl.read_ipc(file)
    check_names(data.columns, path.name)
    if not len(data):
        raise SondeError(f"{path.name} has columns but no rows", "give a file with rows of data in it")
    return Frame(data, np.arange(1, len(data) + 1))


def check_names(names: Sequence[str], where: str) -> None:
    """Refuse too many columns, and names that are used twice."""
    if len(names) > MAX_COLUMNS:
        raise SondeError(
            f"{where} has {len(names):,} columns; at most {MAX_COLUMNS:,} are read",
            "keep the columns that matter, or store a matrix of numbers as .npz",
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        what = "columns share the name" if len(twice) == 1 else "columns share the names"
        raise SondeError(f"{where}: {what} {listed(twice)}", "give every column a name of its own")
    long = next((name for name in names if len(name) > MAX_TEXT), None)
    if long is not None:
        raise SondeError(
            f"{where}: column {quoted(long)} has a name of {len(long):,} characters", "give it a short name"
        )
    if not names:
        raise SondeError(f"{where} has no columns", "give a table with columns in it")


def _columns(raw: Any) -> pl.DataFrame:
    """A polars frame of any frame-like object."""
    import polars as pl

    if isinstance(raw, pl.LazyFrame):
        raw = raw.collect()
    if isinstance(raw, pl.DataFrame):
        return raw
    if hasattr(raw, "iloc") and hasattr(raw, "columns"):  # pandas, without importing it
        check_names([str(name) for name in raw.columns], "the frame")
        return pl.DataFrame({str(n): _pandas_column(str(n), raw.iloc[:, i]) for i, n in enumerate(raw.columns)})
    if isinstance(raw, Mapping):
        one = not any(isinstance(v, list | tuple | np.ndarray | pl.Series) for v in raw.values())
        raw = [raw] if one else [dict(zip(raw, row, strict=True)) for row in zip(*raw.values(), strict=True)]
    if isinstance(raw, Sequence) and not isinstance(raw, str | bytes) and all(isinstance(row, Mapping) for row in raw):
        names = list(dict.fromkeys(str(key) for row in raw for key in row))
        return pl.DataFrame({name: _objects(name, [row.get(name) for row in raw]) for name in names})
    raise SondeError(
        f"a {type(raw).__name__} is not a table", "give a path, a pandas or polars frame, or a list of dicts"
    )


def _pandas_column(name: str, series: Any) -> pl.Series:
    import polars as pl

    kind = getattr(series.dtype, "kind", "O")
    if isinstance(series.dtype, np.dtype) and kind in "iufb":
        return pl.Series(name, series.to_numpy().copy())
    if kind == "M":
        zone = getattr(series.dt, "tz", None)
        return pl.Series(name, (series.dt.tz_convert(None) if zone else series).to_numpy().astype("datetime64[us]"))
    return _objects(name, series.tolist())


def _objects(name: str, values: Sequence[Any]) -> pl.Series:
    """A column of Python values: all truth values, all numbers, all dates; anything else as text."""
    import polars as pl

    known = [None if _is_missing(value) else value for value in values]
    kinds = {type(value) for value in known if value is not None}
    if kinds and all(issubclass(kind, bool | np.bool_) for kind in kinds):
        return pl.Series(name, [None if v is None else bool(v) for v in known], pl.Boolean)
    if kinds and all(issubclass(kind, int | float | np.number) and not issubclass(kind, bool) for kind in kinds):
        whole = all(issubclass(kind, int | np.integer) for kind in kinds)
        if whole and all(v is None or -(2**63) <= v < 2**63 for v in known):
            return pl.Series(name, [None if v is None else int(v) for v in known], pl.Int64)
        return pl.Series(name, [None if v is None else _float(v) for v in known], pl.Float64)
    if kinds and all(issubclass(kind, datetime.date) for kind in kinds):
        moments = [None if v is None else _moment(v) for v in known]
        return pl.Series(name, moments, pl.Datetime("us"))
    strange = next(
        (kind for kind in kinds if not issubclass(kind, str | int | float | np.generic | datetime.date)), None
    )
    if strange:
        raise SondeError(
            f"column {quoted(name)} holds {strange.__name__} values", "give numbers, text, dates or truth values"
        )
    return pl.Series(name, [None if v is None else str(v) for v in known], pl.String)


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer beyond any float: the infinity is then reported with its row
        return float("inf")


def _moment(value: Any) -> datetime.datetime:
    if not isinstance(value, datetime.datetime):
        return datetime.datetime(value.year, value.month, value.day)
    return value.astimezone(datetime.UTC).replace(tzinfo=None) if value.tzinfo else value


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(value != value)


def cleaned(data: pl.DataFrame, missing: Sequence[str] = ()) -> pl.DataFrame:
    """Text columns stripped of outer space, with the cells that stand for no value null; other kinds made plain."""
    import polars as pl

    columns = []
    for series in data:
        kind = series.dtype
        if isinstance(kind, pl.Categorical | pl.Enum):
            series = series.cast(pl.String)
        elif isinstance(kind, pl.Decimal):
            series = series.cast(pl.Float64)
        elif isinstance(kind, pl.Duration):
            series = series.dt.total_milliseconds().cast(pl.Float64) / 1000  # s
        elif isinstance(kind, pl.Date):
            series = series.cast(pl.Datetime("us"))
        elif isinstance(kind, pl.Datetime):
            series = (series.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if kind.time_zone else series).cast(
                pl.Datetime("us")
            )
        elif isinstance(kind, pl.Time):
            series = series.cast(pl.Int64).cast(pl.Float64) / 3.6e12  # h; polars counts nanoseconds
        elif isinstance(kind, pl.Null):
            series = series.cast(pl.String)
        if series.dtype == pl.String:
            series = series.str.strip_chars()
            series = series.set(series.is_in([*MISSING, *missing]), None)
        elif series.dtype.is_float():
            series = series.fill_nan(None)
        columns.append(series)
    return pl.DataFrame({series.name: series for series in columns})  # a list would rename a column called ""


def plain_text(series: pl.Series) -> pl.Series:
    """A column as text in one spelling: 3, 3.0, "3" and "3.0" are all "3"; truth values are "true" and "false"."""
    import polars as pl

    if series.dtype == pl.Datetime:
        text = series.dt.to_string("iso:strict").str.replace(r"T00:00:00(\.0+)?$", "")
    elif series.dtype.is_float():
        whole = series.is_finite() & (series == series.floor()) & (series.abs() < 2**53)
        text = series.cast(pl.String).zip_with(
            ~whole.fill_null(False), series.cast(pl.Int64, strict=False).cast(pl.String)
        )
    else:
        text = series.cast(pl.String)
    return text.str.replace(r"^(-?\d+)\.0+$", "${1}")


def numbers(series: pl.Series) -> pl.Series:
    """A column as float64; what is no number is null. Truth values are 1 and 0."""
    import polars as pl

    if series.dtype == pl.String and series.str.contains("(?i)^(true|false)$").any():
        series = series.str.replace("(?i)^true$", "1").str.replace("(?i)^false$", "0")
    return series.cast(pl.Float64, strict=False)


def is_truth(series: pl.Series) -> bool:
    """Whether every value is true or false."""
    import polars as pl

    if series.dtype == pl.String:
        return len(series) > series.null_count() and bool(series.str.contains("(?i)^(true|false)$").all())
    return bool(series.dtype == pl.Boolean)


def find_column(name: str, names: Sequence[str], role: str) -> str:
    """The column called `name`.

    Raises:
        SondeError: listing the columns, with the closest match.
    """
    if name in names:
        return name
    raise SondeError(
        f"{role} column {quoted(name)} is not in the data{closest(name, names)}", f"choose from {listed(names, 40)}"
    )


def split_names(names: str | Sequence[str], known: Sequence[str], role: str) -> tuple[str, ...]:
    """'a,b,c' or a sequence as column names, each of which exists; a name that itself holds a comma is found first."""
    if isinstance(names, str):
        names = (names,) if names in known else [part for part in re.split(r"\s*,\s*", names.strip()) if part]
    return tuple(dict.fromkeys(find_column(name, known, role) for name in names))
