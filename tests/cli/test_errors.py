"""What a mistake is answered with: one line of cause, one of remedy, the right exit code, nothing left behind."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sonde.cli import main
from sonde.cli.app import command_names
from tests.cli.command import TINY, Sonde, finished, people, pictures, start


@pytest.mark.parametrize(
    ("typed", "code", "says"),
    [
        ("trian digits", 2, "did you mean 'train'"),
        ("train digits --epoch 3", 2, "did you mean '--epochs'"),
        ("train digits epohcs=3", 2, "did you mean 'epochs'"),
        ("train digits --epochs x", 2, "--epochs"),
        ("train digits --epochs 0", 2, "above 0"),
        ("train digits --epochs nan", 2, "above 0"),
        ("train digits --epochs inf", 2, "above 0"),
        ("train digits batch=0", 2, "--batch-size is 0"),
        ("train digits --lr -1", 2, "--lr is -1"),
        ("train digits --seed -1", 2, "--seed is -1"),
        ("train digits --patience 0", 2, "--patience is 0"),
        ("train digits --time soon", 2, "10m"),
        ("train digits --time 0", 2, "10m"),
        ("train digits --with mixp", 2, "did you mean 'mixup'"),
        ("train digits --with mixup(alph=1)", 2, "did you mean 'alpha'"),
        ("train digits --with mixup(", 2, "cannot be read"),
        ("train digits --with checkpoint", 2, "writes files"),
        ("train digits --with sgd", 2, "sgd needs lr"),
        ("train digits --net resnt", 2, "did you mean 'resnet'"),
        ("train digits --set methods.ema.deca=1", 2, "did you mean 'decay'"),
        ("train digits --set methods.emma.decay=1", 2, "did you mean 'ema'"),
        ("train digits --set name", 2, "has no value"),
        ("train digits --kind zip", 2, "has no kind"),
        ("train digits --on-bad forgive", 2, "fail or skip"),
        ("train digits --precision 8", 2, "bf16-mixed"),
        ("train digits --read labl=x", 2, "did you mean 'labels'"),
        ("train", 2, "sonde train digits"),
        ("train nothing", 1, "no file or folder 'nothing'"),
        ("train digts", 1, "did you mean 'digits'"),
        ("train phots", 1, "did you mean 'photos'"),
        ("train nothing.csv", 1, "does not exist"),
        ("train people.csv", 1, "--target"),
        ("train people.csv --target incom", 1, "did you mean 'income'"),
        ("train digits --target x", 1, "leave target out"),
        ("train digits --device tpu", 1, "--device auto"),
        ("train --recipe nothing.json", 1, "nothing.json"),
        ("train --recipe photos", 1, "recipe.json"),
        ("train --recipe people.csv", 1, "is not JSON"),
        ("compare one", 2, "two runs"),
        ("compare one two", 1, "no run called 'one'"),
        ("predict nothing x", 1, "train one"),
        ("evaluate nothing --split rest", 2, "train, val or test"),
        ("resume nothing", 1, "no run called"),
        ("predict model.pt x", 4, "sonde convert"),
        ("train weights.pkl", 4, "can run code"),
        ("train --recipe weights.pkl", 4, "runs code"),
        ("convert nothing.pt", 1, "there is no file"),
    ],
)
def test_a_mistake_is_answered_with_cause_and_remedy(
    sonde: Sonde, here: Path, typed: str, code: int, says: str
) -> None:
    pictures(here / "photos", each=3)
    people(here / "people.csv")
    (here / "weights.pkl").write_bytes(b"\x80\x04.")
    answer = sonde(*typed.split())
    assert answer.code == code, answer.err
    cause, remedy = answer.err.removeprefix("· ").split("error: ", 1)[1].rstrip("\n").split("\n")
    assert cause and remedy.startswith("  ") and remedy.strip()
    assert says in answer.err
    assert answer.out == "" and "Traceback" not in answer.err
    assert not (here / "runs").exists() or not list((here / "runs").iterdir()), "a run that never began left a folder"


def test_a_constructor_that_refuses_its_values_is_a_mistake_too(sonde: Sonde, here: Path) -> None:
    answer = sonde("train", "digits", "--with", "adamw(lr=-1)")
    assert answer.code == 1 and "--dry-run" in answer.err
    assert not list((here / "runs").iterdir())


def test_debug_shows_the_traceback(here: Path) -> None:
    with pytest.raises(Exception, match="no file or folder 'nothing'"):
        main(["train", "nothing", "--debug"])


def test_a_defect_of_ours_says_how_to_report_it(sonde: Sonde, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("it was\nnot foreseen")

    monkeypatch.setattr("sonde.cli.listing.runs", broken)
    answer = sonde("runs")
    assert answer.code == 1 and answer.err.count("\n") == 2
    assert "ZeroDivisionError: it was not foreseen" in answer.err and "--debug" in answer.err


def test_a_name_cannot_move_the_terminal(sonde: Sonde, here: Path) -> None:
    (here / "photos").mkdir()
    (here / "photos" / "\x1b]0;hostile\x07").mkdir()
    assert "\x1b" not in sonde("train", "photos").err


@pytest.mark.parametrize("name", [n for n in command_names() if n not in ("val", "eval")])
def test_every_command_helps_with_an_example_that_fits_the_page(sonde: Sonde, name: str) -> None:
    answer = sonde(name, "--help")
    assert answer.code == 0 and f"Example: sonde {name}" in answer.out
    assert max(map(len, answer.out.splitlines())) <= 100


def test_the_first_page_fits_eighty_columns(sonde: Sonde, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for words in ((), ("--help",), ("-h",)):
        answer = sonde(*words)
        assert answer.code == 0 and "sonde train digits" in answer.out
        assert not re.search(r"\w\.\.\.$", answer.out, re.MULTILINE), "a summary was cut"
        assert max(map(len, answer.out.splitlines())) <= 80


def test_the_version(sonde: Sonde) -> None:
    import sonde as package

    assert sonde("--version").out == f"sonde {package.__version__}\n"


def test_a_recipe_may_name_only_what_the_package_contains(sonde: Sonde, here: Path) -> None:
    written = sonde("train", "digits", "--dry-run", "-q").data
    hostile = (
        "os:system",
        "subprocess:Popen",
        "sonde.core.state:replace_folder",
        "sonde.data.fetch:get",
        "builtins:exec",
    )
    for name in (*hostile, "sonde.methods.observe.checkpoint:Checkpoint"):
        recipe = {**written, "methods": [*written["methods"], {"build": name, "command": "touch marker"}]}
        (here / "recipe.json").write_text(json.dumps(recipe))
        answer = sonde("train", "--recipe", "recipe.json")
        assert answer.code == 4, (name, answer.err)
        assert name in answer.err
    assert not (here / "marker").exists()


def test_a_recipe_cannot_ask_the_network_for_data(sonde: Sonde, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("urllib.request.build_opener", lambda *a: asked.append(a))
    monkeypatch.setenv("SONDE_DATA", str(here / "none"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "cache"))
    written = sonde("train", "digits", "--dry-run", "-q").data
    written["data"] |= {"name": "mnist", "download": True}
    (here / "recipe.json").write_text(json.dumps(written))
    answer = sonde("train", "--recipe", "recipe.json")
    assert answer.code == 1 and "--download" in answer.err and not asked


def test_a_reader_that_goes_away_is_no_error(here: Path) -> None:
    process = start("methods", folder=here)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    process.stdout = None
    answer = finished(process)
    assert answer.code == 0 and "Error" not in answer.err


def test_progress_that_nobody_reads_does_not_stop_the_training(here: Path) -> None:
    process = start("train", "digits", "--epochs", "2", *TINY, folder=here)
    assert process.stderr is not None
    process.stderr.close()
    process.stderr = None
    answer = finished(process)
    assert answer.code == 0 and "test images right" in answer.out
    assert (here / "runs" / "digits" / "report.html").exists()
