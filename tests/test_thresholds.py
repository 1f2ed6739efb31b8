"""Bounds on measures: what a file may say, and when an audit keeps them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from sonde.core import SondeError
from sonde.report.audit import AuditFacts, Section
from sonde.report.facts import Score
from sonde.thresholds import Threshold, judged, of, read


def audit(*scores: Score, refused: str = "") -> AuditFacts:
    outcome = "refused" if refused else "done"
    section = Section("groups", "fairness", "t", {}, outcome, refused, 0.0, scores)  # type: ignore[arg-type]
    return AuditFacts("r", "2026-01-01", "", "", "regression", "", {}, 0, 0.0, True, sections=(section,))


def score(value: float, interval: tuple[float, float] | None = None, **settings: str) -> Score:
    return Score("quality/accuracy", value, "1", 100, "higher", "s", interval, settings=settings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no threshold"),
        ("[quality", "is not TOML"),
        ("[quality]\naccuracy = 0.9", "quality/accuracy is 0.9, not a bound"),
        ("[quality]\naccuracy = {}", "quality/accuracy has no bound"),
        (
            "[quality]\naccuracy = { at_last = 0.9, at_most = 1 }",
            "quality/accuracy has no entry 'at_last'\n.*'at_least'",
        ),
        ("[quality]\naccuracy = { certain = true }", "quality/accuracy has no bound"),
        ("[quality]\naccuracy = { at_least = nan }", "quality/accuracy.at_least is nan, not a number"),
        ("[quality]\naccuracy = { at_least = inf }", "quality/accuracy.at_least is inf"),
        ("[quality]\naccuracy = { at_least = true }", "quality/accuracy.at_least is True"),
        ("[quality]\naccuracy = { at_least = '1' }", "quality/accuracy.at_least is '1'"),
        ("[quality]\naccuracy = { at_least = 1, certain = 1 }", "quality/accuracy.certain is 1"),
        ("[fairness.sex]\ngap = { at_most = 0.1, unless = 3 }", "fairness/sex/gap has no entry 'unless'"),
        ("[a.b]\nc = { at_least = 1 }\n['a/b']\nc = { at_least = 2 }", "a/b/c has two thresholds"),
        ("[[quality]]\naccuracy = { at_least = 0.97 }", "quality is .*, not a bound"),
    ],
)
def test_every_error_names_the_file_and_the_entry(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bounds.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SondeError, match=f"(?s)bounds.toml.*{message}"):
        read(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SondeError, match="there is no file .*none.toml"):
        read(tmp_path / "none.toml")
    with pytest.raises(SondeError, match="cannot be read"):
        read(tmp_path)
    (tmp_path / "odd.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SondeError, match="odd.toml is not TOML"):
        read(tmp_path / "odd.toml")


def test_tables_make_the_measures_names(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(
        "[quality]\naccuracy = { at_least = 0.9, at_most = 1 }\n"
        "[fairness.sex]\ngap = { at_most = 0.05, certain = true }\n",
        encoding="utf-8",
    )
    assert read(path) == (
        Threshold("quality/accuracy", 0.9, 1.0),
        Threshold("fairness/sex/gap", None, 0.05, certain=True),
    )
    assert of({"quality/accuracy": {"at_least": 1}}) == (Threshold("quality/accuracy", 1.0),)
    assert str(read(path)[1]) == "at most 0.05, with its whole interval"


@pytest.mark.parametrize(
    ("value", "interval", "certain", "holds", "note"),
    [
        (0.95, (0.92, 0.97), False, True, ""),
        (0.95, (0.92, 0.97), True, True, ""),
        (0.95, (0.88, 0.97), False, True, "reaches across"),
        (0.95, (0.88, 0.97), True, False, "reaches across"),
        (0.85, (0.80, 0.92), False, False, "reaches into"),
        (0.85, (0.80, 0.88), False, False, ""),
        (0.95, None, False, True, ""),
        (0.95, None, True, False, "no interval to be certain by"),
        (0.90, (0.90, 0.90), True, True, ""),
        (math.nan, None, False, False, "not measured"),
    ],
)
def test_a_bound_is_kept_by_the_value_or_by_the_whole_interval(
    value: float, interval: tuple[float, float] | None, certain: bool, holds: bool, note: str
) -> None:
    (verdict,) = judged((Threshold("quality/accuracy", 0.9, certain=certain),), audit(score(value, interval)))
    assert verdict.holds is holds and note in verdict.note and bool(verdict.note) == bool(note)


def test_what_was_not_measured_is_not_kept_and_says_why() -> None:
    def why(threshold: Threshold, facts: AuditFacts) -> str:
        (verdict,) = judged((threshold,), facts)
        assert not verdict.holds and verdict.value is None
        return verdict.note

    fair = Threshold("fairness/sex/gap", at_most=0.1)
    assert "no groups" in why(fair, audit(refused="it has no groups"))
    assert "no audit gave it" in why(fair, audit(score(0.5)))
    assert "did you mean 'quality/accuracy'?" in why(Threshold("quality/acuracy", 0.5), audit(score(0.5)))
    assert "only one class" in why(Threshold("quality/accuracy", 0.5), audit(score(math.nan, omitted="only one class")))
