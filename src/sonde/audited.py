"""The audit of a run: its model asked about its data, the findings kept as they come, and what they say as a report."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonde.auditing import chosen, subject_of, topic
from sonde.core import Audit, Audited, Measure, Recipe, SondeError, Subject, run_audits
from sonde.core.audit import INTERRUPTED
from sonde.names import snake, summary_of
from sonde.report.audit import AuditFacts, Change, Drawn, Section, Sheet
from sonde.report.facts import Score
from sonde.results import SHARES, label_of
from sonde.runs import RunFolder
from sonde.thresholds import Threshold, judged

if TYPE_CHECKING:
    from sonde.data import Dataset

FILE = "audit.json"
Watch = Callable[[Audit, float], None]


def audit_run(
    run: str | Path | RunFolder,
    data: Dataset | None = None,
    *,
    audits: Iterable[Audit] | None = None,
    only: Collection[str] = (),
    thresholds: tuple[Threshold, ...] = (),
    baseline: str | Path | RunFolder | None = None,
    budget: float = math.inf,
    seed: int = 0,
    own: Collection[Callable[..., Any]] = (),
    output_dir: str | Path = "runs",
    command: str = "",
    watch: Watch = lambda audit, share: None,
) -> AuditFacts:
    """Audit a finished run; `audit.json` and the report in its folder gain what is found, as it is found.

    data: the run's data, for one whose data came from memory. audits: those to run; by default all that there are, or
    those whose topic or name is in `only`; what does not fit the model says so. thresholds: bounds to judge by.
    baseline: a run audited before, to compare with. budget: seconds for all audits. own: constructors of yours that the
    model names.

    An interruption keeps what was found, and is passed on. Raises SondeError for what the user can mend.
    """
    from sonde.bundle import Bundle
    from sonde.training import environment

    folder = run if isinstance(run, RunFolder) else RunFolder.find(run, Path(output_dir))
    before = None if baseline is None else read_audit(baseline, Path(output_dir))
    if not folder.model.is_dir():
        raise SondeError(f"run {folder.name} has no model yet", f"finish it: sonde resume {folder.path}")
    recipe = Recipe.from_data(folder.read("recipe.json"), own)
    bundle = Bundle.load(folder.model, own)
    dataset = _data(folder, recipe, data)
    subject = subject_of(bundle, dataset, name=folder.name, ledger=_ledger(folder))
    facts = AuditFacts(
        title=folder.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command or f"sonde audit {folder.name}",
        version=environment(recipe)["sonde"],
        task=subject.task,
        fingerprint=dataset.fingerprint,
        rows={split: len(rows) for split, rows in subject.splits.items()},
        seed=seed,
        seconds=0.0,
        complete=False,
        budget=None if math.isinf(budget) else budget,
        environment=environment(recipe),
    )
    todo = list(audits) if audits is not None else chosen(only)
    if not todo:
        raise SondeError("there is no audit to run", "give some, or leave audits= out")
    try:
        for grown in _growing(facts, subject, todo, thresholds, before, budget, watch):
            facts = grown
            folder.write(FILE, facts.to_data())
    finally:
        if facts.sections:
            _tell(folder, facts)
    return facts


def _growing(
    facts: AuditFacts,
    subject: Subject,
    audits: list[Audit],
    thresholds: tuple[Threshold, ...],
    before: AuditFacts | None,
    budget: float,
    watch: Watch,
) -> Iterator[AuditFacts]:
    """The facts after every audit; the last ones are complete."""
    started = time.monotonic()
    for i, done in enumerate(run_audits(subject, audits, budget, facts.seed, watch), 1):
        facts = replace(
            facts,
            sections=(*facts.sections, section(done)),
            seconds=time.monotonic() - started,
            complete=i == len(audits) and done.reason != INTERRUPTED,
        )
        facts = replace(facts, verdicts=judged(thresholds, facts))
        if before is not None:
            facts = replace(facts, baseline=before.title, changes=changes(before, facts))
        yield facts


def section(done: Audited) -> Section:
    """One audit as a report shows it."""
    return Section(
        name=snake(type(done.audit).__name__),
        topic=topic(done.audit),
        title=summary_of(type(done.audit)),
        settings=done.audit.settings(),
        outcome=done.outcome,
        reason=done.reason,
        seconds=done.seconds,
        measures=tuple(scored(m) for m in done.measures),
        figures=tuple(Drawn(f.name, f.caption, f.svg) for f in done.figures),
        tables=tuple(Sheet(t.name, t.caption, t.columns, t.rows) for t in done.tables),
    )


def scored(measure: Measure) -> Score:
    """A measure as a person sees it: `fairness/sex/accuracy` is "Accuracy (sex)"."""
    between = measure.name.split("/")[1:-1]
    label = label_of(measure) + (f" ({', '.join(between)})" if between else "")
    last = measure.name.rpartition("/")[2]
    share = last in SHARES or last.endswith(("accuracy", "coverage", "rate", "share"))
    return Score.of(measure, label=label, percent=share and measure.unit == "1")


def changes(before: AuditFacts, after: AuditFacts) -> tuple[Change, ...]:
    """Each measure that both audits have. Told apart where their intervals do, if they were taken on the same data.

    Disjoint 95 % intervals are a stricter test than one of the difference at 5 %: what is told apart here is.
    """
    found = []
    same = before.fingerprint == after.fingerprint
    for name, new in after.measures.items():
        old = before.measures.get(name)
        if old is None or math.isnan(old.value) or math.isnan(new.value):
            continue
        apart = new.interval is None or old.interval is None or not _overlap(old.interval, new.interval)
        if old.value == new.value or not same or not apart:
            verdict = "not told apart"
        elif new.better == "neither":
            verdict = "changed"
        else:
            verdict = "better" if (new.value > old.value) == (new.better == "higher") else "worse"
        found.append(Change(name, old.value, new.value, verdict))  # type: ignore[arg-type]
    return tuple(found)


def _overlap(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return max(a[0], b[0]) <= min(a[1], b[1])


def read_audit(run: str | Path | RunFolder, root: Path = Path("runs")) -> AuditFacts:
    """The audit of a run. Raises SondeError where there is none."""
    folder = run if isinstance(run, RunFolder) else RunFolder.find(run, root)
    if not folder.has(FILE):
        raise SondeError(f"run {folder.name} was not audited", f"audit it: sonde audit {folder.path}")
    return AuditFacts.from_data(folder.read(FILE))


def _data(folder: RunFolder, recipe: Recipe, data: Dataset | None) -> Dataset:
    found = data
    if found is None:
        if recipe.data is None:
            raise SondeError(f"run {folder.name} was trained on data in memory", "pass it: sonde.audit(run, data=...)")
        found = recipe.data()
    if folder.has("run.json") and found.fingerprint != folder.read("run.json").get("fingerprint"):
        raise SondeError(
            f"the data of run {folder.name} has changed since it was trained: its test rows may have been trained on",
            "restore the data, or train anew",
        )
    return found


def _ledger(folder: RunFolder) -> dict[str, Any]:
    about = folder.read("run.json") if folder.has("run.json") else {}
    return {k: v for k, v in about.items() if k == "notes"}


def _tell(folder: RunFolder, audit: AuditFacts) -> None:
    """Write the run's report again, with the audit."""
    from sonde.report.facts import Facts
    from sonde.report.html import render

    if folder.has("report.json"):
        folder.write("report.html", render(Facts.from_data(folder.read("report.json")), audit))
