"""What the page shows of an audit: its verdicts first, then topic by topic the numbers, the figures and the tables."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sonde.report import words
from sonde.report.audit import AuditFacts, Change, Drawn, Section, Sheet, Verdict
from sonde.report.facts import Score, Unmeasured
from sonde.report.layout import Part, score_row

TITLES = {
    "quality": "Quality",
    "calibration": "Calibration",
    "fairness": "Fairness",
    "robustness": "Robustness",
    "privacy": "Privacy",
    "explain": "Explanations",
    "energy": "Energy",
}
_NUMERIC = re.compile(r"[-−+]?[\d.,]+( ?%)?( to [-−+]?[\d.,]+( ?%)?)?")
OUTCOMES = {"partial": "measured in part", "refused": "not measured", "failed": "failed"}


def view(audit: AuditFacts, above: Collection[str] = ()) -> dict[str, Any]:
    """The parts of the section, in their order. above: figures and tables whose like the page shows before it."""
    measures = audit.measures
    return {
        "facts": audit,
        "count": sum(not math.isnan(m.value) for m in measures.values()),
        "commands": [c for c in dict.fromkeys(s.command for s in audit.sections) if c],
        "verdicts": [_verdict(v, measures.get(v.measure)) for v in sorted(audit.verdicts, key=lambda v: v.holds)],
        "kept": sum(v.holds for v in audit.verdicts),
        "changes": Part.of([_change(c, measures.get(c.measure)) for c in _telling(audit.changes)]),
        "unchanged": sum(c.verdict == "not told apart" for c in audit.changes),
        "glance": [_glance(s, measures) for s in audit.sections if s.headlines],
        "topics": [_topic(name, audit, above) for name in dict.fromkeys(s.topic for s in audit.sections)],
        "missing": _missing(audit.sections),
    }


def verdict(audit: AuditFacts) -> str:
    """The whole audit in a sentence: its first number, and whether the thresholds are kept."""
    first = next((m for m in audit.measures.values() if not math.isnan(m.value)), None)
    said = "Nothing was measured."
    if first is not None:
        row = score_row(first)
        ends = f" (95 % interval {row['interval']})" if row["interval"] else ""
        said = f"{row['label']} {row['value']} on {first.n:,} {first.split} rows{ends}."
    lost = sum(not v.holds for v in audit.verdicts)
    if audit.verdicts:
        said += f" {lost} of {len(audit.verdicts)} thresholds not kept." if lost else " All thresholds kept."
    return said


def _missing(sections: Sequence[Section]) -> list[dict[str, Any]]:
    """What was not measured, or in part, and why; those of one reason together."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for s in sections:
        if s.outcome != "done":
            by_reason.setdefault((OUTCOMES[s.outcome], s.reason), []).append((s.title or s.name).rstrip("."))
    return [{"names": names, "how": how, "reason": reason} for (how, reason), names in by_reason.items()]


def probability(p: float) -> str:
    """`p = 0.012`, `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def still_unmeasured(unmeasured: Sequence[Unmeasured], audit: AuditFacts) -> tuple[Unmeasured, ...]:
    """What the run's page calls not measured, less the topics on which the audit has numbers."""
    had = {TITLES.get(s.topic, s.topic) for s in audit.sections if s.measures}
    return tuple(u for u in unmeasured if u.name not in had)


def _topic(name: str, audit: AuditFacts, above: Collection[str]) -> dict[str, Any]:
    mine = [s for s in audit.sections if s.topic == name and s.found]
    return {
        "name": TITLES.get(name, name.capitalize()),
        "word": TITLES.get(name, name).lower(),
        "id": _anchor(name),
        "audits": [_audit(s, above) for s in mine],
    }


def _anchor(*names: str) -> str:
    """A place on the page; of a name that no audit of Sonde has, only its letters."""
    return "-".join(["audit", *("".join(c for c in name.lower() if "a" <= c <= "z" or c == "_") for name in names)])


def _glance(section: Section, measures: Mapping[str, Score]) -> dict[str, Any]:
    """The measures that stand for an audit."""
    return {
        "topic": TITLES.get(section.topic, section.topic.capitalize()),
        "id": _anchor(section.topic, section.name),
        "rows": [_measure(measures[name]) for name in section.headlines if name in measures],
    }


def _audit(section: Section, above: Collection[str]) -> dict[str, Any]:
    return {
        "id": _anchor(section.topic, section.name),
        "title": section.title or section.name,
        "settings": ", ".join(f"{k.replace('_', ' ')} {words.raw(v)}" for k, v in list(section.settings.items())[:12]),
        "partial": section.reason if section.outcome == "partial" else "",
        "rows": Part.of([_measure(s) for s in section.measures]),
        "figures": [_figure(f) for f in section.figures if f.name not in above],
        "tables": [_table(t) for t in section.tables if t.name not in above],
        "seconds": section.seconds,
    }


def _measure(score: Score) -> dict[str, Any]:
    """A line of the measures; for one that was left out, why."""
    spaced = {key.replace("_", " "): value for key, value in score.settings.items()}
    return {**score_row(replace(score, settings=spaced)), "omitted": score.settings.get("omitted", "")}


def _figure(drawn: Drawn) -> dict[str, str]:
    """As an image, so that nothing in the drawing can act on the page."""
    return {"caption": drawn.caption, "data": base64.b64encode(drawn.svg.encode()).decode()}


def _table(sheet: Sheet) -> dict[str, Any]:
    """The cells of a column to as many decimals as its most precise number; numbers and intervals to the right."""
    columns = [[row[i] for row in sheet.rows] for i in range(len(sheet.columns))]
    numeric = [any(map(_counts, c)) and all(v in (None, "") or _counts(v) for v in c) for c in columns]
    numeric[:1] = [any(map(_is_number, columns[0]))] if columns else []  # names to the left, even of digits
    cells = [_cells(c) for c in columns]
    rows = Part.of([list(row) for row in zip(*cells, strict=True)])
    return {"caption": sheet.caption, "columns": sheet.columns, "numeric": numeric, "rows": rows}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _counts(value: Any) -> bool:
    """Whether a cell holds a number, or a text that is one with an interval or a share."""
    return _is_number(value) or isinstance(value, str) and bool(_NUMERIC.fullmatch(value))


def _cells(column: Sequence[Any]) -> list[Any]:
    floats = [v for v in column if isinstance(v, float) and math.isfinite(v)]
    plain = all(v == 0 or 1e-4 <= abs(v) < 1e6 for v in floats)
    places = max((len(words.number(v).partition(".")[2]) for v in floats), default=0) if plain else None
    if places is not None and any(abs(v) >= 0.1 for v in floats):
        places = min(places, 4)
    return [
        words.number(v, places) if isinstance(v, float) else words.number(v) if _is_number(v) else v for v in column
    ]


def _verdict(verdict: Verdict, score: Score | None) -> dict[str, Any]:
    shown = score_row(score) if score is not None else {"label": verdict.measure, "value": "", "interval": ""}
    return {
        "holds": verdict.holds,
        "label": shown["label"],
        "name": verdict.measure,
        "wanted": verdict.wanted,
        "value": shown["value"] if verdict.value is not None else "not measured",
        "interval": shown["interval"],
        "note": verdict.note,
    }


def _telling(changes: Sequence[Change]) -> list[Change]:
    order = {"worse": 0, "better": 1, "changed": 2}
    return sorted((c for c in changes if c.verdict in order), key=lambda c: order[c.verdict])


def _change(change: Change, score: Score | None) -> dict[str, Any]:
    percent, unit = (score.percent, score.unit) if score else (False, "1")
    difference = change.after - change.before
    sign = "+" if difference > 0 else ""
    return {
        "label": score.label if score else change.measure,
        "before": words.measured(change.before, unit, percent),
        "after": words.measured(change.after, unit, percent),
        "difference": sign + words.measured(difference, unit, percent, change.interval),
        "interval": words.ends(change.interval, percent),
        "verdict": change.verdict,
        "how": "" if change.p is None else probability(change.p),
    }
