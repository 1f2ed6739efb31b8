"""`sonde tune`: what it prints is what to do next."""

from __future__ import annotations

import json
import os
import shlex
import signal
import time
from pathlib import Path

import pytest

from tests.cli.command import Sonde, finished, people, start

NET = ("--net", "mlp(widths=(8,))")
SEARCH = ("--trials", "3", "--epochs", "1", "--search", "lr=1e-3..1e-1 log", *NET)


def go_on(text: str) -> list[str]:
    """The words of the command that the last lines advise, without `sonde`."""
    line = next(line for line in text.splitlines() if line.startswith("go on"))
    return shlex.split(line.removeprefix("go on"))[1:]


def test_the_range_test_ends_with_a_command_that_runs(sonde: Sonde, here: Path) -> None:
    answer = sonde("tune", "digits", "--lr", "--steps", "60", "--seeds", "2", "--batch-size", "32", *NET)
    assert answer.code == 0
    assert "the recipe's own rate is 0.003" in answer.out and "minimum *" in answer.out and "steepest" in answer.out
    assert "seed 0:" in answer.err and "seed 1:" in answer.err
    words = go_on(answer.out)
    assert words[:2] == ["train", "digits"] and "--lr" in words and words[words.index("--batch-size") + 1] == "32"
    found = json.loads((here / "runs" / "digits-lr" / "lr.json").read_text())
    assert float(words[words.index("--lr") + 1]) == found["suggestion"]
    assert (here / "runs" / "digits-lr" / "lr.svg").read_text().count("<svg") == 1
    after = sonde(*words, "--epochs", "1", "--no-baselines", "--dry-run")
    assert after.code == 0 and any(m.get("lr") == found["suggestion"] for m in after.data["methods"])
    assert "digits-lr" not in sonde("runs").out  # no run: nothing there can be used or compared


def test_the_range_test_as_json(sonde: Sonde, here: Path) -> None:
    words = ("--lr", "--steps", "40", "--seeds", "1", "--from", "1e-5", "--to", "1", "--quiet", "--json")
    answer = sonde("tune", "digits", *words, *NET)
    assert answer.code == 0 and answer.err == ""
    curve = answer.data["curves"][0]
    assert curve["rates"][0] == pytest.approx(1e-5) and len(curve["rates"]) == len(curve["losses"])
    assert answer.data["train"].startswith("sonde train digits")
    assert answer.data["settings"] == {"lr": answer.data["suggestion"]}


def test_every_rate_of_a_rule_is_in_the_command(sonde: Sonde, here: Path) -> None:
    words = ("--lr", "--steps", "40", "--seeds", "1", "--with", "muon", "--quiet")
    out = sonde("tune", "digits", *words, *NET).out
    advised = go_on(out)
    setting = next(w for w in advised if w.startswith("methods.muon.adam_lr="))
    rate = float(advised[advised.index("--lr") + 1])
    assert float(setting.partition("=")[2]) == pytest.approx(rate * 3e-4 / 0.02, rel=0.06)
    assert sonde(*advised, "--dry-run").code == 0


def test_a_search_of_a_table_ends_with_a_command_that_runs(sonde: Sonde, here: Path) -> None:
    people(here / "people.csv", rows=120)
    net = ("--net", "tabm(widths=(8,), members=2, bins=4)")
    answer = sonde("tune", "people.csv", "--target", "income", "--trials", "3", "--epochs", "1", *net)
    assert answer.code == 0, answer.err
    assert "trial 1/3 · as it is" in answer.err and "trial 3/3 · lr " in answer.err
    assert "as it was" in answer.out and "on rows that did not choose it" in answer.out
    assert "too close to call" in answer.out or ": better" in answer.out or ": worse" in answer.out
    after = sonde(*go_on(answer.out), "--no-baselines")
    assert after.code == 0 and "test rows right" in after.out
    assert (here / "runs" / "people-tune" / "search.svg").exists()


def test_the_best_can_be_trained_at_once(sonde: Sonde, here: Path) -> None:
    answer = sonde("tune", "digits", *SEARCH, "--train-best", "--quiet")
    assert answer.code == 0 and "test images right (95 % interval" in answer.out
    best = json.loads((here / "runs" / "digits-tune" / "best.json").read_text())
    assert json.loads((here / "runs" / "digits-best" / "recipe.json").read_text()) == best


def test_the_search_as_json(sonde: Sonde, here: Path) -> None:
    answer = sonde("tune", "digits", *SEARCH, "--json", "--quiet", "--metric", "accuracy")
    assert answer.code == 0 and answer.err == ""
    assert answer.data["metric"] == "accuracy" and answer.data["better"] == "higher"
    assert len(answer.data["trials"]) == 3 and answer.data["honest"]["tries"] == 3
    assert answer.data["best"]["value"] == max(t["value"] for t in answer.data["trials"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--lr", "--trials", "3"), "--trials is an option of a search"),
        (("--from", "1e-5"), "--from is an option of the range test"),
        (("--search", "lr"), "has no values"),
        (("--search", "lr=1..0"), "lower end first"),
        (("--search", "net.widht=1,2"), "there is no setting"),
        (("--metric", "f2", "--trials", "1"), "does not measure 'f2'"),
        (("--time", "soon"), "not a time"),
        (("--lr", "--from", "2", "--to", "1"), "lower one first"),
    ],
)
def test_what_was_not_understood_is_told_as_that(sonde: Sonde, here: Path, words: tuple[str, ...], told: str) -> None:
    answer = sonde("tune", "digits", "--epochs", "1", *NET, *words)
    assert answer.code == 2 and told in answer.err


def test_private_training_is_refused_with_the_reason(sonde: Sonde, here: Path) -> None:
    answer = sonde("tune", "digits", *SEARCH, "--with", "dpsgd(noise_multiplier=1.0)")
    assert answer.code == 4 and "epsilon" in answer.err and "--despite-privacy" in answer.err
    assert not (here / "runs").exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_a_search_that_was_stopped_goes_on(sonde: Sonde, here: Path, how: signal.Signals) -> None:
    words = ("tune", "digits", "--trials", "6", "--epochs", "3", "--search", "lr=1e-3..1e-1 log", *NET)
    process = start(*words, folder=here)
    trials = here / "runs" / "digits-tune" / "trials.jsonl"
    patience = time.monotonic() + 100
    while time.monotonic() < patience and (not trials.exists() or trials.read_bytes().count(b"\n") < 2):
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, how)
    stopped = finished(process)
    if how is signal.SIGINT:
        assert stopped.code == 130 and "--resume" in stopped.err
    done = trials.read_bytes().count(b"\n")
    assert 2 <= done < 6
    answer = sonde(*words, "--resume", "--json")
    assert answer.code == 0 and f"after {done} trials" in answer.err
    straight = sonde(*words, "--json", "--name", "straight")
    same = ("number", "state", "values", "value", "steps")
    assert [[t[k] for k in same] for t in answer.data["trials"]] == [
        [t[k] for k in same] for t in straight.data["trials"]
    ]
