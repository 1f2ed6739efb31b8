"""What a person asks of an audit: bounds on measures, from a TOML file, and whether they are kept.

    [quality]
    accuracy = { at_least = 0.97 }

    [fairness.sex]
    equal_opportunity_difference = { at_most = 0.05, certain = true }

The tables' names and the key make the measure's name, `fairness/sex/equal_opportunity_difference`. `certain` asks that
the whole 95 % interval keeps the bound, not the value alone.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonde.core.errors import SondeError
from sonde.names import did_you_mean

if TYPE_CHECKING:
    from sonde.report.audit import AuditFacts, Verdict
    from sonde.report.facts import Score

OPTIONS = ("at_least", "at_most", "certain")
EXAMPLE = "write e.g. accuracy = { at_least = 0.97 } under [quality]"


@dataclass(frozen=True)
class Threshold:
    """A bound on one measure, in its unit. certain: the whole interval must keep it."""

    measure: str
    at_least: float | None = None
    at_most: float | None = None
    certain: bool = False

    def __str__(self) -> str:
        bounds = [f"{word} {end:g}" for word, end in (("at least", self.at_least), ("at most", self.at_most)) if
                  end is not None]  # fmt: skip
        return " and ".join(bounds) + (", with its whole interval" if self.certain else "")

    def keeps(self, value: float) -> bool:
        """Whether a number is within the bound; NaN never is."""
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return low <= value <= high


def read(path: Path) -> tuple[Threshold, ...]:
    """The thresholds of a TOML file. Raises SondeError naming the file and the entry."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SondeError(f"there is no file {path}", EXAMPLE) from None
    except OSError as error:
        raise SondeError(f"{path} cannot be read: {error.strerror}", "give a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SondeError(f"{path} is not TOML: {str(error)[:200]}", EXAMPLE) from None
    return of(data, str(path))


def of(data: Mapping[str, Any], source: str = "thresholds") -> tuple[Threshold, ...]:
    """The thresholds of nested tables: `{"quality": {"accuracy": {"at_least": 0.97}}}`, or with whole names as keys.

    source: what errors call them.
    """
    found = tuple(_thresholds(data, "", source))
    if not found:
        raise SondeError(f"{source} holds no threshold", EXAMPLE)
    twice = [t.measure for i, t in enumerate(found) if t.measure in {u.measure for u in found[:i]}]
    if twice:
        raise SondeError(f"{source}: {twice[0]} has two thresholds", "write both bounds in one: at_least and at_most")
    return found


def _thresholds(data: Mapping[str, Any], name: str, path: str) -> Iterator[Threshold]:
    for key, value in data.items():
        where = f"{name}/{key}" if name else key
        if not isinstance(value, dict):
            raise SondeError(f"{path}: {where} is {value!r}, not a bound", EXAMPLE)
        if value and not value.keys() & set(OPTIONS):
            yield from _thresholds(value, where, path)
            continue
        yield _threshold(value, where, path)


def _threshold(value: Mapping[str, Any], where: str, path: str) -> Threshold:
    if unknown := next((k for k in value if k not in OPTIONS), None):
        hint = did_you_mean(unknown, list(OPTIONS)) or f"its entries are {', '.join(OPTIONS)}"
        raise SondeError(f"{path}: {where} has no entry {unknown!r}", hint)
    bounds = {k: value[k] for k in ("at_least", "at_most") if k in value}
    if not bounds:
        raise SondeError(f"{path}: {where} has no bound", EXAMPLE)
    for key, bound in bounds.items():
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not math.isfinite(bound):
            raise SondeError(f"{path}: {where}.{key} is {bound!r}, not a number", EXAMPLE)
    certain = value.get("certain", False)
    if not isinstance(certain, bool):
        raise SondeError(f"{path}: {where}.certain is {certain!r}", "write certain = true, or leave it out")
    return Threshold(where, **{k: float(v) for k, v in bounds.items()}, certain=certain)


def judged(thresholds: tuple[Threshold, ...], audit: AuditFacts) -> tuple[Verdict, ...]:
    """Whether an audit keeps each threshold. One whose measure was not had is not kept: silence is no evidence."""
    return tuple(_judged(t, audit) for t in thresholds)


def _judged(threshold: Threshold, audit: AuditFacts) -> Verdict:
    from sonde.report.audit import Verdict

    found = audit.measures.get(threshold.measure)
    if found is None or math.isnan(found.value):
        return Verdict(threshold.measure, str(threshold), False, note=_why_not(threshold.measure, found, audit))
    ends = found.interval
    value = threshold.keeps(found.value)
    whole = value and (ends is None or all(threshold.keeps(end) for end in ends))
    note = ""
    if threshold.certain and ends is None:
        note = "there is no interval to be certain by"
    elif value and not whole:
        note = "its interval reaches across the bound"
    elif not value and ends is not None and (threshold.keeps(ends[0]) or threshold.keeps(ends[1])):
        note = "its interval reaches into the bound"
    holds = whole and ends is not None if threshold.certain else value
    return Verdict(threshold.measure, str(threshold), holds, found.value, ends, note)


def _why_not(name: str, found: Score | None, audit: AuditFacts) -> str:
    if found is not None:
        return f"not measured: {found.settings.get('omitted', 'it is not a number on these rows')}"
    near = did_you_mean(name, list(audit.measures))
    refused = [s for s in audit.sections if s.reason and s.topic == name.partition("/")[0]]
    if near:
        return f"there is no such measure; {near}"
    if refused:
        return f"not measured: {refused[0].name}: {refused[0].reason}"
    return "not measured: no audit gave it"
