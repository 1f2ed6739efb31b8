"""Law: every audit answers every model with a measure, a measure left out, or a refusal in words; it never fails,
never changes the model, and gives the same numbers for the same seed. Audits are found by walking the package.
"""

from __future__ import annotations

import inspect
import json
import math
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from sonde.auditing import catalogue, topic
from sonde.core import Audit, Audited, Figure, Measure, run_audits
from sonde.names import snake
from sonde.report.audit import AuditFacts
from sonde.report.audited import TITLES
from tests.laws.subjects import ORDINARY, SUBJECTS

SMALL: dict[str, dict[str, Any]] = {
    "Adversarial": {"rows": 20, "steps": 5, "targets": 2, "queries": 20},
    "Corruptions": {"rows": 20},
    "GradientMasking": {"rows": 20, "steps": 5, "queries": 20, "draws": 5},
    "OutOfDistribution": {"rows": 60, "known": 60},
    "Patch": {"rows": 30, "steps": 5},
    "SynonymSwaps": {"rows": 20, "lexicon": str(Path(__file__).parent / "words.tsv")},
    "Smoothing": {"rows": 10, "n0": 20, "n": 50},
    "TableAttack": {"rows": 20},
}
"""Settings by the audit's class, for those whose own would take long on a few rows."""
TIMES = {"s", "ms", "J", "rows/s"}  # units of what is not the same twice
AUDITS = [pytest.param(make, id=snake(make.__name__)) for make in catalogue()]


@cache
def asked(make: type[Audit], name: str, attempt: int = 0) -> Audited:
    """What an audit finds out about a subject that nobody asked before. Raises RuntimeError if it changed the model."""
    (found,) = run_audits(SUBJECTS[name](), [make(**SMALL.get(make.__name__, {}))])
    return found


@pytest.mark.parametrize("name", SUBJECTS)
@pytest.mark.parametrize("make", AUDITS)
def test_every_audit_answers_or_says_why_not(make: type[Audit], name: str) -> None:
    found = asked(make, name)
    raised = re.match(r"^\w*(Error|Exception|Warning|Iteration|Exit)\b", found.reason)
    assert found.outcome != "failed" and not raised, found.reason
    assert (found.outcome == "done") == (not found.reason)
    if found.outcome == "done":
        assert found.findings, "it neither found anything nor said why"
    names = [m.name for m in found.measures]
    assert len(names) == len(set(names)), "a measure twice"
    for m in found.measures:
        check(m)
    for f in found.figures:
        assert f.caption.strip() and f.svg.lstrip().startswith(("<?xml", "<svg")), f.name
        assert re.fullmatch(r"[\w.-]+", f.name), f"not a file name: {f.name!r}"
    for names in ([f.name for f in found.figures], [t.name for t in found.tables]):
        assert len(names) == len(set(names)), names


def check(m: Measure) -> None:
    """A measure that can be read and repeated."""
    assert isinstance(m, Measure) and m.source.strip() and m.better in ("lower", "higher", "neither")
    assert type(m.value) is float and type(m.n) is int and m.n >= 0, (m.name, m.value, m.n)
    json.dumps(m.to_data())
    if math.isnan(m.value):
        assert m.settings.get("omitted"), f"{m.name} is NaN and does not say why"
        assert m.interval is None
    if m.interval is not None:
        low, high = m.interval
        assert low <= high, m.name
        assert str(m.settings.get("interval", "")).strip(), f"{m.name} does not say how its interval was made"
        if "Wilson" in m.settings["interval"] or "Clopper" in m.settings["interval"]:
            assert low - 1e-12 <= m.value <= high + 1e-12, m.name


@pytest.mark.parametrize("make", AUDITS)
def test_the_same_seed_gives_the_same_numbers(make: type[Audit]) -> None:
    def numbers(found: Audited) -> list[Any]:
        return [(m.name, None if m.unit in TIMES else repr((m.value, m.interval, m.n))) for m in found.measures]

    def drawn(found: Audited) -> list[Figure]:
        return list(found.figures)

    for name in ORDINARY:
        first, second = asked(make, name), asked(make, name, 1)
        assert numbers(first) == numbers(second), name
        assert drawn(first) == drawn(second), f"{name}: a figure is drawn differently"


@pytest.mark.parametrize("make", AUDITS)
def test_every_audit_measures_something_somewhere(make: type[Audit]) -> None:
    numbers = [m for name in SUBJECTS for m in asked(make, name).measures if not math.isnan(m.value)]
    assert numbers, [asked(make, name).reason for name in ORDINARY]


@pytest.mark.parametrize("make", AUDITS)
def test_settings_are_plain_and_build_the_same_audit(make: type[Audit]) -> None:
    for audit in (make(), make(**SMALL.get(make.__name__, {}))):
        settings = audit.settings()
        assert json.loads(json.dumps(settings)) == json.loads(json.dumps(settings, default=str)), settings
        assert type(audit)(**settings).settings() == settings
    required = [p for p in inspect.signature(make).parameters.values() if p.default is p.empty]
    assert not required, "every setting of an audit has a default"


@pytest.mark.parametrize("make", AUDITS)
def test_every_audit_says_what_it_measures(make: type[Audit]) -> None:
    first = (inspect.getdoc(make) or "").partition("\n")[0]
    assert 15 < len(first) < 140 and first.endswith("."), first
    assert topic(make) in TITLES, f"the report has no heading for {topic(make)!r}"
    prefix = f"{topic(make)}/"
    for name in SUBJECTS:
        wrong = [m.name for m in asked(make, name).measures if not m.name.startswith(prefix)]
        assert not wrong, f"measures of other topics: {wrong}"


def test_a_name_is_measured_by_one_audit_only() -> None:
    owners: dict[str, set[str]] = {}
    for make in catalogue():
        for name in ORDINARY:
            for m in asked(make, name).measures:
                owners.setdefault(m.name, set()).add(make.__name__)
    assert not {name: who for name, who in owners.items() if len(who) > 1}


def test_what_is_found_survives_being_written() -> None:
    from sonde.audited import section

    for make in catalogue():
        for name in SUBJECTS:
            facts = AuditFacts(
                "t", "2026-01-01", "", "", "regression", "", {}, 0, 0.0, True, sections=(section(asked(make, name)),)
            )
            again = AuditFacts.from_data(json.loads(json.dumps(facts.to_data(), allow_nan=False)))
            assert json.dumps(again.to_data()) == json.dumps(facts.to_data()), (make, name)


def test_audits_are_found() -> None:
    assert {"quality"} <= {snake(make.__name__) for make in catalogue()}
    assert len({make.__name__ for make in catalogue()}) == len(catalogue())
