"""The atlas as pages: an index by chapters of the entry, and a page for each experiment that was conducted.

No scripts, nothing loaded from elsewhere, every value escaped; figures are files beside the pages, shown as images,
in which nothing runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sonde.report import atlas_facts as facts
from sonde.report import layout, words
from sonde.report.html import date, template

ROWS = 200  # of a table on a page; result.json has all
TONES = {facts.HOLDS: "good", facts.ACROSS: "near", facts.REFUTED: "warn", facts.FAILED: "fail"}
INDEX = "index.html"
PLANNED = "not run yet"


def pages(atlas: facts.Atlas) -> Iterator[tuple[str, str]]:
    """File names and texts. A function of the facts alone."""
    done = [e for e in atlas.entries if isinstance(e, facts.Conducted)]
    yield (
        INDEX,
        template("atlas_index.html.jinja").render(
            atlas=atlas,
            created=date(atlas.created),
            counts=_counts(atlas.entries),
            chapters=_chapters(atlas),
            empty=[c for c in atlas.chapters if not any(e.chapter == c for e in atlas.entries)],
        ),
    )
    around: Sequence[facts.Conducted | None] = [None, *done, None]
    for before, one, after in zip(around, done, around[2:], strict=False):
        yield file_of(one), _page(atlas, one, before, after)


def file_of(entry: facts.Conducted) -> str:
    """The name of an experiment's page; index.html is taken."""
    name = facts.slug(entry.name)
    return f"{name}-experiment.html" if name == "index" else f"{name}.html"


def _page(
    atlas: facts.Atlas, one: facts.Conducted, before: facts.Conducted | None, after: facts.Conducted | None
) -> str:
    return template("atlas_page.html.jinja").render(
        one=one,
        number=atlas.chapters.index(one.chapter) + 1,
        tone=TONES.get(one.verdict, "open"),
        created=date(one.created),
        checks=[_check(c) for c in one.checks],
        shown=[_shown(one, f) for f in one.found if f.figure or f.table],
        scores=[layout.score_row(f.score) for f in one.found if f.score],
        before=_link(before),
        after=_link(after),
    )


@dataclass(frozen=True)
class Link:
    """A neighbouring page."""

    file: str
    name: str
    claim: str


def _link(one: facts.Conducted | None) -> Link | None:
    return None if one is None else Link(file_of(one), one.name, one.claim)


# ---------------------------------------------------------------- the index
def _counts(entries: Sequence[facts.Conducted | facts.Planned]) -> list[tuple[int, str, str]]:
    """How many experiments have each verdict, the verdict of one or of several, and its tone; none is left out."""
    verdicts = [e.verdict if isinstance(e, facts.Conducted) else PLANNED for e in entries]
    order = (
        (facts.HOLDS, "hold", "good"),
        (facts.ACROSS, "hold, but an interval reaches across its bound", "near"),
        (facts.REFUTED, "do not hold", "warn"),
        (facts.FAILED, "failed", "fail"),
        (facts.UNFINISHED, "not finished", "open"),
        (PLANNED, PLANNED, "open"),
    )
    counted = [(verdicts.count(one), one, several, tone) for one, several, tone in order]
    return [(n, one if n == 1 else several, tone) for n, one, several, tone in counted if n]


def roughly(seconds: float) -> str:
    """An estimate of time.

    >>> roughly(4), roughly(150), roughly(4000)
    ('4 s', '3 min', '1.1 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{math.ceil(seconds / 60)} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True)
class Chapter:
    """A chapter of the entry that has experiments. number: of the chapter."""

    number: int
    title: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Item:
    """An experiment as the index names it. file: its page, or empty; picture: its first figure, or empty."""

    name: str
    claim: str
    source: str
    verdict: str
    tone: str
    file: str = ""
    picture: str = ""
    alt: str = ""
    checks: tuple[Line, ...] = ()
    more: int = 0
    note: str = ""
    command: str = ""


def _chapters(atlas: facts.Atlas) -> list[Chapter]:
    out = []
    for number, title in enumerate(atlas.chapters, 1):
        items = tuple(_item(e) for e in atlas.entries if e.chapter == title)
        if items:
            out.append(Chapter(number, title, items))
    return out


def _item(entry: facts.Conducted | facts.Planned, most: int = 3) -> Item:
    if isinstance(entry, facts.Planned):
        needs = f"; needs {', '.join(entry.data)}" if entry.data else ""
        note = f"Takes about {roughly(entry.seconds)}{needs}."
        return Item(entry.name, entry.claim, entry.source, PLANNED, "open", note=note, command=entry.command)
    lines = tuple(_check(c) for c in entry.checks)
    first = entry.figures[0] if entry.figures else None
    return Item(
        name=entry.name,
        claim=entry.claim,
        source=entry.source,
        verdict=entry.verdict,
        tone=TONES.get(entry.verdict, "open"),
        file=file_of(entry),
        picture=facts.figure_path(entry.name, first) if first else "",
        alt=first.caption if first else "",
        checks=lines[:most],
        more=max(0, len(lines) - most),
        note=" ".join([*([entry.failure.cause] if entry.failure else []), *entry.notes]),
    )


# ---------------------------------------------------------------- a check
@dataclass(frozen=True)
class Line:
    """A check in words, and where its numbers lie on a line from 0 to 100 %."""

    label: str
    value: str
    interval: str
    wanted: str
    published: str
    published_in: str
    n: int
    split: str
    source: str
    settings: str
    verdict: str
    tone: str
    track: Track | None


@dataclass(frozen=True)
class Track:
    """Positions in per cent: the value, its interval, the claim's range, the published number. low, high: the ends."""

    value: float
    ends: tuple[float, float] | None
    zone: tuple[float, float]
    published: float | None
    low: str
    high: str


def _check(c: facts.Checked) -> Line:
    s, percent = c.score, c.score.percent

    def said(value: float) -> str:
        return _said(value, s.unit, percent)

    row = layout.score_row(s)
    return Line(
        label=row["label"],
        value=row["value"],
        interval=row["interval"],
        wanted=_wanted(c.at_least, c.at_most, said),
        published="" if c.published is None else said(c.published),
        published_in=c.published_in,
        n=s.n,
        split=s.split,
        source=s.source,
        settings=_settings(s.settings),
        verdict=c.verdict,
        tone=TONES.get(c.verdict, "open"),
        track=_track(c, said),
    )


def _said(value: float, unit: str, percent: bool) -> str:
    """A number that somebody set or printed, with the digits that it was given, up to five; whole ones up to six."""
    if not math.isfinite(value):
        return words.number(value)
    shown = 100 * value if percent else value
    text = f"{shown:.6g}" if shown == int(shown) else f"{shown:.5g}"
    text = words.number(int(text)) if text.lstrip("-").isdigit() else text.replace("e-0", "e-").replace("-", "−")
    if percent:
        return f"{text}{words.THIN}%"
    return text + (f"{words.THIN}{words.shown(unit, 24)}" if unit not in ("", "1") else "")


def _wanted(low: float | None, high: float | None, said: Any) -> str:
    if low is not None and high is not None:
        if said(low) == said(high):
            return f"exactly {said(low)}" if low == high else f"{said(low)} up to rounding"
        return f"{said(low)} to {said(high)}"
    if low is not None:
        return f"at least {said(low)}"
    return f"at most {said(high)}" if high is not None else ""


def _settings(settings: Mapping[str, Any]) -> str:
    return "; ".join(f"{k.replace('_', ' ')} {words.raw(v)}" for k, v in settings.items())


def _track(c: facts.Checked, said: Any) -> Track | None:
    """The line on which the numbers of a check lie; None where there is nothing to see: no number, or a single one."""
    s = c.score
    named = [s.value, *(s.interval or ()), *(v for v in (c.at_least, c.at_most, c.published) if v is not None)]
    if not all(map(math.isfinite, named)):
        return None
    low, high = min(named), max(named)
    if not high - low > 1e-5 * max(abs(high), abs(low)):
        return None
    edge = 0.08 * (high - low)
    low, high = low - edge, high + edge
    if s.percent:
        low, high = max(0.0, low), min(1.0, high)

    def at(value: float) -> float:
        return round(100 * min(1.0, max(0.0, (value - low) / (high - low))), 2)

    zone = (0.0 if c.at_least is None else at(c.at_least), 100.0 if c.at_most is None else at(c.at_most))
    ends = None if s.interval is None else (at(s.interval[0]), at(s.interval[1]))
    published = None if c.published is None else at(c.published)
    ends_ = (100 * low, 100 * high) if s.percent else (low, high)
    places = words.places_for(ends_) if high - low > 1e-4 else None
    unit = f"{words.THIN}%" if s.percent else ""
    first, last = (words.number(float(v), places) + unit for v in ends_)
    return Track(at(s.value), ends, zone, published, first, last)


# ---------------------------------------------------------------- figures and tables
@dataclass(frozen=True)
class Shown:
    """A figure (its file in the site) or a table (texts, and which columns hold numbers)."""

    caption: str
    file: str = ""
    columns: tuple[str, ...] = ()
    numeric: tuple[bool, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    left_out: int = 0


def _shown(one: facts.Conducted, found: facts.Found) -> Shown:
    if found.figure:
        return Shown(found.figure.caption, facts.figure_path(one.name, found.figure))
    table = found.table or facts.Tabled("", "", (), ())
    columns = [[row[i] for row in table.rows[:ROWS]] for i in range(len(table.columns))]
    numeric = tuple(all(_numeric(cell) for cell in column) for column in columns)
    texts = [
        _column(column) if plain else list(map(_cell, column)) for column, plain in zip(columns, numeric, strict=True)
    ]
    left_out = max(0, len(table.rows) - ROWS)
    rows = tuple(zip(*texts, strict=True))
    return Shown(table.caption, columns=table.columns, numeric=numeric, rows=rows, left_out=left_out)


def _column(cells: Sequence[Any]) -> list[str]:
    """Numbers below each other with the same decimals, unless they are of very different size."""
    sizes = [abs(c) for c in cells if isinstance(c, float) and c and math.isfinite(c)]
    texts = [_cell(c) for c in cells]
    if not sizes or max(sizes) > 1e4 * min(sizes) or any("e" in t for t in texts):
        return texts
    places = max(len(t.partition(".")[2]) for t, c in zip(texts, cells, strict=True) if isinstance(c, float))
    return [words.number(c, places) if isinstance(c, float) else t for t, c in zip(texts, cells, strict=True)]


def _numeric(cell: Any) -> bool:
    return cell is None or isinstance(cell, int | float) and not isinstance(cell, bool)


def _cell(cell: Any) -> str:
    if cell is None or isinstance(cell, float) or isinstance(cell, int) and not isinstance(cell, bool):
        return words.number(cell)
    return words.raw(cell)
