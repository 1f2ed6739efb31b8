"""`sonde audit`: what a trained model is worth, measured and judged."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sonde import thresholds
from sonde.cli.process import keep_freed_memory
from sonde.cli.text import duration, emit_json, interval, measured, say, table
from sonde.cli.training import seconds
from sonde.cli.words import Misused, spoken
from sonde.core import Audit
from sonde.names import snake
from sonde.report.audit import AuditFacts
from sonde.runs import RunFolder, shareable

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
            budget=math.inf if given["budget"] is None else seconds(given["budget"]),
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


def _only(given: Sequence[str]) -> tuple[str, ...]:
    names = tuple(name.strip() for text in given for name in text.split(",") if name.strip())
    if given and not names:
        raise Misused("--only names no audit", "give topics or names: --only fairness,robustness")
    return names


class Watch:
    """A bar for every audit on a terminal; a line as each begins elsewhere."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._current: Audit | None = None

    def at(self, audit: Audit, share: float) -> None:
        """An audit is so far."""
        if self.quiet:
            return
        fresh, self._current = audit is not self._current, audit
        if not sys.stderr.isatty():
            if fresh:
                say(f"· {snake(type(audit).__name__)}")
            return
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            columns = TextColumn("{task.description:<28}"), BarColumn(), TimeElapsedColumn()
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("", total=1.0)
        if fresh:
            self._bar.reset(self._task, description=snake(type(audit).__name__))
        self._bar.update(self._task, completed=share)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def show(facts: AuditFacts, folder: RunFolder) -> None:
    """What a person reads: every measure by topic, what was not measured and why, the verdicts."""
    changed = {c.measure: c for c in facts.changes}
    headings = ["", "value", "95 % interval", "rows", *([f"{facts.baseline} had"] if changed else [])]
    rows: list[list[str]] = []
    for topic in dict.fromkeys(s.topic for s in facts.sections):
        lines = [m for s in facts.sections if s.topic == topic for m in s.measures]
        if not lines:
            continue
        rows.append([topic.upper(), *[""] * (len(headings) - 1)])
        for m in lines:
            row = [m.label or m.name, measured(m.value, None, m.percent), interval(m.interval, m.percent), f"{m.n:,}"]
            if changed:
                c = changed.get(m.name)
                row.append("" if c is None else f"{measured(c.before, None, m.percent)}  {c.verdict}")
            rows.append(row)
    if rows:
        table(headings, rows, numeric=(1, 2, 3))
    if missing := [s for s in facts.sections if s.outcome != "done"]:
        say("")
        for s in missing:
            say(f"· {s.name}: {'measured in part' if s.outcome == 'partial' else 'not measured'}: {s.reason}")
    if facts.verdicts:
        print()
        table(
            ["threshold", "wanted", "measured", ""],
            [
                [
                    v.measure,
                    v.wanted,
                    "—" if v.value is None else f"{v.value:.4g}",
                    ("kept" if v.holds else "NOT KEPT") + (f": {v.note}" if v.note else ""),
                ]
                for v in facts.verdicts
            ],
            numeric=(2,),
        )
    say(f"\naudited in {duration(facts.seconds)}")
    say(f"report  {shareable(folder.report)}")
    say(f"facts   {shareable(Path(folder.path) / 'audit.json')}")
