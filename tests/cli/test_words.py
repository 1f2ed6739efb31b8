"""The words of a command, before they are options."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from sonde.cli.app import app
from sonde.cli.words import Misused, as_options, as_typed, spoken


def options(*words: str) -> list[str]:
    command = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]
    return as_options(words, command.params)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("digits epochs=10", "digits --epochs 10"),
        ("data=digits epochs=10", "digits --epochs 10"),
        ("--data digits", "digits"),
        ("--data=digits", "digits"),
        ("digits --batch_size 8", "digits --batch-size 8"),
        ("digits num_train_epochs=1 max_steps=5", "digits --epochs 1 --steps 5"),
        ("digits --per_device_train_batch_size=8", "digits --batch-size=8"),
        ("digits --learning-rate 0.1 batch=4", "digits --lr 0.1 --batch-size 4"),
        ("digits --config r.json --print-config", "digits --recipe r.json --dry-run"),
        ("digits quiet=true compile=no resume=yes", "digits --quiet --resume"),
        ("digits methods.ema.decay=0.9", "digits --set methods.ema.decay=0.9"),
        ("pictures labels=labels.csv", "pictures --read labels=labels.csv"),
        ("-q epochs=3", "-q --epochs 3"),
        ("--json epochs=3", "--json --epochs 3"),
    ],
)
def test_options_may_be_typed_as_elsewhere(typed: str, meant: str) -> None:
    assert options(*typed.split()) == meant.split()


@pytest.mark.parametrize(
    "words", [("--set", "a.b=1"), ("--kind", "zip=categorical"), ("--lr", "-1"), ("--name", "a=b")]
)
def test_the_value_of_an_option_is_left_as_it_is(words: tuple[str, ...]) -> None:
    assert options(*words) == list(words)


def test_what_follows_two_hyphens_is_left_as_it_is() -> None:
    assert options("--", "epochs=3") == ["--", "epochs=3"]


def test_a_path_with_an_equals_sign_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "year=2024").mkdir()
    assert options("year=2024") == ["year=2024"]
    assert options("data/year=2024/a.csv") == ["data/year=2024/a.csv"]


@pytest.mark.parametrize(("word", "near"), [("epohcs=3", "epochs"), ("bach_size=3", "batch_size"), ("zzz=3", "--help")])
def test_an_unknown_word_names_the_closest(word: str, near: str) -> None:
    with pytest.raises(Misused, match=near):
        options("digits", word)


def test_neither_yes_nor_no() -> None:
    with pytest.raises(Misused, match="neither yes nor no"):
        options("compile=perhaps")


def test_a_command_is_repeated_without_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/home/someone"))
    words = ["train", "/home/someone/my data", "--output-dir=/home/someone/runs", "data=/home/someone/x", "--resume"]
    assert spoken(words) == "sonde train ~/'my data' --output-dir ~/runs data=~/x"
    assert spoken(["train", "/home/someone-else/x"]) == "sonde train /home/someone-else/x"
    assert spoken(["train", "/home/someone"]) == "sonde train ~"


def test_the_words_of_a_command_survive_a_shell() -> None:
    assert spoken(["train", "a b", "--with", "mixup(alpha=0.2)"]) == "sonde train 'a b' --with 'mixup(alpha=0.2)'"


@pytest.mark.parametrize(
    ("advice", "typed"),
    [
        ("leave it out with on_bad='skip'", "leave it out with --on-bad skip"),
        ("pass target=, one of 'a'", "pass --target, one of 'a'"),
        ("pass labels='labels.csv'", "pass --read labels=labels.csv"),
        ("pass a smaller size (size=12 fits)", "pass a smaller size (--size 12 fits)"),
        ("use --set methods.ema.decay=0.9", "use --set methods.ema.decay=0.9"),
        ("write early_stopping(metric='loss')", "write early_stopping(metric='loss')"),
    ],
)
def test_advice_for_python_is_given_in_the_words_of_the_command_line(advice: str, typed: str) -> None:
    assert as_typed(advice) == typed
