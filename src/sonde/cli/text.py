"""Tables and numbers for a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from sonde.report.words import shown

LONGEST = 1_000_000  # characters of a message: it may list files, and is not to be cut


def emit_json(data: Any) -> None:
    """Print JSON to stdout; NaN and infinities become null, which every reader knows."""
    print(json.dumps(plain(data), indent=1, ensure_ascii=False))


def say(text: str) -> None:
    """A line of progress or advice, on stderr; a reader that went away does not stop the work."""
    try:
        print(shown(text, LONGEST), file=sys.stderr, flush=True)
    except OSError:
        pass


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], numeric: Sequence[int] = (), title: str = "") -> None:
    """Print a table to stdout: folded to the terminal's width, or one line a row where there is no terminal.

    Other people's text is shown, never interpreted as markup or as control codes.
    """
    cells = [[shown(cell).replace("\n", " ") for cell in row] for row in rows]
    if not sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
        for row in ([title] if title else []), columns, *cells:
            padded = (
                c.rjust(w) if i in numeric else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=False))
            )
            if line := "   ".join(padded).rstrip():
                print(line)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(
        title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 1)
    )
    for i, name in enumerate(columns):
        right = i in numeric
        drawn.add_column(name, justify="right" if right else "left", header_style="dim", overflow="fold", no_wrap=right)
    for row in cells:
        drawn.add_row(*map(Text, row))
    Console().print(drawn)


def definitions(entries: Sequence[tuple[str, str, str]]) -> None:
    """Print names with what they mean, and a line of detail below, to stdout; folded to the terminal's width."""
    import shutil
    import textwrap

    width = min(shutil.get_terminal_size((100, 24)).columns, 120)
    left = max((len(name) for name, _, _ in entries), default=0) + 2
    dim, plain_again = ("\x1b[2m", "\x1b[0m") if sys.stdout.isatty() else ("", "")
    for name, meaning, detail in entries:
        lines = textwrap.wrap(shown(meaning, 400), max(20, width - left)) or [""]
        print(f"{name:<{left}}{lines[0]}")
        for line in lines[1:]:
            print(" " * left + line)
        for line in textwrap.wrap(detail, max(20, width - left), break_long_words=False):
            print(f"{' ' * left}{dim}{line}{plain_again}")


def measured(value: float, ends: Sequence[float] | None, percent: bool = False) -> str:
    """`98.9 % (97.2 to 99.6)`.

    >>> measured(0.9889, (0.972, 0.996), percent=True), measured(0.0512, None)
    ('98.89 % (97.20 to 99.60)', '0.0512')
    """
    text = f"{100 * value:.2f} %" if percent else f"{value:.4g}"
    return text if ends is None else f"{text} ({interval(ends, percent)})"


def interval(ends: Sequence[float] | None, percent: bool = False) -> str:
    """`97.2 to 99.6`; nothing where there is none."""
    if ends is None:
        return ""
    scale, form = (100.0, ".2f") if percent else (1.0, ".4g")
    return f"{scale * ends[0]:{form}} to {scale * ends[1]:{form}}"


def duration(seconds: float) -> str:
    """`1 min 12 s`.

    >>> duration(0.4), duration(72), duration(4000)
    ('0.4 s', '1 min 12 s', '1 h 6 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def plain(data: Any) -> Any:
    """JSON data with nothing in it that a strict reader refuses."""
    if isinstance(data, float):
        return data if data == data and abs(data) != float("inf") else None
    if isinstance(data, Mapping):
        return {str(k): plain(v) for k, v in data.items()}
    if isinstance(data, list | tuple):
        return [plain(v) for v in data]
    return data if data is None or isinstance(data, bool | int | float | str) else str(data)
