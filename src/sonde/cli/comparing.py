"""`sonde compare`: runs side by side, their audits row by row, and where their recipes differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sonde.cli.text import emit_json, interval, measured, say, table
from sonde.cli.words import Misused
from sonde.names import squash
from sonde.report.audit import AuditFacts, Change
from sonde.report.audited import probability
from sonde.report.facts import Score
from sonde.report.plain import to_plain
from sonde.runs import RunFolder


def compare(names: Sequence[str], root: Path, json: bool) -> None:
    """Measures side by side, which differences are more than chance, and the entries in which the recipes differ.

    Two runs that were audited are compared by their audits, on the same test rows in pairs; others by whether the
    intervals of their reports overlap.
    """
    if len(names) < 2:
        raise Misused("compare needs two runs or more", "give their names: sonde compare first second")
    folders = [RunFolder.find(n, root) for n in names]
    facts = [f.read("report.json") for f in folders]
    same_data = len({f["data"]["fingerprint"] for f in facts}) == 1
    recipes = [_flat(f.read("recipe.json")) for f in folders]
    paths = list(dict.fromkeys(k for r in recipes for k in r))
    different = {p: [r.get(p) for r in recipes] for p in paths if len({str(r.get(p)) for r in recipes}) > 1}
    measures = []
    for name in [m["name"] for m in facts[0]["measures"]]:
        found = [m for f in facts for m in f["measures"] if m["name"] == name]
        if len(found) == len(facts):
            measures.append((name, found, _verdict(found, [f.name for f in folders]) if same_data else ""))
    audits = _audits(folders)
    if json:
        shown = {"differences": [to_plain(c) for c in audits.changes]} if audits is not None else {}
        values = [{"name": n, "values": found, "verdict": verdict} for n, found, verdict in measures]
        runs = [f.name for f in folders]
        emit_json({"runs": runs, "same_data": same_data, "measures": values, "recipes": different, **shown})
        return
    if not same_data:
        say("these runs were measured on different data: their numbers do not compare")
    if audits is not None:
        audits.show()
    else:
        _reports(measures, folders)
        if same_data and len(folders) == 2:
            bare = [f.name for f in folders if not f.has("audit.json")]
            if bare:
                say("a test of the same rows in pairs needs audits: " + ", ".join(f"sonde audit {n}" for n in bare))
    if different:
        print()
        cells = [[p, *("—" if v is None else v for v in values)] for p, values in different.items()]
        table(["where the recipes differ", *(f.name for f in folders)], cells)


class Audits:
    """Two audits of the same rows, side by side."""

    def __init__(self, first: AuditFacts, second: AuditFacts, changes: Sequence[Change]) -> None:
        self.first, self.second, self.changes = first, second, changes

    def show(self) -> None:
        """A line for each measure that both have, by topic; then which run is better at what, in words."""
        by_name = {c.measure: c for c in self.changes}
        heads = ["", self.first.title, self.second.title, "difference", "95 % interval", "", ""]
        rows: list[list[str]] = []
        for section in dict.fromkeys(s.topic for s in self.second.sections):
            scores = [m for s in self.second.sections if s.topic == section for m in s.measures if m.name in by_name]
            if scores:
                rows.append([section.upper(), *[""] * (len(heads) - 1)])
                rows += [self._row(m, by_name[m.name]) for m in scores]
        table(heads, rows, numeric=(1, 2, 3, 4))
        if any(c.how for c in self.changes):
            say("\nmeans over rows are compared on the same rows in pairs, all else by its two intervals; a run is")
            say("called better where that holds for all measures at once (Holm, 1979: the pairs, and the others)")

    def _row(self, score: Score, change: Change) -> list[str]:
        difference = change.after - change.before
        text = ("+" if difference > 0 else "") + measured(difference, None, score.percent)
        better = self.second.title if change.verdict == "better" else self.first.title
        verdict = f"{better} is better" if change.verdict in ("better", "worse") else change.verdict
        p = "" if change.p is None else probability(change.p)
        return [
            score.label or score.name,
            measured(change.before, None, score.percent),
            measured(change.after, None, score.percent),
            text,
            interval(change.interval, score.percent),
            p,
            verdict,
        ]


def _audits(folders: Sequence[RunFolder]) -> Audits | None:
    """The audits of two runs of the same data that were both audited; None for others."""
    from sonde import paired
    from sonde.audited import read_audit

    if len(folders) != 2 or not all(f.has("audit.json") for f in folders):
        return None
    first, second = map(read_audit, folders)
    if first.fingerprint != second.fingerprint:
        return None
    old, new = (paired.read(f.path, a.fingerprint) for f, a in zip(folders, (first, second), strict=True))
    return Audits(first, second, paired.changes(first, second, old, new))


def _reports(measures: Sequence[Any], folders: Sequence[RunFolder]) -> None:
    rows: list[list[str]] = []
    for name, found, verdict in measures:
        for i, (folder, m) in enumerate(zip(folders, found, strict=True)):
            label = "" if i else m.get("label") or name
            percent = bool(m.get("percent"))
            last = i == len(folders) - 1
            value = measured(m["value"], None, percent)
            rows.append([label, folder.name, value, interval(m["interval"], percent), verdict if last else ""])
    table(["test", "run", "value", "95 % interval", ""], rows, numeric=(2, 3))


def _verdict(found: Sequence[Any], names: Sequence[str]) -> str:
    """Which run is better, where their intervals are apart."""
    if any(m["interval"] is None for m in found) or found[0]["better"] not in ("higher", "lower"):
        return ""
    order = sorted(range(len(found)), key=lambda i: found[i]["value"], reverse=found[0]["better"] == "higher")
    best, rest = found[order[0]], [found[i] for i in order[1:]]
    overlap = any(
        max(best["interval"][0], m["interval"][0]) <= min(best["interval"][1], m["interval"][1]) for m in rest
    )
    return "intervals overlap" if overlap else f"{names[order[0]]} is better"


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {k2: v2 for k, v in value.items() for k2, v2 in _flat(v, f"{path}.{k}" if path else str(k)).items()}
    if isinstance(value, list) and any(isinstance(v, Mapping | list) for v in value):
        return {k: v for i, item in enumerate(value) for k, v in _flat(item, f"{path}.{_item(i, item)}").items()}
    return {path: value}


def _item(position: int, item: Any) -> str:
    """What `--set` calls an item of a list."""
    built = isinstance(item, Mapping) and "build" in item
    return squash(str(item["build"]).partition(":")[2]) if built else str(position)
