"""All that the atlas says about one experiment, as plain frozen data: its pages show it and compute nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sonde.report.facts import Score
from sonde.report.plain import from_plain, to_plain

HOLDS, ACROSS = "holds", "holds, but the interval reaches across the bound"
REFUTED, FAILED, UNFINISHED = "does not hold", "failed", "not finished"

State = Literal["running", "finished", "failed", "interrupted"]


def slug(name: str) -> str:
    """A name as that of a file.

    >>> slug("lecun_1989"), slug("../<b>")
    ('lecun_1989', 'b')
    """
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:80] or "unnamed"


@dataclass(frozen=True)
class Checked:
    """A measured number beside the range in which the claim holds, and what others published for the same quantity."""

    score: Score
    verdict: str
    at_least: float | None = None
    at_most: float | None = None
    published: float | None = None
    published_in: str = ""


@dataclass(frozen=True)
class Drawn:
    """A figure: `file` is its SVG beside the facts."""

    name: str
    caption: str
    file: str

    def __post_init__(self) -> None:
        if not self.file.endswith(".svg") or "/" in self.file or "\\" in self.file or self.file.startswith("."):
            raise ValueError(f"{self.file[:80]!r} is not the name of an SVG file beside the facts")


def figure_path(name: str, drawn: Drawn) -> str:
    """Where the site holds a figure of the experiment `name`, whose name it begins with."""
    own = f"{slug(name)}-"
    return f"figures/{drawn.file}" if drawn.file.startswith(own) else f"figures/{own}{drawn.file}"


@dataclass(frozen=True)
class Tabled:
    """Numbers side by side: a cell is a text, a number or None."""

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Found:
    """One finding: exactly one of these is given."""

    check: Checked | None = None
    score: Score | None = None
    figure: Drawn | None = None
    table: Tabled | None = None

    def __post_init__(self) -> None:
        if sum(kind is not None for kind in (self.check, self.score, self.figure, self.table)) != 1:
            raise ValueError("a finding is one of a check, a score, a figure and a table")


@dataclass(frozen=True)
class Failure:
    """Why an experiment ended before its end: a line of cause, and a line of what to do."""

    cause: str
    remedy: str


@dataclass(frozen=True)
class Conducted:
    """One conduct of one experiment. Texts are plain English; nothing names a person, a host or a home folder.

    about: paragraphs on it. terms: those of the entry that it shows. version: of the package; code: of the
    experiment's own file, a digest. created: ISO 8601. verdict: one of those above. notes: whole sentences.
    """

    name: str
    chapter: str
    claim: str
    source: str
    created: str
    command: str
    seed: int
    version: str
    code: str
    state: State = "running"
    verdict: str = UNFINISHED
    seconds: float = 0.0
    environment: Mapping[str, str] = field(default_factory=dict)
    found: tuple[Found, ...] = ()
    about: tuple[str, ...] = ()
    terms: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    failure: Failure | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        try:
            datetime.fromisoformat(self.created)
        except ValueError:
            raise ValueError(f"created is {self.created[:80]!r}, not an ISO 8601 date and time") from None

    @property
    def checks(self) -> tuple[Checked, ...]:
        """What was checked, in the order in which it was found."""
        return tuple(f.check for f in self.found if f.check is not None)

    @property
    def figures(self) -> tuple[Drawn, ...]:
        """What was drawn, in the order in which it was found."""
        return tuple(f.figure for f in self.found if f.figure is not None)

    def to_data(self) -> dict[str, Any]:
        """As dicts and lists for JSON, where NaN is {"float": "nan"}."""
        data: dict[str, Any] = to_plain(self, "result")
        return data

    @classmethod
    def from_data(cls, data: Any) -> Conducted:
        """What `to_data` wrote. Raises SondeError naming a field that is missing, unknown or of another type."""
        return from_plain(cls, data, "result")


@dataclass(frozen=True)
class Planned:
    """An experiment without a result: its claim, about how many seconds it takes, and the command that conducts it."""

    name: str
    chapter: str
    claim: str
    source: str
    seconds: float
    command: str
    data: tuple[str, ...] = ()


@dataclass(frozen=True)
class Atlas:
    """Everything that the site shows: entries in the order of its pages. created: ISO 8601."""

    chapters: tuple[str, ...]
    entries: tuple[Conducted | Planned, ...]
    created: str
    version: str
