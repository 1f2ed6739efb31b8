"""Tables and numbers for a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from sonde.report.words import shown


def emit_json(data: Any) -> None:
    """Print JSON to stdout; NaN and infinities become null, which every reader knows."""
    print(json.dumps(_plain(data), indent=1, ensure_ascii=False))


def say(text: str) -> None:
    """A line of progress or advice, on stderr."""
    print(text, file=sys.stderr, flush=True)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], numeric: Sequence[int] = ()) -> None:
    """Print a table to stdout. Other people's text is shown, never interpreted as markup."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=160, soft_wrap=True)
    drawn = Table(title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2))
    for i, name in enumerate(columns):
        drawn.add_column(name, justify="right" if i in numeric else "left", header_style="dim", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(shown(cell)) for cell in row))
    console.print(drawn)


def measured(value: float, interval: Sequence[float] | None, percent: bool = False) -> str:
    """`98.9 % (97.2 to 99.6)`.

    >>> measured(0.9889, (0.972, 0.996), percent=True), measured(0.0512, None)
    ('98.89 % (97.20 to 99.60)', '0.0512')
    """
    scale, form, unit = (100.0, ".2f", " %") if percent else (1.0, ".4g", "")
    text = f"{scale * value:{form}}{unit}"
    if interval is not None:
        text += f" ({scale * interval[0]:{form}} to {scale * interval[1]:{form}})"
    return text


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


def _plain(data: Any) -> Any:
    if isinstance(data, float):
        return data if data == data and abs(data) != float("inf") else None
    if isinstance(data, Mapping):
        return {str(k): _plain(v) for k, v in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(v) for v in data]
    return data if data is None or isinstance(data, bool | int | str) else str(data)
