"""The audit of a model: what it is asked, the findings kept as they come, and what they say as a report."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sonde import paired
from sonde.auditing import catalogue, chosen, subject_of, topic
from sonde.core import (
    Audit,
    Audited,
    Engine,
    Measure,
    Recipe,
    SondeError,
    Subject,
    Texts,
    run_audits,
    unchanged,
)
from sonde.core.audit import INTERRUPTED
from sonde.core.batch import map_tree
from sonde.names import snake, summary_of
from sonde.report.audit import AuditFacts, Drawn, Section, Sheet
from sonde.report.facts import Score
from sonde.results import SHARES, full_label_of
from sonde.runs import RunFolder
from sonde.thresholds import Threshold, judged

if TYPE_CHECKING:
    from sonde.data import Dataset

FILE = "audit.json"
CPU = Engine(device="cpu")  # where a trained model is asked
HEADLINES = 3  # of one audit, at a glance
EVERY = 2.0  # seconds between two writings of the report, which takes a moment


@dataclass(frozen=True)
class Progress:
    """How far an audit is: `share` of the one that is running, which is the `number`-th of `count`."""

    audit: Audit
    share: float
    number: int
    count: int


Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class Before:
    """The audit that another is compared with, and its rows' scores."""

    facts: AuditFacts
    rows: paired.Scores


def audit_run(
    run: str | Path | RunFolder,
    data: Dataset | None = None,
    *,
    audits: Iterable[Audit] | None = None,
    only: Collection[str] = (),
    thresholds: tuple[Threshold, ...] = (),
    baseline: str | Path | RunFolder | AuditFacts | None = None,
    budget: float = math.inf,
    seed: int = 0,
    own: Collection[Callable[..., Any]] = (),
    output_dir: str | Path = "runs",
    command: str = "",
    watch: Watch = lambda progress: None,
) -> AuditFacts:
    """Audit a finished run; `audit.json` and the report in its folder gain what is found, as it is found.

    data: the run's data, for one whose data came from memory. audits: those to run; by default those that the run's
    recipe names, or all that there are if it names none, or those whose topic or name is in `only` ("all": every one).
    What does not fit the model says so. thresholds: bounds to judge by. baseline: a run audited before, to compare
    with. budget: seconds for all audits. own: constructors of yours that the model names.

    What an earlier audit of the same data, with the same seed and version, found and this one does not look for again
    is kept. An interruption keeps what was found, and is passed on. Raises SondeError for what the user can mend.
    """
    from sonde.bundle import Bundle
    from sonde.training import machine

    folder = run if isinstance(run, RunFolder) else RunFolder.find(run, Path(output_dir))
    before = None if baseline is None else _before(baseline, Path(output_dir))
    if not folder.model.is_dir():
        raise SondeError(f"run {folder.name} has no model yet", f"finish it: sonde resume {folder.path}")
    recipe = Recipe.from_data(folder.read("recipe.json"), own)
    todo = list(audits) if audits is not None else chosen(only, [build() for build in recipe.audits])
    bundle = Bundle.load(folder.model, own)
    dataset = _data(folder, recipe, data)
    subject = subject_of(bundle, dataset, name=folder.name, ledger=_ledger(folder))
    command = command or f"sonde audit {folder.name}"
    facts = empty = _empty(subject, dataset.fingerprint, seed, budget, command, machine(CPU))
    earlier = _earlier(folder, empty)
    with unchanged(subject.model):
        rows = paired.scores(subject)
    paired.save(folder.path, rows, dataset.fingerprint)
    written = -math.inf
    try:
        for facts in _growing(empty, subject, todo, thresholds, before, rows, earlier, watch):
            folder.write(FILE, facts.to_data())
            if time.monotonic() - written > EVERY:
                _tell(folder, facts)
                written = time.monotonic()
    finally:
        if facts.sections:
            _tell(folder, facts)
    return facts


def audit_subject(
    subject: Subject,
    *,
    audits: Iterable[Audit] | None = None,
    only: Collection[str] = (),
    thresholds: tuple[Threshold, ...] = (),
    baseline: AuditFacts | None = None,
    budget: float = math.inf,
    seed: int = 0,
    watch: Watch = lambda progress: None,
) -> AuditFacts:
    """Audit any subject, without a run's folder; the options are those of `audit_run`."""
    from sonde.training import machine

    empty = _empty(subject, _fingerprint(subject), seed, budget, "", machine(CPU))
    todo = list(audits) if audits is not None else chosen(only)
    before = None if baseline is None else Before(baseline, {})
    *_, facts = _growing(empty, subject, todo, thresholds, before, {}, (), watch)
    return facts


def _empty(
    subject: Subject, fingerprint: str, seed: int, budget: float, command: str, environment: dict[str, str]
) -> AuditFacts:
    return AuditFacts(
        title=subject.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        version=environment["sonde"],
        task=subject.task,
        fingerprint=fingerprint,
        rows={split: len(rows) for split, rows in subject.splits.items()},
        seed=seed,
        seconds=0.0,
        complete=False,
        budget=None if math.isinf(budget) else budget,
        environment=environment,
    )


def _growing(
    facts: AuditFacts,
    subject: Subject,
    audits: list[Audit],
    thresholds: tuple[Threshold, ...],
    before: Before | None,
    rows: paired.Scores,
    earlier: tuple[Section, ...],
    watch: Watch,
) -> Iterator[AuditFacts]:
    """The facts after every audit; the last ones are complete."""
    if not audits:
        raise SondeError("there is no audit to run", "give some, or leave audits= out")
    number = 1

    def told(audit: Audit, share: float) -> None:
        watch(Progress(audit, share, number, len(audits)))

    new: list[Section] = []
    budget = math.inf if facts.budget is None else facts.budget
    results = run_audits(subject, audits, budget, facts.seed, told)
    told(audits[0], 0.0)
    for number, done in enumerate(results, 1):
        new.append(section(done, facts.command))
        sections = _merged(new, earlier)
        facts = replace(
            facts,
            sections=sections,
            seconds=sum(s.seconds for s in sections),
            complete=number == len(audits) and done.reason != INTERRUPTED,
        )
        facts = replace(facts, verdicts=judged(thresholds, facts))
        if before is not None:
            same = before.facts.fingerprint == facts.fingerprint
            found = paired.changes(before.facts, facts, before.rows, rows)
            facts = replace(facts, baseline=before.facts.title, same_data=same, changes=found)
        yield facts
        if number < len(audits) and done.reason != INTERRUPTED:
            number += 1
            told(audits[number - 1], 0.0)


def section(done: Audited, command: str = "") -> Section:
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
        command=command,
        headlines=_headlines(done),
    )


def scored(measure: Measure) -> Score:
    """A measure as a person sees it."""
    last = measure.name.rpartition("/")[2]
    share = last in SHARES or last.endswith(("accuracy", "coverage", "rate", "share"))
    return Score.of(measure, label=full_label_of(measure), percent=share and measure.unit == "1")


def _headlines(done: Audited) -> tuple[str, ...]:
    """The measures that stand for an audit: those that end as it says, else the first that was not left out."""
    told = [m.name for m in done.measures if not math.isnan(m.value)]
    named = [name for name in told if name.endswith(f"/{done.audit.headline}")] if done.audit.headline else []
    return tuple(named[:HEADLINES] or told[:1])


def _merged(new: list[Section], earlier: tuple[Section, ...]) -> tuple[Section, ...]:
    """What is found now, and what was found earlier by audits that have found nothing now; in the package's order."""
    again = {s.name for s in new if s.found}
    kept = [s for s in earlier if s.found and s.name not in again]
    names = {s.name for s in kept}
    order = {snake(make.__name__): i for i, make in enumerate(catalogue())}
    whole = [*(s for s in new if s.found or s.name not in names), *kept]
    return tuple(sorted(whole, key=lambda s: order.get(s.name, len(order))))


def _earlier(folder: RunFolder, facts: AuditFacts) -> tuple[Section, ...]:
    """What an earlier audit found that was asked the same way: of the same data, seed and version."""
    try:
        old = read_audit(folder)
    except SondeError:  # there is none, or it is of another version
        return ()
    same = (old.fingerprint, old.seed, old.version) == (facts.fingerprint, facts.seed, facts.version)
    return old.sections if same else ()


def read_audit(run: str | Path | RunFolder, root: Path = Path("runs")) -> AuditFacts:
    """The audit of a run. Raises SondeError where there is none."""
    folder = run if isinstance(run, RunFolder) else RunFolder.find(run, root)
    if not folder.has(FILE):
        raise SondeError(f"run {folder.name} was not audited", f"audit it: sonde audit {folder.path}")
    return AuditFacts.from_data(folder.read(FILE))


def _before(baseline: str | Path | RunFolder | AuditFacts, root: Path) -> Before:
    if isinstance(baseline, AuditFacts):
        return Before(baseline, {})
    folder = baseline if isinstance(baseline, RunFolder) else RunFolder.find(baseline, root)
    facts = read_audit(folder)
    return Before(facts, paired.read(folder.path, facts.fingerprint))


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


def _fingerprint(subject: Subject) -> str:
    """SHA-256 of a subject's rows."""
    digest = hashlib.sha256()

    def add(value: torch.Tensor) -> torch.Tensor:
        plain = value.detach().cpu().contiguous()
        digest.update(f"{plain.dtype} {tuple(plain.shape)}\n".encode())
        digest.update(plain.flatten().view(torch.uint8).numpy().data)
        return value

    for split in sorted(subject.splits):
        digest.update(f"{split}\n".encode())
        rows = subject.splits[split]
        if isinstance(rows.x, Texts):
            digest.update(json.dumps(rows.x).encode())
        map_tree(add, {"x": rows.x, "y": rows.y})
    return digest.hexdigest()


def _ledger(folder: RunFolder) -> dict[str, Any]:
    about = folder.read("run.json") if folder.has("run.json") else {}
    return {k: v for k, v in about.items() if k == "notes"}


def _tell(folder: RunFolder, audit: AuditFacts) -> None:
    """Write the run's report again, with the audit."""
    from sonde.report.facts import Facts
    from sonde.report.html import render

    if folder.has("report.json"):
        folder.write("report.html", render(Facts.from_data(folder.read("report.json")), audit))
