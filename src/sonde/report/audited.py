"""What the page shows of an audit: its verdicts first, then topic by topic the numbers, the figures and the tables."""

from __future__ import annotations

import base64
from collections.abc import Sequence
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
OUTCOMES = {"partial": "measured in part", "refused": "not measured", "failed": "failed"}


def view(audit: AuditFacts) -> dict[str, Any]:
    """The parts of the section, in their order."""
    measures = audit.measures
    return {
        "facts": audit,
        "verdicts": [_verdict(v, measures.get(v.measure)) for v in sorted(audit.verdicts, key=lambda v: v.holds)],
        "kept": sum(v.holds for v in audit.verdicts),
        "changes": Part.of([_change(c, measures.get(c.measure)) for c in _telling(audit.changes)]),
        "unchanged": sum(c.verdict == "not told apart" for c in audit.changes),
        "topics": [_topic(name, audit) for name in dict.fromkeys(s.topic for s in audit.sections)],
        "missing": [
            {"name": s.title or s.name, "how": OUTCOMES[s.outcome], "reason": s.reason}
            for s in audit.sections
            if s.outcome != "done"
        ],
    }


def still_unmeasured(unmeasured: Sequence[Unmeasured], audit: AuditFacts) -> tuple[Unmeasured, ...]:
    """What the run's page calls not measured, less the topics on which the audit has numbers."""
    had = {TITLES.get(s.topic, s.topic) for s in audit.sections if s.measures}
    return tuple(u for u in unmeasured if u.name not in had)


def _topic(name: str, audit: AuditFacts) -> dict[str, Any]:
    mine = [s for s in audit.sections if s.topic == name and (s.measures or s.figures or s.tables)]
    return {
        "name": TITLES.get(name, name.capitalize()),
        "id": f"audit-{len(name)}-{name}",
        "audits": [*map(_audit, mine)],
    }


def _audit(section: Section) -> dict[str, Any]:
    return {
        "title": section.title or section.name,
        "settings": ", ".join(f"{k} {words.raw(v)}" for k, v in list(section.settings.items())[:12]),
        "partial": section.reason if section.outcome == "partial" else "",
        "rows": Part.of([score_row(s) for s in section.measures]),
        "figures": [_figure(f) for f in section.figures],
        "tables": [_table(t) for t in section.tables],
        "seconds": section.seconds,
    }


def _figure(drawn: Drawn) -> dict[str, str]:
    """As an image, so that nothing in the drawing can act on the page."""
    return {"caption": drawn.caption, "data": base64.b64encode(drawn.svg.encode()).decode()}


def _table(sheet: Sheet) -> dict[str, Any]:
    numeric = [any(_is_number(row[i]) for row in sheet.rows) for i in range(len(sheet.columns))]
    rows = [[(words.number(c) if _is_number(c) else c) for c in row] for row in sheet.rows]
    return {"caption": sheet.caption, "columns": sheet.columns, "numeric": numeric, "rows": Part.of(rows)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


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
    return {
        "label": score.label if score else change.measure,
        "before": words.measured(change.before, unit, percent),
        "after": words.measured(change.after, unit, percent),
        "verdict": change.verdict,
    }
