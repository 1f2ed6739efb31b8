"""`sonde audit`: what a trained model is worth, measured and judged."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonde import thresholds
from sonde.auditing import catalogue, topic
from sonde.cli.process import keep_freed_memory
from sonde.cli.text import definitions, duration, emit_json, interval, measured, say, table
from sonde.cli.training import seconds
from sonde.cli.words import Misused, spoken
from sonde.names import Entry, snake, summary_of
from sonde.report.audit import AuditFacts, Change
from sonde.report.audited import probability
from sonde.report.facts import Score
from sonde.runs import RunFolder, shareable

if TYPE_CHECKING:
    from sonde.audited import Progress

FAILED = 3  # the exit code where a threshold is not kept


def command(given: Mapping[str, Any], words: Sequence[str]) -> int:
    """Run `sonde audit` with the options `given`, typed as `words`; its exit code."""
    from sonde.audited import audit_run

    bounds = () if given["thresholds"] is None else thresholds.read(given["thresholds"])
    keep_freed_memory()
    watch = Watch(given["quiet"])
    try:
        facts = audit_run(
            RunFolder.find(given["run"], given["output_dir"]),
            only=_only(given["only"]),
            thresholds=bounds,
            baseline=given["baseline"],
            budget=math.inf if given["budget"] is None else seconds(given["budget"], "--budget"),
            seed=given["seed"],
            output_dir=given["output_dir"],
            command=spoken(words),
            watch=watch.at,
        )
    except KeyboardInterrupt:
        watch.close()
        say("interrupted: what was found so far is in the run's audit.json")
        raise
    finally:
        watch.close()
    if given["json"]:
        emit_json(facts.to_data())
    else:
        show(facts, RunFolder.find(given["run"], given["output_dir"]))
    return 0 if facts.holds else FAILED


def listed(json: bool) -> None:
    """`sonde audits`: every audit by topic, what it measures and its settings."""
    found = [(topic(make), Entry(snake(make.__name__), make, summary_of(make))) for make in catalogue()]
    if json:
        emit_json([{"name": e.name, "topic": t, "options": e.signature, "summary": e.summary} for t, e in found])
        return
    for i, name in enumerate(dict.fromkeys(t for t, _ in found)):
        print(("\n" if i else "") + name.upper())
        definitions([(e.name, e.summary, e.signature) for t, e in found if t == name])
    say("\nrun some: sonde audit RUN --only quality,robustness")


def _only(given: Sequence[str]) -> tuple[str, ...]:
    names = tuple(name.strip() for text in given for name in text.split(",") if name.strip())
    if given and not names:
        raise Misused("--only names no audit", "give topics or names: --only fairness,robustness")
    return names


class Watch:
    """A bar for the audit that is running on a terminal; a line as each begins elsewhere."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._number = 0

    def at(self, progress: Progress) -> None:
        """An audit is so far."""
        if self.quiet:
            return
        fresh, self._number = progress.number != self._number, progress.number
        if not sys.stderr.isatty():
            if fresh:
                say(f"· {self._which(progress)}")
            return
        if self._bar is None:
            from rich import progress as bars
            from rich.console import Console

            columns = bars.TextColumn("{task.description:<36}"), bars.BarColumn(30), bars.TimeElapsedColumn()
            self._bar = bars.Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("", total=1.0)
        if fresh:
            self._bar.reset(self._task, description=self._which(progress))
        self._bar.update(self._task, completed=progress.share)

    def _which(self, progress: Progress) -> str:
        count = len(str(progress.count))
        return f"{progress.number:>{count}} of {progress.count}: {snake(type(progress.audit).__name__)}"

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def show(facts: AuditFacts, folder: RunFolder) -> None:
    """What a person reads: every measure by topic, what was not measured and why, the verdicts."""
    if not facts.same_data:
        say(f"{facts.baseline} was measured on other data: the numbers do not compare")
    changed = {c.measure: c for c in facts.changes if facts.same_data}
    headings = ["", "value", "95 % interval", "rows", *([f"{facts.baseline} had", ""] if changed else [])]
    rows: list[list[str]] = []
    for part in dict.fromkeys(s.topic for s in facts.sections):
        lines = [m for s in facts.sections if s.topic == part for m in s.measures]
        if not lines:
            continue
        rows.append([part.upper(), *[""] * (len(headings) - 1)])
        rows += [_row(m, changed) for m in lines]
    if rows:
        table(headings, rows, numeric=(1, 2, 3, 4))
    missing: dict[str, list[str]] = {}
    for s in facts.sections:
        if s.outcome != "done":
            how = "measured in part" if s.outcome == "partial" else "not measured"
            missing.setdefault(f"{how}: {s.reason}", []).append(s.name)
    for why, names in missing.items():
        say(f"· {', '.join(names)}: {why}")
    if facts.verdicts:
        print()
        percent = {name: m.percent for name, m in facts.measures.items()}
        table(
            ["threshold", "wanted", "measured", "verdict"],
            [
                [
                    v.measure,
                    v.wanted,
                    "—" if v.value is None else measured(v.value, None, percent.get(v.measure, False)),
                    ("kept" if v.holds else "NOT KEPT") + (f": {v.note}" if v.note else ""),
                ]
                for v in facts.verdicts
            ],
            numeric=(2,),
        )
    say(f"\naudited in {duration(facts.seconds)}")
    say(f"report  {shareable(folder.report)}")
    say(f"facts   {shareable(Path(folder.path) / 'audit.json')}")


def _row(m: Score, changed: Mapping[str, Change]) -> list[str]:
    omitted = math.isnan(m.value)
    value = "left out" if omitted else measured(m.value, None, m.percent)
    row = [m.label or m.name, value, interval(m.interval, m.percent), f"{m.n:,}"]
    if changed:
        c = changed.get(m.name)
        p = "" if c is None or c.p is None else f" ({probability(c.p)})"
        row += ["", ""] if c is None else [measured(c.before, None, m.percent), f"{c.verdict}{p}"]
    return row
