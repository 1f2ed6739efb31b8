"""The atlas: experiments found without registration, conducted, kept whatever happens, and shown."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sonde
from sonde import atlas
from sonde.atlas import best, conduct, current, experiments, in_order, kept, read
from sonde.atlas_site import entries, write
from sonde.core import Measure, SondeError
from sonde.experiment import CHAPTERS, Check, Experiment, Figure, Finding, Lab, Table
from sonde.names import catalogue, squash
from sonde.report import atlas_facts as facts
from sonde.runs import RunFolder

ROOT = Path(__file__).resolve().parents[1]
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"><path d="M0 0L9 9"/></svg>'


def measure(value: float, interval: tuple[float, float] | None = None, how: str = "") -> Measure:
    return Measure("toy/share", value, "1", 40, "higher", "nobody", interval, "test", {"interval": how})


def experiment(run: Callable[[Lab], Iterator[Finding]], name: str = "toy", **more: Any) -> Experiment:
    given = {"chapter": "Roots", "claim": "Toys work.", "source": "Nobody, 1950", "seconds": 1.0, **more}
    return Experiment(name=name, run=run, **given)


def whole(lab: Lab) -> Iterator[Finding]:
    """One finding of each kind.

    Entry: perceptron; XOR limit.
    """
    lab.say("half way")
    yield Check(measure=measure(0.9, (0.85, 0.95)), at_least=0.8, published=0.7, published_in="Nobody, 1950")
    yield Figure("line", "A line.", SVG)
    yield Table("sums", "Sums.", ("a", "b"), (("one", np.float64(1.5)), ("none", None)))  # type: ignore[arg-type]
    yield measure(math.nan)


# ---------------------------------------------------------------- what there is
def test_every_experiment_has_a_name_of_its_own_a_chapter_and_a_claim() -> None:
    found = experiments()
    names = [e.name for e in found]
    assert len(names) == len(set(map(squash, names))) > 0
    assert all(name.isidentifier() and name == name.lower() for name in names)
    assert all(e.claim.endswith(".") and e.source.strip() and e.seconds > 0 for e in found)


def test_the_chapters_are_those_of_the_entry() -> None:
    entry = tomllib.loads((ROOT / "docs" / "entry.toml").read_text(encoding="utf-8"))
    titles = [c["title"] for c in entry["chapter"]]
    assert tuple(t for t in titles if t != "Beyond the entry") == CHAPTERS


def test_every_recipe_has_an_experiment_of_its_name() -> None:
    assert {squash(e.name) for e in catalogue("recipes")} <= {squash(e.name) for e in experiments()}


def test_pages_follow_the_chapters_and_within_them_the_years() -> None:
    given = [
        experiment(whole, "late", source="B, 2012"),
        experiment(whole, "limits", chapter="Limits", source="A, 1900"),
        experiment(whole, "early", source="Z, 1943; B, 2012"),
        experiment(whole, "first", chapter="Defining deep learning", source="no year"),
    ]
    assert [e.name for e in in_order(given)] == ["first", "early", "late", "limits"]


def test_an_experiment_is_found_however_it_is_cased_and_a_wrong_name_is_answered() -> None:
    name = experiments()[0].name
    assert atlas.find(name.upper().replace("_", "-")).name == name
    with pytest.raises(SondeError, match="no experiment called"):
        atlas.find("nothing-like-it-at-all")
    with pytest.raises(SondeError) as near:
        atlas.find(name[:-1])
    assert "did you mean" in near.value.remedy


def test_a_recipe_without_an_experiment_says_how_to_train_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atlas, "experiments", lambda: ())
    with pytest.raises(SondeError) as raised:
        atlas.find("digits")
    assert raised.value.remedy == "train it: sonde train --recipe digits"


@pytest.mark.parametrize("text", ["2", "Roots", "roo"])
def test_a_chapter_is_found_by_number_and_by_name(text: str) -> None:
    assert atlas.chapter(text) == "Roots"


def test_an_unknown_chapter_is_answered_with_the_chapters() -> None:
    with pytest.raises(SondeError, match="no chapter"):
        atlas.chapter("Cooking")


def test_data_that_is_not_here_is_known_without_reading_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SONDE_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert atlas.available(experiment(whole)) and atlas.available(experiment(whole, data=("digits",)))
    assert not atlas.available(experiment(whole, data=("digits", "mnist")))
    assert not atlas.available(experiment(whole, data=("letters",)))
    (tmp_path / "letters").mkdir()
    assert not atlas.available(experiment(whole, data=("letters",)))
    (tmp_path / "letters" / "a.txt").touch()
    assert atlas.available(experiment(whole, data=("letters",)))


# ---------------------------------------------------------------- one experiment
def test_everything_found_is_kept_as_plain_json_and_files(tmp_path: Path) -> None:
    said: list[str] = []
    done = conduct(experiment(whole, data=("digits",)), tmp_path, seed=3, say=said.append)
    assert done.error is None and said == ["half way"]
    text = (done.folder.path / "result.json").read_text(encoding="utf-8")
    assert facts.Conducted.from_data(json.loads(text, parse_constant=pytest.fail)).to_data() == done.result.to_data()
    assert (done.folder.path / "line.svg").read_text(encoding="utf-8") == SVG
    result = read(done.folder)
    assert result.state == "finished" and result.verdict == "holds" and result.seconds > 0
    assert result.command == "sonde run toy --seed 3" and result.terms == ("perceptron", "XOR limit")
    assert result.found[2].table and result.found[2].table.rows == (("one", 1.5), ("none", None))
    assert result.found[3].score and math.isnan(result.found[3].score.value)
    assert {"processor", "threads", "torch", "python", "sonde"} <= set(result.environment)


def test_a_result_names_no_host_no_user_and_no_folder(tmp_path: Path) -> None:
    import platform

    text = (conduct(experiment(whole), tmp_path).folder.path / "result.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in text and str(Path.home()) not in text and platform.node() not in text


def test_the_same_seed_finds_the_same_and_the_callers_generators_are_left_alone(tmp_path: Path) -> None:
    def drawn(lab: Lab) -> Iterator[Finding]:
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        yield Check(measure=measure(torch.rand(()).item() + np.random.rand()), at_least=0.0)

    before = torch.get_rng_state()
    values = [conduct(experiment(drawn), tmp_path, seed=s).result.checks[0].score.value for s in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("value", "interval", "how", "bounds", "verdict"),
    [
        (0.9, (0.85, 0.95), "", {"at_least": 0.8}, facts.HOLDS),
        (0.9, None, "", {"at_least": 0.8}, facts.HOLDS),
        (0.9, (0.75, 0.95), "", {"at_least": 0.8}, facts.ACROSS),
        (0.9, (0.85, 0.95), "", {"at_least": 0.8, "at_most": 0.92}, facts.ACROSS),
        (0.7, (0.6, 0.9), "", {"at_least": 0.8}, facts.REFUTED),
        (math.nan, None, "", {"at_least": 0.8}, facts.REFUTED),
        (1.0, (0.91, 1.0), "Wilson (1927)", {"at_least": 1.0}, facts.HOLDS),  # all of n: n says the rest
        (0.0, (0.0, 0.09), "Wilson (1927)", {"at_most": 0.0}, facts.HOLDS),
        (1.0, (0.9, 1.1), "Student's t", {"at_least": 1.0}, facts.ACROSS),
    ],
)
def test_a_verdict_says_where_the_number_and_its_interval_lie(
    value: float, interval: Any, how: str, bounds: dict[str, Any], verdict: str
) -> None:
    assert atlas.verdict_of(Check(measure=measure(value, interval, how), **bounds)) == verdict


def test_the_worst_check_decides(tmp_path: Path) -> None:
    def several(lab: Lab) -> Iterator[Finding]:
        yield Check(measure=measure(0.1), at_least=0.5)
        yield Check(measure=measure(0.9), at_least=0.5)

    assert conduct(experiment(several), tmp_path).result.verdict == "does not hold"


def test_a_failure_keeps_what_was_found_and_its_cause_in_a_line(tmp_path: Path) -> None:
    def breaks(lab: Lab) -> Iterator[Finding]:
        yield Check(measure=measure(0.9), at_least=0.5)
        raise ZeroDivisionError("by\n  nothing")

    done = conduct(experiment(breaks), tmp_path)
    result = read(done.folder)
    assert result.state == result.verdict == "failed" and len(result.checks) == 1
    assert result.failure and result.failure.cause == "ZeroDivisionError: by nothing"
    assert isinstance(done.error, ZeroDivisionError)


def test_an_experiment_that_checks_nothing_has_failed(tmp_path: Path) -> None:
    def idle(lab: Lab) -> Iterator[Finding]:
        yield measure(0.9)

    failure = conduct(experiment(idle), tmp_path).result.failure
    assert failure and "without having checked anything" in failure.cause


def test_an_interruption_is_no_failure_and_leaves_what_was_found(tmp_path: Path) -> None:
    def stopped(lab: Lab) -> Iterator[Finding]:
        yield Check(measure=measure(0.9), at_least=0.5)
        raise KeyboardInterrupt

    done = conduct(experiment(stopped), tmp_path)
    assert isinstance(done.error, KeyboardInterrupt)
    assert done.result.state == "interrupted" and done.result.verdict == "not finished" and done.result.checks


def test_a_killed_process_loses_only_what_it_had_not_found(tmp_path: Path) -> None:
    code = f"""
import time
from pathlib import Path
from sonde.atlas import conduct
from tests.test_atlas import experiment, whole

def slow(lab):
    yield from whole(lab)
    print("found", flush=True)
    time.sleep(60)

conduct(experiment(slow), Path({str(tmp_path)!r}))
"""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "found\n"
        ((folder, going),) = kept(tmp_path, "toy")
        assert going.state == "running"
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    result = read(folder)
    assert result.state == "interrupted" and result.verdict == "not finished"
    assert len(result.found) == 4 and (folder.path / "line.svg").exists()


def test_figures_of_one_name_and_of_hostile_names_stay_in_the_folder(tmp_path: Path) -> None:
    def drawn(lab: Lab) -> Iterator[Finding]:
        yield Figure("../../a", "one", SVG)
        yield Figure("a", "two", SVG)
        yield Check(measure=measure(0.9), at_least=0.5)

    done = conduct(experiment(drawn), tmp_path)
    assert [f.file for f in done.result.figures] == ["a.svg", "a-2.svg"]
    assert {p.name for p in done.folder.path.glob("*.svg")} == {"a.svg", "a-2.svg"}


@pytest.mark.parametrize(
    ("name", "how", "label", "percent"),
    [
        ("quality/accuracy", {}, "Accuracy", True),
        ("xor/solved with 2", {"interval": "Wilson (1927)"}, "Solved with 2", True),
        ("xor/solved with 2/lower", {"end": "lower end (Wilson)"}, "Solved with 2, lower end of the interval", True),
        ("paths/ravine/steps", {}, "Ravine, steps", False),
        ("robustness/pgd", {}, "Right under attack (PGD)", False),
    ],
)
def test_a_measure_is_called_by_what_its_name_says(name: str, how: dict[str, str], label: str, percent: bool) -> None:
    score = atlas.told(replace(measure(0.5), name=name, settings=how)).score
    assert score is not None and (score.label, score.percent) == (label, percent)


def test_what_a_docstring_says_of_source_and_numbers_stands_by_itself() -> None:
    def told(lab: Lab) -> Iterator[Finding]:
        """A claim, told
        in two lines.
        Source: Nobody, 1950.
        Measured, on one core: 3
        of 4.

            a = b
            b = c

        Entry: perceptron;
        XOR limit.
        """
        yield from ()

    about, terms = atlas.background(experiment(told))
    assert about[-4:] == (
        "A claim, told in two lines.",
        "Source: Nobody, 1950.",
        "Measured, on one core: 3 of 4.",
        "    a = b\n    b = c",
    )
    assert terms == ("perceptron", "XOR limit")


# ---------------------------------------------------------------- what was kept
def test_nothing_is_overwritten_and_the_newest_finished_result_is_shown(tmp_path: Path) -> None:
    one = experiment(whole)
    first, second = (conduct(one, tmp_path) for _ in range(2))
    assert first.folder.name == "toy" and second.folder.name == "toy-2"
    failing = replace(one, run=lambda lab: iter([measure(0.5)]))
    conduct(failing, tmp_path)
    shown = best(tmp_path, one)
    assert shown and shown[0].name == "toy-2" and shown[1].state == "finished"
    assert [f.name for f, _ in kept(tmp_path, "toy")] == ["toy", "toy-2", "toy-3"]


def test_attempts_that_found_nothing_do_not_pile_up(tmp_path: Path) -> None:
    def fails(lab: Lab) -> Iterator[Finding]:
        if lab.folder.exists():
            raise SondeError("there is no data", "set SONDE_DATA")
        yield measure(0.5)

    for _ in range(3):
        conduct(experiment(fails), tmp_path)
    assert len(kept(tmp_path, "toy")) == 1
    assert {p.name for p in tmp_path.iterdir()} <= {"toy", "toy-2"}


def test_an_experiment_whose_name_begins_with_anothers_is_another(tmp_path: Path) -> None:
    conduct(experiment(whole, "toy_two"), tmp_path)
    assert kept(tmp_path, "toy") == [] and best(tmp_path, experiment(whole)) is None


def test_a_result_is_current_for_its_version_file_and_seed(tmp_path: Path) -> None:
    one = experiment(whole)
    result = conduct(one, tmp_path).result
    assert current(result, one)
    assert not current(replace(result, version="0.0.0"), one)
    assert not current(replace(result, code="0" * 16), one)
    assert not current(replace(result, seed=1), one)


def test_a_damaged_result_hides_no_other(tmp_path: Path) -> None:
    one = experiment(whole)
    good, bad = (conduct(one, tmp_path) for _ in range(2))
    (bad.folder.path / "result.json").write_text('{"name": "toy"', encoding="utf-8")
    shown = best(tmp_path, one)
    assert shown and shown[0].name == good.folder.name


# ---------------------------------------------------------------- the site
def test_the_site_has_a_page_for_each_result_and_names_the_others(tmp_path: Path) -> None:
    one, other = experiment(whole), experiment(whole, "never", claim="Never was.")
    conduct(one, tmp_path)
    index = write(tmp_path / "site", entries(tmp_path, [one, other]))
    assert {p.name for p in (tmp_path / "site").iterdir()} == {"index.html", "toy.html", "figures", "atlas.json"}
    text = index.read_text(encoding="utf-8")
    assert "toy.html" in text and "Never was." in text and "sonde run never" in text
    assert (tmp_path / "site" / "figures" / "toy-line.svg").read_text(encoding="utf-8") == SVG
    listed = json.loads((tmp_path / "site" / "atlas.json").read_text(encoding="utf-8"))
    assert [r["verdict"] for r in listed["results"]] == ["holds", None]


def test_results_of_other_code_are_marked(tmp_path: Path) -> None:
    one = experiment(whole)
    folder = conduct(one, tmp_path).folder
    for field, said in (("version", "Measured with Sonde 0.0.0"), ("code", "code has changed")):
        data = folder.read("result.json")
        folder.write("result.json", {**data, field: "0.0.0"})
        write(tmp_path / "site", entries(tmp_path, [one]))
        assert said in (tmp_path / "site" / "toy.html").read_text(encoding="utf-8")
        assert said in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
        folder.write("result.json", {**data, "version": sonde.__version__})


def test_a_site_is_written_again_without_what_is_gone(tmp_path: Path) -> None:
    one = experiment(whole)
    done = conduct(one, tmp_path)
    write(tmp_path / "site", entries(tmp_path, [one]))
    (done.folder.path / "line.svg").unlink()
    write(tmp_path / "site", entries(tmp_path, [one]))
    assert "<img" not in (tmp_path / "site" / "toy.html").read_text(encoding="utf-8")
    assert not (tmp_path / "site" / "figures" / "toy-line.svg").exists()
    done.folder.discard()
    write(tmp_path / "site", entries(tmp_path, [one]))
    assert not (tmp_path / "site" / "toy.html").exists()


@pytest.mark.parametrize("marker", [None, "[]", '{"files": 3}'])
def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, marker: str | None) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "index.html").write_text("mine", encoding="utf-8")
    if marker is not None:
        (tmp_path / "mine" / "atlas.json").write_text(marker, encoding="utf-8")
    with pytest.raises(SondeError, match="something else than an atlas"):
        write(tmp_path / "mine", [])
    assert (tmp_path / "mine" / "index.html").read_text(encoding="utf-8") == "mine"


def test_a_listing_that_was_tampered_with_deletes_nothing_outside(tmp_path: Path) -> None:
    site, outside = tmp_path / "site", tmp_path / "outside.html"
    outside.write_text("mine", encoding="utf-8")
    write(site, [])
    RunFolder(site).write("atlas.json", {"files": ["../outside.html", "/etc/hostname", "figures/../../outside.html"]})
    write(site, [])
    assert outside.exists()
