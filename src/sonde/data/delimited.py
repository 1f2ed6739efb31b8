"""CSV and TSV as columns of text: every ragged row is named, and nothing is guessed about bytes that are not text.

Rows are numbered as a spreadsheet numbers them: the header is row 1, blank lines count.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sonde.core.errors import SondeError
from sonde.data.files import read_bytes
from sonde.data.frames import MAX_COLUMNS, Frame, check_names
from sonde.data.problems import Problem, quoted

if TYPE_CHECKING:
    import polars as pl

SEPARATORS = (",", ";", "\t", "|")
MAX_FIELD = 1 << 20  # characters in one cell; a longer one is a quote that was never closed


def read_delimited(
    path: Path, encoding: str = "utf-8", separator: str = "", header: bool = True, limit: int = 4 << 30
) -> Frame:
    """Read a delimited text file, every cell as text; "" for `separator` finds it in the first line.

    Raises:
        SondeError: empty, not text in `encoding`, no header, duplicate column names, too many columns.
    """
    data = _utf8(read_bytes(path, limit), path.name, encoding)
    separator = separator or _separator(data, path)
    if len(separator) != 1 or separator in '"\n':
        raise SondeError(f"{quoted(separator)} cannot separate columns", "give one character: separator=';'")
    read = _quoted_rows if b'"' in data else _plain_rows
    head, columns, numbers, problems = read(data, separator, header)
    if not header:
        head = [f"column_{i + 1}" for i in range(len(head))]
    elif head and all(_is_number(cell) for cell in head):
        raise SondeError(
            f"{path.name} has no header: its first row holds only numbers",
            "add a row of column names, or pass header=False to call them column_1, column_2, …",
        )
    check_names(head, path.name)
    if not len(numbers) and not problems:
        raise SondeError(f"{path.name} has a header but no rows", "give a file with rows of data in it")
    return Frame(columns(head), numbers, problems)


def _utf8(data: bytes, name: str, encoding: str) -> bytes:
    """The text as UTF-8 with line feeds, without byte-order mark."""
    try:
        known = codecs.lookup(encoding)
        text_codec = getattr(known, "_is_text_encoding", True)
    except (LookupError, ValueError):
        text_codec = False
    if not text_codec:
        raise SondeError(f"encoding={encoding!r} is not known", "use a name such as 'utf-8', 'cp1252' or 'utf-16'")
    if known.name == "utf-8":
        data = data.removeprefix(codecs.BOM_UTF8)
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise SondeError(f"{name} is UTF-16 text, not UTF-8", "pass encoding='utf-16'")
    try:
        text = data.decode(known.name)
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        row = data.count(b"\n", 0, start) + 1
        guess = "cp1252" if _decodes(data, "cp1252") else "latin-1"
        remedy = f"pass encoding={guess!r} if it came from a Western European program, or save it as UTF-8"
        if known.name != "utf-8":
            remedy = "pass the encoding it was saved in, or save it as UTF-8"
        raise SondeError(f"{name} row {row}: byte {start} is not {known.name} text", remedy) from error
    if "\0" in text:
        row = text.count("\n", 0, text.index("\0")) + 1
        often = data.count(b"\0") * 3 > len(data)
        remedy = "pass encoding='utf-16', or give a text file" if often else "give a text file"
        raise SondeError(f"{name} row {row} holds a zero byte, so it is not a text table", remedy)
    if known.name != "utf-8":
        data = text.removeprefix("\ufeff").encode()
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeError:
        return False
    return True


def _separator(data: bytes, path: Path) -> str:
    """The separator that splits the first line that is not blank into the most columns."""
    if path.name.lower().removesuffix(".gz").endswith((".tsv", ".tab")):
        return "\t"
    start = re.search(rb"\S", data)
    end = data.find(b"\n", start.start()) if start else -1
    line = data[: end if end >= 0 else len(data)].decode()
    bare = re.sub(r'"[^"]*"', "", line)
    return max(SEPARATORS, key=bare.count)  # the first of them wins a tie


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


class _Columns:
    """Makes the columns once the names are known and accepted."""

    def __init__(self, rows: Sequence[Sequence[str]] | bytes, separator: str, names: int) -> None:
        self.rows, self.separator, self.names = rows, separator, names

    def __call__(self, head: Sequence[str]) -> pl.DataFrame:
        import polars as pl

        if isinstance(self.rows, bytes):
            return pl.read_csv(
                self.rows,
                has_header=False,
                separator=self.separator,
                quote_char=None,
                schema={name: pl.String for name in head},
            )
        cells = zip(*self.rows, strict=True) if self.rows else [()] * len(head)
        return pl.DataFrame({n: pl.Series(n, column, pl.String) for n, column in zip(head, cells, strict=True)})


Read = tuple[list[str], _Columns, np.ndarray, list[Problem]]


def _plain_rows(data: bytes, separator: str, header: bool) -> Read:
    """Rows of a file without quotes: one line is one row."""
    lines = data.split(b"\n")
    mark = separator.encode()
    filled = [i for i, line in enumerate(lines) if line and not line.isspace()]
    if not filled:
        return [], _Columns([], separator, 0), np.zeros(0, np.int64), []
    first = lines[filled[0]]
    width = first.count(mark) + 1
    _check_width(width)
    body = filled[1:] if header else filled
    wrong = {i: n for i in body if (n := lines[i].count(mark) + 1) != width}
    good = [i for i in body if i not in wrong]
    problems = [Problem(f"row {i + 1}", _ragged(n, width)) for i, n in wrong.items()]
    text = b"\n".join([lines[i] for i in good]) + b"\n" if good else b""
    head = [cell.strip() for cell in first.decode().split(separator)]
    rows: bytes | list[list[str]] = text or []
    return head, _Columns(rows, separator, width), np.array(good, np.int64) + 1, problems


def _quoted_rows(data: bytes, separator: str, header: bool) -> Read:
    """Rows of a file with quotes, where a cell may hold separators and line ends."""
    before = csv.field_size_limit(MAX_FIELD)
    head: list[str] | None = None
    rows: list[list[str]] = []
    numbers: list[int] = []
    problems: list[Problem] = []
    number = 0
    try:
        reader = csv.reader(
            io.StringIO(data.decode(), newline=""), delimiter=separator, skipinitialspace=True, strict=True
        )
        for row in reader:
            number += 1
            if not any(row):
                continue
            if head is None:
                head = row
                _check_width(len(head))
                if header:
                    continue
            if len(row) != len(head):
                problems.append(Problem(f"row {number}", _ragged(len(row), len(head))))
            else:
                rows.append(row)
                numbers.append(number)
    except csv.Error as error:
        # Nothing after a broken quote can be told apart into cells, so the rest is one problem.
        problems.append(Problem(f"row {number + 1} and all after it", f"a quote is not closed or misplaced ({error})"))
    finally:
        csv.field_size_limit(before)
    head = [cell.strip() for cell in head or []]
    return head, _Columns(rows, separator, len(head)), np.array(numbers, np.int64), problems


def _ragged(found: int, width: int) -> str:
    return f"{found} field{'s' if found != 1 else ''} instead of {width}"


def _check_width(width: int) -> None:
    if width > MAX_COLUMNS:
        raise SondeError(
            f"the table has {width:,} columns; at most {MAX_COLUMNS:,} are read",
            "keep the columns that matter, or store a matrix of numbers as .npz",
        )
