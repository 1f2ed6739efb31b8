"""All that an audit says about one model, as plain frozen data: what `audit.json` holds and the report shows."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sonde.core.errors import SondeError
from sonde.report.facts import Score
from sonde.report.plain import from_plain, to_plain

FORMAT = 1
Outcome = Literal["done", "partial", "refused", "failed"]


@dataclass(frozen=True)
class Drawn:
    """A figure, as SVG. `caption` says what there is to see."""

    name: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Sheet:
    """A table of texts and numbers; an empty cell is None."""

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Section:
    """What came of one audit.

    `name` is what `--only` calls it, `topic` the part of the audit it stands in, `title` what it measures in a line.
    `outcome` is `partial` where time ran out or it failed midway; `reason` says why it was not done. `command` is what
    it was run by. `headlines` names the measures that stand for it at a glance.
    """

    name: str
    topic: str
    title: str
    settings: Mapping[str, Any]
    outcome: Outcome
    reason: str
    seconds: float
    measures: tuple[Score, ...] = ()
    figures: tuple[Drawn, ...] = ()
    tables: tuple[Sheet, ...] = ()
    command: str = ""
    headlines: tuple[str, ...] = ()

    @property
    def found(self) -> bool:
        """Whether it has anything to show."""
        return bool(self.measures or self.figures or self.tables)


@dataclass(frozen=True)
class Verdict:
    """A threshold and whether it is kept. `value` is None where the measure was not had; `note` says why, or more."""

    measure: str
    wanted: str
    holds: bool
    value: float | None = None
    interval: tuple[float, float] | None = None
    note: str = ""


@dataclass(frozen=True)
class Change:
    """A measure in the audit of another run (`before`) and in this one (`after`).

    `verdict`: `better` or `worse` where chance in the choice of the rows can be ruled out at 5 % for all measures
    compared (see `sonde.paired`), else `not told apart`; `changed` where neither way is better. `interval` (95 %, of
    after less before) and `p` are this measure's by itself; `how` names the method. None where there is no evidence.
    """

    measure: str
    before: float
    after: float
    verdict: Literal["better", "worse", "not told apart", "changed"]
    interval: tuple[float, float] | None = None
    p: float | None = None
    how: str = ""


@dataclass(frozen=True)
class AuditFacts:
    """One audit of one model, told to a reader; texts name no person, host or home folder.

    `title` is the run's name, `fingerprint` that of the data, `rows` those of each split. `budget` is in seconds.
    `complete` is False where the audit was interrupted. `baseline` names the run that `changes` compare with;
    `same_data` is False where that one was measured on other data, so that the numbers do not compare.
    """

    title: str
    created: str
    command: str
    version: str
    task: Literal["classification", "multilabel", "regression"]
    fingerprint: str
    rows: Mapping[str, int]
    seed: int
    seconds: float
    complete: bool
    budget: float | None = None
    sections: tuple[Section, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    baseline: str = ""
    same_data: bool = True
    changes: tuple[Change, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def measures(self) -> dict[str, Score]:
        """Every measure by its name."""
        return {m.name: m for s in self.sections for m in s.measures}

    @property
    def holds(self) -> bool:
        """Whether every threshold is kept."""
        return all(v.holds for v in self.verdicts)

    @property
    def page(self) -> str:
        """The audit as an HTML page of its own, as text to be written in UTF-8."""
        from sonde.report.html import render_audit

        return render_audit(self)

    def save(self, path: str | Path) -> Path:
        """Write the audit as a page (`.html`) or as JSON (`.json`), whole or not at all; a file of that name goes.

        Raises SondeError for another ending, or where it cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() not in (".html", ".json"):
            raise SondeError(f"{path.name} is neither .html nor .json", "give the file one of these endings")
        html = path.suffix.lower() == ".html"
        text = self.page if html else json.dumps(self.to_data(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        fresh = path.with_name(f".{path.name}.tmp")
        try:
            fresh.write_text(text, encoding="utf-8")
            os.replace(fresh, path)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise SondeError(f"{path} cannot be written: {error.strerror}", "give another path") from None
        return path

    def to_data(self) -> dict[str, Any]:
        """As dicts and lists for JSON, where NaN is {"float": "nan"}."""
        data: dict[str, Any] = to_plain(self, "audit")
        return data

    @classmethod
    def from_data(cls, data: Any) -> AuditFacts:
        """What `to_data` wrote. Raises SondeError naming a field that is missing, unknown or of another type."""
        return from_plain(cls, data, "audit")
