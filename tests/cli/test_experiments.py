"""`sonde run`, `sonde atlas` and `sonde recipes`: what they print, what they leave, and how they end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sonde import atlas, atlas_site
from sonde.core import Measure, SondeError
from sonde.experiment import Check, Experiment, Figure, Finding, Lab, Table
from sonde.names import catalogue
from tests.cli.command import Sonde

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"></svg>'


def share(value: float) -> Measure:
    return Measure("toy/share of toys", value, "1", 40, "higher", "nobody", (value - 0.1, value + 0.1))


def good(lab: Lab) -> Iterator[Finding]:
    lab.say("playing")
    yield Check(measure=share(0.9 + lab.seed), at_least=0.5, published=0.7, published_in="Nobody, 1950")
    yield share(0.25)
    yield Table("sums", "Sums of toys.", ("toy", "sum"), (("ball", 1.5), ("none", None)))
    yield Figure("line", "A line.", SVG)


def bad(lab: Lab) -> Iterator[Finding]:
    yield Check(measure=share(0.1), at_least=0.5)


def without_data(lab: Lab) -> Iterator[Finding]:
    yield Check(measure=share(0.9), at_least=0.5)
    raise SondeError("the toys are not on this machine", "fetch them")


def stopped(lab: Lab) -> Iterator[Finding]:
    yield Check(measure=share(0.9), at_least=0.5)
    raise KeyboardInterrupt


def toys(name: str, run: object, **more: object) -> Experiment:
    given = {"chapter": "Roots", "claim": f"The claim of {name}.", "source": "Nobody, 1950", "seconds": 4.0, **more}
    return Experiment(name=name, run=run, **given)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def known(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The experiments of these tests, in place of the package's, in an empty folder."""
    found = (
        toys("good_toy", good),
        toys("bad_toy", bad, seconds=90.0),
        toys("far_toy", without_data, chapter="Limits", data=("mnist",)),
    )
    for module in (atlas, atlas_site):
        monkeypatch.setattr(module, "experiments", lambda: found)
    monkeypatch.setenv("SONDE_DATA", str(here / "nothing"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "nothing"))


# ---------------------------------------------------------------- run
def test_run_tells_the_claim_the_checks_and_where_the_figures_are(sonde: Sonde, here: Path) -> None:
    done = sonde("run", "good_toy")
    assert done.code == 0
    for said in (
        "The claim of good_toy.",
        "Nobody, 1950",
        "Share of toys",
        "≥ 0.5",
        "0.7",
        "0.8 to 1",
        "Sums of toys.",
    ):
        assert said in done.out, said
    assert "runs/atlas/good_toy/line.svg" in done.out and (here / "runs/atlas/good_toy/line.svg").read_text() == SVG
    assert "holds · " in done.out and "playing" in done.err and "takes about 4 s" in done.err


def test_a_claim_that_does_not_hold_ends_with_3(sonde: Sonde) -> None:
    done = sonde("run", "bad_toy")
    assert done.code == 3 and "does not hold" in done.out
    assert "the claim of bad_toy does not hold here: Share of toys" in done.err


def test_what_fails_says_why_after_what_it_found(sonde: Sonde) -> None:
    done = sonde("run", "far_toy")
    assert done.code == 1 and "Share of toys" in done.out and "failed · " in done.out
    assert "error: the toys are not on this machine\n  fetch them" in done.err


def test_quiet_prints_the_result_alone(sonde: Sonde) -> None:
    assert sonde("run", "good_toy", "--quiet").err == ""


def test_json_is_the_result_and_nothing_else(sonde: Sonde) -> None:
    done = sonde("run", "good_toy", "--json", "seed=2")
    assert done.err == "" and done.data["verdict"] == "holds" and done.data["seed"] == 2
    assert done.data["checks"][0]["score"]["value"] == 2.9
    assert done.data["figures"] == ["runs/atlas/good_toy/line.svg"]
    assert sonde("run", "bad_toy", "--json").data["verdict"] == "does not hold"


def test_a_name_is_suggested(sonde: Sonde) -> None:
    done = sonde("run", "god_toy")
    assert done.code == 1 and "did you mean 'good_toy'?" in done.err


def test_a_recipe_without_an_experiment_is_trained(sonde: Sonde) -> None:
    assert "sonde train --recipe split_mnist" in sonde("run", "split-mnist").err


def test_results_go_where_they_are_told(sonde: Sonde, here: Path) -> None:
    assert sonde("run", "good_toy", "--output-dir", here / "else").code == 0
    assert (here / "else" / "good_toy" / "result.json").exists() and not (here / "runs").exists()


@pytest.mark.parametrize("seed", ["-1", "99999999999"])
def test_a_seed_that_is_none_is_refused(sonde: Sonde, seed: str) -> None:
    assert sonde("run", "good_toy", "--seed", seed).code == 2


# ---------------------------------------------------------------- atlas
def test_the_atlas_goes_on_after_what_fails_and_says_what_did_not_hold(sonde: Sonde, here: Path) -> None:
    done = sonde("atlas")
    assert done.code == 3 and "bad_toy" in done.err
    site = here / "runs/atlas/site"
    assert {p.name for p in site.glob("*.html")} == {"index.html", "good_toy.html", "bad_toy.html", "far_toy.html"}
    assert "the toys are not on this machine" in (site / "far_toy.html").read_text(encoding="utf-8")
    assert "runs/atlas/site/index.html" in done.out


def test_what_was_measured_is_used_again_unless_it_is_asked_for(sonde: Sonde, here: Path) -> None:
    assert sonde("atlas", "good_toy").code == 0
    again = sonde("atlas", "good_toy")
    assert "measured before" in again.err and "playing" not in again.err
    assert "playing" in sonde("atlas", "good_toy", "--again").err
    assert [p.name for p in sorted((here / "runs/atlas").glob("good_toy*"))] == ["good_toy", "good_toy-2"]


def test_what_failed_is_tried_again(sonde: Sonde) -> None:
    assert sonde("atlas", "far_toy").code == 1
    assert "measured before" not in sonde("atlas", "far_toy").err


@pytest.mark.parametrize(
    ("words", "run"),
    [
        (("--within", "5s"), {"good_toy", "far_toy"}),
        (("--chapter", "Limits"), {"far_toy"}),
        (("chapter=2",), {"good_toy", "bad_toy"}),
        (("--available",), {"good_toy", "bad_toy"}),
        (("bad_toy", "good_toy", "--within", "1m"), {"good_toy"}),
    ],
)
def test_the_set_is_chosen(sonde: Sonde, words: tuple[str, ...], run: set[str]) -> None:
    assert {r["name"] for r in sonde("atlas", "--json", *words).data["results"]} == run


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--within", "soon"), "--within 'soon' is not a time"), (("--chapter", "Cooking"), "no chapter")],
)
def test_a_choice_that_is_none_is_answered(sonde: Sonde, words: tuple[str, ...], said: str) -> None:
    done = sonde("atlas", *words)
    assert done.code in (1, 2) and said in done.err


def test_a_folder_of_something_else_is_refused_before_anything_is_run(sonde: Sonde, here: Path) -> None:
    (here / "mine").mkdir()
    (here / "mine" / "letter.txt").write_text("dear", encoding="utf-8")
    done = sonde("atlas", "--out", here / "mine")
    assert done.code == 1 and "something else than an atlas" in done.err and not (here / "runs").exists()


def test_an_interrupted_atlas_keeps_what_it_has(sonde: Sonde, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = (toys("good_toy", good), toys("stopped_toy", stopped), toys("never_toy", good))
    for module in (atlas, atlas_site):
        monkeypatch.setattr(module, "experiments", lambda: found)
    assert sonde("atlas").code == 130
    text = (here / "runs/atlas/site/index.html").read_text(encoding="utf-8")
    assert "Not finished" in text and "Holds" in text and "Not run yet" in text
    assert not (here / "runs/atlas/never_toy").exists()


# ---------------------------------------------------------------- recipes
def test_the_listing_follows_the_chapters_and_names_the_recipes(sonde: Sonde) -> None:
    out = sonde("recipes").out
    assert out.index("2 Roots") < out.index("good_toy") < out.index("8 Limits") < out.index("far_toy")
    assert "about 4 s" in out and "needs mnist (not on this machine)" in out
    assert "Recipes that train a model" in out and "split_mnist" in out


def test_the_listing_as_json_has_both(sonde: Sonde) -> None:
    listed = {e["name"]: e for e in sonde("recipes", "--json").data}
    assert set(listed) == {"good_toy", "bad_toy", "far_toy", *(e.name for e in catalogue("recipes"))}
    assert (
        listed["far_toy"]["data"] == ["mnist"] and listed["far_toy"]["experiment"] and not listed["far_toy"]["trains"]
    )
    assert listed["digits"]["trains"] and not listed["digits"]["experiment"]
