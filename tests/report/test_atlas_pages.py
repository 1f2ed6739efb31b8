"""The atlas's pages: everything told, in order, and nothing that could act or be fetched."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sonde.report import atlas_facts as facts
from sonde.report.atlas import file_of, pages, roughly
from sonde.report.facts import Score
from tests.report.page import Page

CHAPTERS = ("Beginnings", "Middles", "Ends")
HOSTILE = '<script>alert("x")</script>"\'><img src=x onerror=alert(1)>\u202e\x07'


def score(value: float = 0.984, **more: Any) -> Score:
    given = {"unit": "1", "interval": (0.981, 0.987), "percent": True, "label": "Accuracy", **more}
    return Score("quality/accuracy", value, n=10_000, better="higher", source="Somebody, 1998", **given)


def check(verdict: str = facts.HOLDS, **more: Any) -> facts.Found:
    given = {"at_least": 0.98, "published": 0.9905, "published_in": "Somebody, 1998, table 1", **more}
    return facts.Found(check=facts.Checked(given.pop("score", score()), verdict, **given))


def conducted(name: str = "digits", **more: Any) -> facts.Conducted:
    found = (
        check(),
        facts.Found(figure=facts.Drawn("course", "The loss falls.", "course.svg")),
        facts.Found(
            table=facts.Tabled("sizes", "Sizes of nets.", ("net", "weights"), (("small", 1234), ("none", None)))
        ),
        facts.Found(score=score(0.5, label="Balanced accuracy", interval=None)),
    )
    given: dict[str, Any] = {
        "chapter": "Beginnings", "claim": f"The claim of {name}.", "source": "Somebody, 1998",
        "created": "2026-03-21T14:05:00+00:00", "command": f"sonde run {name}", "seed": 0, "version": "0.1.0",
        "code": "00", "state": "finished", "verdict": facts.HOLDS, "seconds": 72.0, "found": found,
        "environment": {"processor": "A Processor", "threads": "1 of 2 cores"}, "about": ("What it is.", "    a = b"),
        "terms": ("perceptron",), "data": ("digits",),
    }  # fmt: skip
    return facts.Conducted(name=name, **{**given, **more})


def planned(name: str = "later", **more: Any) -> facts.Planned:
    given: dict[str, Any] = {"chapter": "Ends", "claim": "Not yet.", "source": "Somebody, 2001", "seconds": 150.0}
    return facts.Planned(name=name, command=f"sonde run {name}", **{**given, **more})


def site(*entries: facts.Conducted | facts.Planned) -> dict[str, Page]:
    told = facts.Atlas(CHAPTERS, entries, "2026-03-21T14:05:00+00:00", "0.1.0")
    return {name: Page(text) for name, text in pages(told)}


def squeezed(page: Page) -> str:
    return re.sub(r"[\s\u202f\xa0]+", " ", page.text)


def test_a_page_tells_claim_source_numbers_verdict_command_time_and_machine() -> None:
    text = squeezed(site(conducted())["digits.html"])
    for said in (
        "1 · Beginnings",
        "The claim of digits.",
        "Somebody, 1998",
        "Holds",
        "98.40 %",
        "95 % interval 98.10 to 98.70",
        "at least 98 %",
        "99.05 %",
        "Somebody, 1998, table 1",
        "n = 10,000, test",
        "The loss falls.",
        "Sizes of nets.",
        "1,234",
        "Balanced accuracy",
        "What it is.",
        "perceptron",
        "sonde run digits",
        "1 min 12 s",
        "A Processor",
        "1 of 2 cores",
        "21 March 2026, 14:05 UTC",
    ):
        assert said in text, said


def test_pages_are_linked_in_the_order_of_the_chapters() -> None:
    made = site(conducted("one"), planned("skipped", chapter="Beginnings"), conducted("two", chapter="Middles"))
    assert list(made) == ["index.html", "one.html", "two.html"]
    links = {name: [(a.get("rel"), a["href"]) for a in page.all("a")] for name, page in made.items()}
    assert ("next", "two.html") in links["one.html"] and not any(rel == "prev" for rel, _ in links["one.html"])
    assert ("prev", "one.html") in links["two.html"] and not any(rel == "next" for rel, _ in links["two.html"])
    assert all((None, "index.html") in links[name] for name in ("one.html", "two.html"))


def test_every_link_and_picture_of_the_site_is_a_file_of_the_site() -> None:
    made = site(conducted("one"), conducted("two", chapter="Middles"), planned())
    files = {*made, "figures/one-course.svg", "figures/two-course.svg"}
    for page in made.values():
        ids = {f"#{e['id']}" for _, e in page.elements if "id" in e}
        assert {a["href"] for a in page.all("a")} <= files | ids
        assert {img["src"] for img in page.all("img")} <= files


def test_the_index_sums_up_and_names_what_was_not_run() -> None:
    refuted = conducted("wrong", verdict=facts.REFUTED, found=(check(facts.REFUTED, score=score(0.9, interval=None)),))
    failed = conducted("broken", verdict=facts.FAILED, state="failed", failure=facts.Failure("no data", "get it"))
    across = conducted("near", verdict=facts.ACROSS)
    text = squeezed(site(conducted(), refuted, failed, across, conducted("too"), planned())["index.html"])
    for said in (
        "2 hold",
        "1 holds, but the interval reaches across the bound",
        "1 does not hold",
        "1 failed",
        "1 not run yet",
        "no data",
        "Takes about 3 min. sonde run later",
        "published 99.05 %",
        "Chapters without an experiment Middles",
    ):
        assert said in text, said


def test_a_failed_experiment_says_why_above_what_it_found() -> None:
    one = conducted(verdict=facts.FAILED, state="failed", failure=facts.Failure("ValueError: no", "mend it"), found=())
    text = squeezed(site(one)["digits.html"])
    assert "Failed" in text and "ValueError: nomend it" in text and "Nothing was checked before it ended." in text


def test_nothing_runs_and_nothing_is_fetched() -> None:
    for name, page in site(conducted(), planned()).items():
        tags = {tag for tag, _ in page.elements}
        assert not tags & {"script", "iframe", "object", "embed", "form", "link"}, name
        policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
        assert policy.startswith("default-src 'none'")
        assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)
        assert not any("url(" in style or "@import" in style for style in page.styles)
        addresses = [v for _, a in page.elements for k, v in a.items() if k in ("src", "href")]
        assert not any(re.match(r"(?i)[a-z]+:|//", address) for address in addresses)
        assert page.open == []


def test_hostile_texts_are_shown_as_texts() -> None:
    hostile = facts.Found(table=facts.Tabled(HOSTILE, HOSTILE, (HOSTILE,), ((HOSTILE,),)))
    one = conducted(
        name=HOSTILE, claim=HOSTILE, source=HOSTILE, command=HOSTILE, about=(HOSTILE, "    " + HOSTILE),
        terms=(HOSTILE,), data=(HOSTILE,), environment={HOSTILE: HOSTILE}, notes=(HOSTILE,),
        failure=facts.Failure(HOSTILE, HOSTILE),
        found=(
            hostile,
            check(HOSTILE, score=score(label=HOSTILE, unit=HOSTILE, split=HOSTILE, settings={HOSTILE: HOSTILE}),
                  published_in=HOSTILE),
            facts.Found(figure=facts.Drawn(HOSTILE, HOSTILE, "a.svg")),
        ),
    )  # fmt: skip
    made = site(one, planned(claim=HOSTILE, source=HOSTILE, data=(HOSTILE,)))
    for name, page in made.items():
        assert re.fullmatch(r"[\w-]+\.html", name)
        assert "script" not in {tag for tag, _ in page.elements}
        assert not any(k.startswith("on") for _, attributes in page.elements for k in attributes)
        assert all(img["src"].startswith("figures/") for img in page.all("img"))
        assert '<script>alert("x")</script>' in page.text
        assert "\u202e" not in page.text and "\x07" not in page.text


def test_figures_have_a_text_and_tables_have_heads() -> None:
    page = site(conducted())["digits.html"]
    assert [img["alt"] for img in page.all("img")] == ["The loss falls."]
    assert all(th.get("scope") in ("col", "row") for th in page.all("th")) and page.all("th")
    tables, captions = page.all("table"), page.all("caption")
    assert len(tables) == len(captions) == 2
    assert page.all("html")[0]["lang"] == "en" and page.all("title")


def test_a_caption_with_quotation_marks_stays_one_attribute() -> None:
    caption = 'The "best" net\'s <loss> & more.'
    figure = facts.Found(figure=facts.Drawn("a", caption, "a.svg"))
    page = site(conducted(found=(check(), figure)))["digits.html"]
    assert [img["alt"] for img in page.all("img")] == [caption]


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({"at_least": 0.98}, "at least 98 %"),
        ({"at_least": None, "at_most": 0.99}, "at most 99 %"),
        ({"at_least": 0.5, "at_most": 0.995}, "50 % to 99.5 %"),
        ({"at_least": 1.0, "at_most": 1.0}, "exactly 100 %"),
        ({"at_least": 1.0 - 1e-12, "at_most": 1.0 + 1e-12}, "100 % up to rounding"),
    ],
)
def test_what_the_claim_needs_is_said_in_its_own_digits(bounds: dict[str, Any], said: str) -> None:
    assert said in squeezed(site(conducted(found=(check(**bounds),)))["digits.html"])


def test_numbers_that_are_none_break_nothing() -> None:
    odd = score(float("nan"), interval=None), score(float("inf"), interval=None, percent=False)
    text = squeezed(site(conducted(found=tuple(check(facts.REFUTED, score=s) for s in odd)))["digits.html"])
    assert "NaN" in text and "∞" in text


def test_positions_on_the_line_stay_on_it() -> None:
    page = site(conducted(found=(check(at_least=0.98, published=0.2), check(at_least=-5.0))))["digits.html"]
    drawn = [v for _, a in page.elements for v in re.findall(r"(?:left|right):(-?[\d.]+)%", a.get("style", ""))]
    assert drawn and all(0 <= float(v) <= 100 for v in drawn)


def test_a_long_table_is_cut_and_says_so() -> None:
    rows = tuple((i,) for i in range(500))
    text = squeezed(
        site(conducted(found=(check(), facts.Found(table=facts.Tabled("t", "T.", ("i",), rows)))))["digits.html"]
    )
    assert "300 further rows" in text


def test_a_result_survives_the_way_to_json_and_back() -> None:
    one = conducted(found=(*conducted().found, check(score=score(float("nan")))))
    assert facts.Conducted.from_data(one.to_data()).to_data() == one.to_data()


@pytest.mark.parametrize("file", ["../a.svg", "a.html", ".svg", "a\\b.svg"])
def test_a_figure_is_a_file_beside_its_result(file: str) -> None:
    with pytest.raises(ValueError, match="SVG"):
        facts.Drawn("a", "A.", file)


def test_a_finding_is_one_thing() -> None:
    with pytest.raises(ValueError, match="one of"):
        facts.Found()


def test_an_experiment_called_index_does_not_take_the_index(tmp_path: Path) -> None:
    assert file_of(replace(conducted(), name="index")) == "index-experiment.html"


def test_estimates_are_rough() -> None:
    assert [roughly(s) for s in (5, 61, 3600)] == ["5 s", "2 min", "1.0 h"]
