"""`sonde train`: from data of every kind to a run, a report and a result that a program can read."""

from __future__ import annotations

import getpass
import json
import socket
from pathlib import Path

import numpy as np
import pytest

from tests.cli.command import TINY, Sonde, finished, people, pictures, start

SMALL_TABLE = ("--net", "tabm(widths=(8, 8), members=2, bins=4)")


def test_digits(sonde: Sonde, here: Path) -> None:
    answer = sonde("train", "digits", "--epochs", "2", *TINY)
    assert answer.code == 0
    assert "test images right (95 % interval" in answer.out and "runs/digits/report.html" in answer.out
    assert "epoch 1/2" in answer.err and "val accuracy" in answer.err and "for 2 epochs" in answer.err
    found = {p.name for p in (here / "runs" / "digits").iterdir()}
    assert {"recipe.json", "environment.json", "run.json", "metrics.jsonl", "report.html", "report.json"} <= found
    assert {"model", "checkpoints"} <= found


def test_json_is_all_there_is_on_stdout(sonde: Sonde, here: Path) -> None:
    answer = sonde("train", "digits", "epochs=1", "json=true", *TINY)
    assert answer.code == 0 and answer.err
    assert json.loads(answer.out, parse_constant=pytest.fail)
    assert answer.data["run"] == "runs/digits" and answer.data["outcome"] == "finished"
    first = answer.data["measures"][0]
    assert first["name"] == "quality/accuracy" and first["n"] == 359 and len(first["interval"]) == 2
    assert Path(answer.data["report"]).exists() and Path(answer.data["model"]).is_dir()


def test_quiet_says_nothing_but_the_result(sonde: Sonde, here: Path) -> None:
    answer = sonde("train", "digits", "--epochs", "1", "--quiet", *TINY)
    assert answer.err == "" and "test images right" in answer.out


def test_a_folder_of_pictures(sonde: Sonde, here: Path) -> None:
    pictures(here / "photos")
    answer = sonde("train", "photos", "--steps", "6", "--lr", "0.05", *TINY)
    assert answer.code == 0 and "2 classes: 'cats', 'dogs'" in answer.err
    assert "100.00 %" in answer.out


def test_a_table_with_baselines_beside_it(sonde: Sonde, here: Path) -> None:
    people(here / "people.csv", 120)
    answer = sonde("train", "people.csv", "--target", "income", "--sensitive", "job", "steps=20", *SMALL_TABLE)
    assert answer.code == 0, answer.err
    assert "gradient-boosted trees" in answer.out and "majority class" in answer.out
    assert (here / "runs" / "people").is_dir(), "a run is called after its data, without the ending"


def test_arrays(sonde: Sonde, here: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(here / "arrays.npz", x=rng.integers(0, 255, (60, 8, 8), dtype=np.uint8), y=np.arange(60) % 3)
    assert sonde("train", "arrays.npz", "--steps", "2", *TINY).code == 0
    assert (here / "runs" / "arrays").is_dir()


def test_the_recipe_of_a_dry_run_can_be_fed_back(sonde: Sonde, here: Path) -> None:
    asked = ("--epochs", "1", "--with", "ema", "--with", "mixup(alpha=0.3)", "--set", "methods.ema.decay=0.5", "seed=3")
    dry = sonde("train", "digits", "--dry-run", *asked, *TINY[:2])
    assert dry.code == 0 and not (here / "runs").exists()
    (here / "recipe.json").write_text(dry.out)
    assert sonde("train", "digits", *asked, *TINY, "--name", "direct").code == 0
    assert sonde("train", "--recipe", "recipe.json", "--no-baselines", "--name", "fed").code == 0
    direct, fed = ((here / "runs" / name) for name in ("direct", "fed"))
    assert json.loads((direct / "recipe.json").read_text()) == dry.data == json.loads((fed / "recipe.json").read_text())
    names = [m["build"].partition(":")[2] for m in dry.data["methods"]]
    assert names.index("MixUp") < names.index("Validate") and dry.data["seed"] == 3
    assert next(m for m in dry.data["methods"] if m["build"].endswith(":EMA"))["decay"] == 0.5
    weights = "model/weights.safetensors"
    assert (direct / weights).read_bytes() == (fed / weights).read_bytes()
    assert (direct / "metrics.jsonl").read_bytes() == (fed / "metrics.jsonl").read_bytes()


def test_options_beside_a_recipe_change_it(sonde: Sonde, here: Path) -> None:
    (here / "recipe.json").write_text(sonde("train", "digits", "--dry-run", *TINY[:2]).out)
    options = "steps=7 lr=0.5 batch=9 patience=2 microbatch=3 seed=5 test=0.3 --precision bf16-mixed"
    changed = sonde("train", "--recipe", "recipe.json", "--dry-run", *options.split()).data
    built = {m["build"].partition(":")[2]: m for m in changed["methods"]}
    assert changed["stages"] == [{"source": changed["stages"][0]["source"], "budget": {"steps": 7}}]
    assert changed["stages"][0]["source"] | {"batch_size": 9, "seed": 5} == changed["stages"][0]["source"]
    assert built["adamw"]["lr"] == 0.5 and built["EarlyStopping"]["patience"] == 2
    assert built["Backprop"]["microbatch"] == 3
    assert changed["seed"] == 5 and changed["data"]["test"] == 0.3 and changed["engine"]["precision"] == "bf16-mixed"


def test_other_data_beside_a_recipe_is_what_the_run_says_it_was_trained_on(sonde: Sonde, here: Path) -> None:
    pictures(here / "photos")
    (here / "recipe.json").write_text(sonde("train", "photos", "--dry-run", *TINY[:2], "steps=1").out)
    pictures(here / "others", each=15)
    recipe = sonde("train", "others", "--recipe", "recipe.json", "--dry-run").data
    assert recipe["data"]["data"] == "others" and recipe["name"] == "others"


def test_a_folder_of_a_run_is_a_recipe(sonde: Sonde, here: Path) -> None:
    sonde("train", "digits", "--steps", "1", *TINY)
    assert sonde("train", "--recipe", "runs/digits", "--no-baselines").code == 0
    assert (here / "runs" / "digits-2").is_dir()


def test_a_rate_reaches_the_update_rule_that_was_asked_for(sonde: Sonde, here: Path) -> None:
    recipe = sonde("train", "digits", "--with", "sgd", "--lr", "0.25", "--dry-run").data
    rule = next(m for m in recipe["methods"] if m["build"].endswith(":sgd"))
    assert rule["lr"] == 0.25 and not any(m["build"].endswith(":adamw") for m in recipe["methods"])


def test_a_rate_that_would_change_nothing_is_refused(sonde: Sonde, here: Path) -> None:
    answer = sonde("train", "digits", "--with", "adam(lr=0.1)", "--weight-decay", "0.1", "--dry-run")
    assert answer.code == 2 and "weight_decay changes nothing" in answer.err


def test_a_limit_of_time_ends_training(sonde: Sonde, here: Path) -> None:
    answer = sonde("train", "digits", "--time", "1s", "--json", *TINY)
    assert answer.data["outcome"] == "out of time" and 0.9 < answer.data["seconds"] < 20


def test_a_run_is_never_overwritten(sonde: Sonde, here: Path) -> None:
    for _ in range(3):
        sonde("train", "digits", "--steps", "1", "--name", "same", *TINY)
    assert sorted(p.name for p in (here / "runs").iterdir()) == ["same", "same-2", "same-3"]


def test_two_runs_of_one_name_at_once_get_two_folders(here: Path) -> None:
    both = [start("train", "digits", "--steps", "2", "--name", "same", *TINY, folder=here) for _ in range(2)]
    assert [finished(p).code for p in both] == [0, 0]
    assert sorted(p.name for p in (here / "runs").iterdir()) == ["same", "same-2"]
    first, second = ((here / "runs" / n / "metrics.jsonl").read_bytes() for n in ("same", "same-2"))
    assert first == second


def test_a_run_says_nothing_of_the_person_or_the_machine(
    sonde: Sonde, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = here / "home" / "ermintrude"
    photos = pictures(home / "pictures" / "photos")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USER", "ermintrude")
    answer = sonde("train", photos, "--steps", "1", f"--output-dir={home}/runs", "--net", TINY[1])
    assert answer.code == 0, answer.err
    secrets = [str(home), "ermintrude", socket.gethostname(), str(here)]
    secrets += [getpass.getuser()] if getpass.getuser() not in ("root", "user", "runner") else []  # words of any text
    for path in (home / "runs").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [s for s in secrets if s.encode() in content], path
    again = sonde("evaluate", home / "runs" / "photos")
    assert again.code == 0, "the data is still found"
    command = json.loads((home / "runs" / "photos" / "run.json").read_text())["command"]
    assert command.startswith("sonde train ~/pictures/photos --steps 1 --output-dir ~/runs")


def test_bad_files_are_all_listed_before_training(sonde: Sonde, here: Path) -> None:
    photos = pictures(here / "photos")
    for i in range(30):
        (photos / "cats" / f"bad{i:02}.png").write_bytes(b"\x89PNG broken")
    answer = sonde("train", "photos", *TINY)
    assert answer.code == 1 and "30 problems" in answer.err and "--on-bad skip" in answer.err
    listed = sonde("data", "photos")
    assert listed.code == 1 and all(f"bad{i:02}.png" in listed.out for i in range(30))
    assert len(sonde("data", "photos", "--json").data["problems"]) == 30
    assert sonde("train", "photos", "--on-bad", "skip", "--steps", "1", *TINY).code == 0
