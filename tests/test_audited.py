"""Audits of a run and of any model: what is kept, what is compared, and what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from torch import nn

import sonde
from sonde import paired
from sonde.audited import Progress, audit_run, audit_subject, read_audit
from sonde.audits.calibration.reliability import Reliability
from sonde.audits.calibration.selective import Selective
from sonde.audits.quality.intervals import wilson
from sonde.audits.quality.quality import Quality
from sonde.core import Build, Recipe, SondeError, Subject
from sonde.data import load
from sonde.report.audit import AuditFacts
from sonde.report.facts import Score
from sonde.thresholds import of
from sonde.training import Trained
from tests.audited import Fails, Finds, Interrupted, Other, Waits, run_in
from tests.laws.subjects import SUBJECTS
from tests.support import blobs, mlp
from tools import schema


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    run_in(folder, "first", steps=30)
    run_in(folder, "second", steps=200)
    return folder


@pytest.fixture
def run(runs: Path) -> Path:
    folder = runs / "first"
    for name in ("audit.json", paired.FILE):
        (folder / name).unlink(missing_ok=True)
    return folder


def test_an_audit_leaves_its_facts_and_the_report(run: Path) -> None:
    facts = audit_run(run, audits=[Quality(), Finds()])
    assert facts.complete and [s.outcome for s in facts.sections] == ["done", "done"]
    assert read_audit(run) == facts
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "What there is to see." in page and "Finds a number, a figure and a table" in page
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    trained = {m["name"]: m["value"] for m in report["measures"]}
    assert facts.measures["quality/accuracy"].value == trained["quality/accuracy"]


def test_audit_json_is_of_the_published_schema(run: Path) -> None:
    audit_run(run, audits=[Quality(), Fails(), Finds(math.nan)], thresholds=of({"finds/share": {"at_least": 1}}))
    data = json.loads((run / "audit.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    jsonschema.validate(data, schema.schema(), cls=jsonschema.Draft202012Validator)
    data["sections"][0]["outcome"] = "splendid"
    with pytest.raises(jsonschema.ValidationError, match="splendid"):
        jsonschema.validate(data, schema.schema())


def test_what_earlier_audits_found_is_kept(run: Path) -> None:
    audit_run(run, audits=[Finds(0.3), Other()], command="sonde audit first")
    facts = audit_run(run, audits=[Finds(0.4)], command="again")
    assert facts.measures["finds/share"].value == 0.4 and "other/number" in facts.measures
    assert {s.command for s in facts.sections} == {"again", "sonde audit first"}
    assert facts.complete and facts.seconds == sum(s.seconds for s in facts.sections)
    other_seed = audit_run(run, audits=[Finds(0.4)], seed=1)
    assert set(other_seed.measures) == {"finds/share"}, "numbers of two seeds do not stand side by side"


def test_a_refusal_does_not_take_the_place_of_a_finding(run: Path) -> None:
    audit_run(run, audits=[Waits(0.0), Other()])
    facts = audit_run(run, audits=[Waits(0.2), Other()], budget=1e-9)
    assert "waits/number" in facts.measures and all(s.found for s in facts.sections)


def test_a_damaged_earlier_audit_is_replaced(run: Path) -> None:
    for text in ("{", "[]", '{"title": 3}', ""):
        (run / "audit.json").write_text(text, encoding="utf-8")
        assert audit_run(run, audits=[Other()]).complete


def test_an_interruption_keeps_what_was_found(run: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        audit_run(run, audits=[Finds(), Interrupted(), Other()])
    facts = read_audit(run)
    assert not facts.complete and [s.outcome for s in facts.sections] == ["done", "refused"]
    assert "interrupted" in (run / "report.html").read_text(encoding="utf-8")
    assert "What there is to see." in (run / "report.html").read_text(encoding="utf-8")


def test_a_defect_of_one_audit_costs_no_other(run: Path) -> None:
    facts = audit_run(run, audits=[Fails(), Other()])
    assert [s.outcome for s in facts.sections] == ["partial", "done"]
    assert facts.sections[0].reason == "ValueError: deep inside" and "fails/number" in facts.measures


def test_a_spent_budget_is_said(run: Path) -> None:
    facts = audit_run(run, audits=[Waits(0.3), Other()], budget=0.05)
    assert facts.budget == 0.05 and "time budget" in facts.sections[1].reason


def test_progress_counts_every_audit_from_its_start(run: Path) -> None:
    told: list[Progress] = []
    audit_run(run, audits=[Finds(), Other()], watch=told.append)
    assert [(p.number, p.count, p.share) for p in told] == [(1, 2, 0.0), (2, 2, 0.0)]
    assert isinstance(told[1].audit, Other)


def test_what_a_recipe_names_is_run_by_default(run: Path) -> None:
    path = run / "recipe.json"
    before = path.read_text(encoding="utf-8")
    recipe = Recipe.from_data(json.loads(before))
    try:
        path.write_text(json.dumps(recipe.changed(audits=(Build(Quality),)).to_data()), encoding="utf-8")
        assert [s.name for s in audit_run(run).sections] == ["quality"]
    finally:
        path.write_text(before, encoding="utf-8")


# ---------------------------------------------------------------- refusals
def test_data_that_changed_is_refused(run: Path) -> None:
    whole = load("digits")
    other = replace(whole, y=whole.y.roll(1))
    with pytest.raises(SondeError, match="data of run first has changed since it was trained"):
        audit_run(run, other, audits=[Other()])


def test_data_from_memory_is_asked_for(tmp_path: Path) -> None:
    data = replace(load("digits"), source={})
    trained = sonde.train(data, net="mlp(widths=(8,))", steps=3, baselines=False, output_dir=tmp_path, name="mine")
    with pytest.raises(SondeError, match="data in memory\n  pass it: sonde.audit\\(run, data=...\\)"):
        sonde.audit(trained, audits=[Other()])
    assert sonde.audit(trained, data=data, audits=[Other()]).complete


def test_a_run_without_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "recipe.json").write_text("{}", encoding="utf-8")
    with pytest.raises(SondeError, match="half has no model yet"):
        audit_run(tmp_path / "half")


def test_a_baseline_that_was_not_audited_is_named_before_anything_runs(run: Path, runs: Path) -> None:
    (runs / "second" / "audit.json").unlink(missing_ok=True)
    with pytest.raises(SondeError, match="run second was not audited"):
        audit_run(run, audits=[Other()], baseline="second", output_dir=runs)
    assert not (run / "audit.json").exists()


# ---------------------------------------------------------------- two runs
def test_a_baseline_is_compared_row_by_row(run: Path, runs: Path) -> None:
    audit_run(runs / "second", audits=[Quality()])
    facts = audit_run(run, audits=[Quality()], baseline="second", output_dir=runs)
    changes = {c.measure: c for c in facts.changes}
    accuracy, nll = changes["quality/accuracy"], changes["quality/nll"]
    assert facts.baseline == "second" and facts.same_data
    assert accuracy.verdict == nll.verdict == "worse" and accuracy.p is not None and accuracy.p < 0.001
    assert accuracy.interval and accuracy.interval[1] < 0 and "McNemar" in accuracy.how
    assert nll.interval and nll.interval[0] > 0 and nll.p is not None and nll.p < 0.001
    difference = accuracy.after - accuracy.before
    assert accuracy.interval[0] <= difference <= accuracy.interval[1]
    assert "Against <bdi>second</bdi>" in (run / "report.html").read_text(encoding="utf-8")


def test_other_data_is_never_told_apart(run: Path, runs: Path) -> None:
    facts = audit_run(runs / "second", audits=[Quality()])
    elsewhere = replace(facts, fingerprint="another")
    now = audit_run(run, audits=[Quality()], baseline=elsewhere)
    assert not now.same_data and {c.verdict for c in now.changes} == {"not told apart"}
    assert "was measured on other data" in (run / "report.html").read_text(encoding="utf-8")


def test_rows_of_other_data_are_not_read(tmp_path: Path) -> None:
    rows = {"quality/accuracy": np.ones(5)}
    paired.save(tmp_path, rows, "a")
    assert list(paired.read(tmp_path, "a")) == list(rows) and paired.read(tmp_path, "b") == {}
    assert paired.read(tmp_path / "none", "a") == {}
    for content in (b"", b"{", b"\x08" + b"\0" * 7 + b"{}      ", bytes(1000)):
        (tmp_path / paired.FILE).write_bytes(content)
        assert paired.read(tmp_path, "a") == {} if content.endswith(b"{}      ") else raises_on(tmp_path)


def raises_on(folder: Path) -> bool:
    with pytest.raises(SondeError, match="cannot be read\n  audit it again"):
        paired.read(folder, "a")
    return True


def test_measures_without_rows_are_told_apart_by_their_intervals() -> None:
    def facts(value: float) -> AuditFacts:
        s = Subject.of(nn.Linear(4, 3), *blobs(20))
        return audit_subject(s, audits=[Finds(value)])

    low, near, high = facts(0.2), facts(0.3), facts(0.8)
    assert [c.verdict for c in paired.changes(low, high)] == ["better"]
    assert [c.verdict for c in paired.changes(high, low)] == ["worse"]
    assert [c.verdict for c in paired.changes(low, near)] == ["not told apart"]
    bare = replace(
        high,
        sections=tuple(
            replace(s, measures=tuple(replace(m, interval=None) for m in s.measures)) for s in high.sections
        ),
    )
    assert [c.verdict for c in paired.changes(low, bare)] == ["not told apart"], "no interval, no evidence"


def test_an_audit_names_what_stands_for_it() -> None:
    subject = SUBJECTS["images"]()
    facts = audit_subject(subject, audits=[Quality(), Selective()])
    assert facts.sections[0].headlines == ("quality/accuracy",)
    assert facts.sections[1].headlines == ("calibration/at_90_percent_coverage/accuracy",)


def test_among_many_measures_of_equal_models_nothing_is_claimed_19_times_in_20() -> None:
    rng = np.random.default_rng(0)
    false = 0
    for _ in range(400):
        chances = {f"m{i}": p for i, p in enumerate(rng.random(60))}
        false += bool(paired._claimed(chances))
    assert false / 400 < 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5
    assert paired._claimed({"a": 0.0003, "b": 0.03, "c": 0.04, "d": 0.9}) == {"a"}
    assert paired._claimed({"a": 0.0003, "b": 0.016, "c": 0.02, "d": 0.9}) == {"a", "b", "c"}


def test_the_interval_of_a_difference_of_shares_covers() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        one, two = rng.binomial(80, 0.9), rng.binomial(120, 0.8)
        was, now = (Score("m", k / n, "1", n, "higher", "here", wilson(k, n)) for k, n in ((one, 80), (two, 120)))
        found = paired.recovered(was, now)
        assert found is not None and found.interval is not None
        covered += found.interval[0] <= -0.1 <= found.interval[1]
    assert 0.935 < covered / 1000 < 0.97


@pytest.mark.parametrize("name", ["table", "images", "multilabel", "regression", "no_answers"])
def test_the_mean_over_rows_is_the_measure(name: str) -> None:
    subject = SUBJECTS[name]()
    facts = audit_subject(subject, audits=[Quality(), Reliability()])
    rows = paired.scores(subject)
    assert rows and set(rows) <= set(facts.measures)
    for measure, values in rows.items():
        assert values.mean() == pytest.approx(facts.measures[measure].value, rel=1e-6), measure
    assert ("quality/nll" in rows) == (name in ("table", "images"))


def test_no_test_rows_have_no_scores() -> None:
    assert paired.scores(SUBJECTS["empty_test"]()) == {} == paired.scores(SUBJECTS["no_rows_at_all"]())


# ---------------------------------------------------------------- in Python
def test_any_module_is_audited(tmp_path: Path) -> None:
    x, y = blobs(60)
    net = mlp(4, 8, 3)
    net.train()
    facts = sonde.audit(
        net, x, y, classes=("a", "b", "c"), only=["quality"], thresholds={"quality": {"accuracy": {"at_least": 1.01}}}
    )
    assert net.training and facts.title == "Sequential" and not facts.holds
    assert facts.measures["quality/accuracy"].value == (net.eval()(x).argmax(1) == y).double().mean().item()
    page = facts.save(tmp_path / "audit.html").read_text(encoding="utf-8")
    assert "0 of 1 thresholds kept" in page and "not kept" in page
    again = AuditFacts.from_data(json.loads(facts.save(tmp_path / "audit.json").read_text(encoding="utf-8")))
    assert again == facts
    with pytest.raises(SondeError, match="neither .html nor .json"):
        facts.save(tmp_path / "audit.pdf")
    with pytest.raises(SondeError, match="cannot be written"):
        facts.save(tmp_path / "none" / "audit.html")


def test_a_model_that_answers_with_an_object_is_audited() -> None:
    class Out:
        def __init__(self, logits: torch.Tensor) -> None:
            self.logits = logits

    class Theirs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 3)

        def forward(self, pixel_values: torch.Tensor) -> Out:
            return Out(self.head(pixel_values))

    x, y = blobs(40)
    facts = sonde.audit(Theirs(), {"pixel_values": x}, y, only=["quality"])
    assert facts.title == "Theirs" and not math.isnan(facts.measures["quality/accuracy"].value)


def test_a_subject_and_a_baseline_in_memory() -> None:
    x, y = blobs(60)
    subject = Subject.of(mlp(4, 8, 3), x, y, name="mine")
    before = sonde.audit(subject, audits=[Quality()])
    after = sonde.audit(subject, audits=[Quality()], baseline=before)
    assert after.baseline == "mine" and {c.verdict for c in after.changes} == {"not told apart"}
    other = sonde.audit(Subject.of(mlp(4, 8, 3), x + 1, y), audits=[Quality()], baseline=before)
    assert not other.same_data


def test_what_cannot_be_audited_is_said(run: Path, runs: Path) -> None:
    x, y = blobs(10)
    for wrong, message in [
        (lambda: sonde.audit(nn.Linear(4, 3)), "audited on rows"),
        (lambda: sonde.audit(nn.Linear(4, 3), x, y, only="quality"), "is a text"),
        (lambda: sonde.audit(nn.Linear(4, 3), x, y, only=["qualty"]), "no audit 'qualty'"),
        (lambda: sonde.audit(nn.Linear(4, 3), x, y, audits=[]), "no audit to run"),
        (lambda: sonde.audit(3), "a int cannot be audited"),
        (lambda: sonde.audit(run, x, y), "rows, classes and groups of its own"),
        (lambda: sonde.audit("none", output_dir=runs), "no run called 'none'"),
    ]:
        with pytest.raises(SondeError, match=message):
            wrong()


def test_a_report_names_the_audit_of_what_it_did_not_measure(tmp_path: Path) -> None:
    trained = run_in(tmp_path, "mine", steps=3)
    told = {u.name: u.text for u in trained.facts.not_measured}
    assert told["Robustness"].endswith("sonde audit mine --only robustness")
    assert told["Fairness"].endswith("sonde audit mine --only fairness")


def test_a_trained_run_is_audited_as_it_was_returned(tmp_path: Path) -> None:
    trained: Trained = run_in(tmp_path, steps=3)
    assert sonde.audit(trained, audits=[Other()]).measures["other/number"].value == 3.0
    assert (trained.folder.path / "audit.json").is_file()
