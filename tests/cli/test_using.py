"""`sonde predict`, `evaluate`, `runs`, `compare`, `data`, `nets`, `methods`, `recipes`, `doctor`."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from tests.cli.command import TINY, Sonde, people, pictures

SMALL_TABLE = ("--net", "tabm(widths=(8, 8), members=2, bins=4)", "--no-baselines")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos, people.csv, and the runs `photos`, `people` and `longer`."""
    from sonde.cli import main

    folder = tmp_path_factory.mktemp("trained")
    photos, table = pictures(folder / "photos"), people(folder / "people.csv")
    runs = ("--output-dir", str(folder / "runs"), "-q")
    assert main(["train", str(photos), "steps=4", *TINY, *runs]) == 0
    assert main(["train", str(photos), "steps=8", "name=longer", *TINY, *runs]) == 0
    assert main(["train", str(table), "target=income", "steps=4", *SMALL_TABLE, *runs]) == 0
    return folder


@pytest.fixture
def there(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)
    return trained


def test_predictions_are_a_table_of_every_input(sonde: Sonde, there: Path) -> None:
    answer = sonde("predict", "photos", "photos/cats")
    rows = list(csv.DictReader(answer.out.splitlines()))
    assert answer.code == 0 and answer.err == "" and len(rows) == 20
    assert list(rows[0]) == ["name", "answer", "p(cats)", "p(dogs)"]
    assert {r["answer"] for r in rows} <= {"cats", "dogs"}
    assert all(abs(float(r["p(cats)"]) + float(r["p(dogs)"]) - 1) < 1e-5 for r in rows)


def test_a_spreadsheet_runs_no_answer(sonde: Sonde, there: Path, tmp_path: Path) -> None:
    answer = sonde("predict", "people", "people.csv", "--out", tmp_path / "answers.csv")
    assert answer.code == 0 and answer.out == "" and "80 answers in" in answer.err
    with open(tmp_path / "answers.csv", newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert {"'=HIGH()", "'+low"} & set(cells), "the answers are quoted"
    assert not [c for c in cells if c.startswith(("=", "+", "-", "@"))]
    assert sonde("predict", "people", "people.csv", "--out", tmp_path / "answers.csv").code == 1, (
        "nothing is overwritten"
    )


def test_predictions_as_json_are_as_they_are(sonde: Sonde, there: Path) -> None:
    rows = sonde("predict", "people", "people.csv", "--json").data
    assert len(rows) == 80 and {r["answer"] for r in rows} <= {"=HIGH()", "+low"}


def test_a_run_moved_elsewhere_answers_the_same(sonde: Sonde, there: Path, tmp_path: Path) -> None:
    before = sonde("predict", "photos", "photos").out
    shutil.copytree(there / "runs" / "photos", tmp_path / "moved")
    assert sonde("predict", tmp_path / "moved", "photos").out == before


def test_a_damaged_model_is_refused(sonde: Sonde, there: Path, tmp_path: Path) -> None:
    shutil.copytree(there / "runs" / "photos", tmp_path / "damaged")
    weights = tmp_path / "damaged" / "model" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    answer = sonde("predict", tmp_path / "damaged", "photos")
    assert answer.code == 1 and "truncated" in answer.err and answer.out == ""


def test_evaluate_repeats_what_the_report_says(sonde: Sonde, there: Path) -> None:
    facts = json.loads((there / "runs" / "photos" / "report.json").read_text())
    measures = sonde("evaluate", "photos", "--json").data
    assert {m["name"]: m["value"] for m in measures} == {m["name"]: m["value"] for m in facts["measures"]}
    for alias in ("val", "eval"):
        assert sonde(alias, "photos").out == sonde("evaluate", "photos").out
    assert "photos on val rows" in sonde("evaluate", "photos", "--split", "val").out


def test_evaluate_on_other_data_reads_it_as_the_model_does(sonde: Sonde, there: Path, tmp_path: Path) -> None:
    larger = pictures(tmp_path / "larger", each=5, side=20)
    measures = sonde("evaluate", "photos", larger, "--json").data
    assert measures[0]["n"] == 10
    assert sonde("evaluate", "people", "people.csv", "--json").data[0]["n"] == 80
    others = pictures(tmp_path / "others", ("cats", "horses"), each=3)
    answer = sonde("evaluate", "photos", others)
    assert answer.code == 1 and "horses" in answer.err
    assert sonde("evaluate", "photos", others, "--on-bad", "skip", "--json").data[0]["n"] == 3


def test_runs_and_their_first_measure(sonde: Sonde, there: Path) -> None:
    text = sonde("runs").out
    assert all(name in text for name in ("photos", "longer", "people", "finished", "Accuracy"))
    assert [r["name"] for r in sonde("runs", "--json").data] == ["photos", "longer", "people"]


def test_a_damaged_run_hides_no_other(sonde: Sonde, there: Path, tmp_path: Path) -> None:
    for name in ("photos", "people"):
        shutil.copytree(there / "runs" / name, tmp_path / name)
    (tmp_path / "people" / "report.json").write_text("{broken")
    found = {r["name"]: r["outcome"] for r in sonde("runs", "--output-dir", tmp_path, "--json").data}
    assert found == {"photos": "finished", "people": "damaged"}


def test_no_runs(sonde: Sonde, tmp_path: Path) -> None:
    answer = sonde("runs", "--output-dir", tmp_path / "none")
    assert answer.code == 0 and "sonde train digits" in answer.err


def test_compare_says_what_differs(sonde: Sonde, there: Path) -> None:
    text = sonde("compare", "photos", "longer").out
    assert "stages.0.budget.steps" in text and "4" in text and "8" in text
    data = sonde("compare", "photos", "longer", "--json").data
    assert data["same_data"] and data["recipes"] == {"stages.0.budget.steps": [4, 8]}
    assert data["measures"][0]["name"] == "quality/accuracy" and len(data["measures"][0]["values"]) == 2
    assert "do not compare" in sonde("compare", "photos", "people").err


def test_tables_fit_eighty_columns_of_a_terminal(
    sonde: Sonde, there: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda self: True)
    for words in (
        ("runs",),
        ("compare", "photos", "longer"),
        ("evaluate", "photos"),
        ("methods",),
        ("nets",),
        ("data",),
    ):
        lines = sonde(*words).out.splitlines()
        plain = [_without_style(line) for line in lines]
        assert plain and max(map(len, plain)) <= 80, words


def _without_style(line: str) -> str:
    import re

    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).rstrip()


def test_the_named_data_sets(sonde: Sonde) -> None:
    assert "digits" in sonde("data").out
    assert {"digits", "adult"} <= {s["name"] for s in sonde("data", "--json").data}


def test_what_is_in_the_users_data(sonde: Sonde, there: Path) -> None:
    assert "photos: classification, 40 rows" in sonde("data", "photos").out
    data = sonde("data", "people.csv", "--target", "income", "--json").data
    assert data["classes"] == ["+low", "=HIGH()"] and sum(data["splits"].values()) == 80


def test_what_can_be_named_is_listed_and_what_is_listed_can_be_named(sonde: Sonde, there: Path) -> None:
    from sonde.names import parse

    for part in ("nets", "methods"):
        listed = sonde(part, "--json").data
        assert all(e["summary"] for e in listed)
        for entry in listed:
            assert parse(part, entry["name"]).make is not None
    names = {e["name"] for e in sonde("methods", "--json").data}
    assert {"ema", "mixup", "adamw"} <= names and not {"checkpoint", "metrics_log", "descend"} & names
    assert {e["name"] for e in sonde("nets", "--json").data} >= {"resnet", "mlp", "tabm", "lenet"}


def test_recipes(sonde: Sonde) -> None:
    assert sonde("recipes").code == 0 and isinstance(sonde("recipes", "--json").data, list)


def test_doctor(sonde: Sonde, there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONDE_DATA", "/nowhere")
    facts = sonde("doctor", "--json").data
    assert "cpu" in facts["devices"] and "torch" in facts["packages"]
    assert any("SONDE_DATA" in w for w in facts["warnings"])
    assert "/nowhere" not in json.dumps(facts)
    assert "GFLOP/s" in sonde("doctor").out
