"""The audit on a page: complete, ordered, and unable to act whatever the names in it are."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest

from sonde.report.audit import AuditFacts, Change, Drawn, Section, Sheet, Verdict
from sonde.report.audited import still_unmeasured
from sonde.report.facts import Score, Unmeasured
from sonde.report.html import render, render_audit
from tests.laws.subjects import HOSTILE
from tests.report import samples
from tests.report.page import Page

SVG = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
ELEMENTS = set(
    "html head meta title style body div header main section nav footer h1 h2 h3 h4 p span a b i br ul ol li dl dt dd "
    "table caption thead tbody tr th td figure figcaption svg path rect img details summary pre code bdi".split()
)


def score(name: str = "quality/accuracy", value: float = 0.9, text: str = "Accuracy", **more: object) -> Score:
    return Score(name, value, "1", 100, "higher", text, (0.8, 0.95), label=text, percent=True, **more)  # type: ignore[arg-type]


def audit(text: str = "Accuracy", **changes: object) -> AuditFacts:
    """An audit in which every text of someone else's is `text`."""
    quality = Section(
        "quality", "quality", text, {"name": text, "_x_y": 3}, "done", "", 1.5,
        (score(text=text), score("quality/left", math.nan, text, settings={"omitted": text})),
        (Drawn("drawn", text, SVG),),
        (Sheet("sheet", text, (text, "number"), ((text, 1.5), (None, 0.25), ("10.5", math.nan))),),
        command=f"sonde audit {text}",
    )  # fmt: skip
    refused = Section("groups", text or "fairness", text, {}, "refused", text or "why", 0.0)
    facts = AuditFacts(
        text, "2026-03-21T14:05:00+00:00", "sonde audit", "0.1.0", "classification", "f" * 64,
        {"test": 100, text: 3}, 0, 1.5, False, sections=(quality, refused),
        verdicts=(Verdict("quality/accuracy", "at least 0.5", True, 0.9, (0.8, 0.95)),
                  Verdict(text, text, False, None, None, text)),
        baseline=text or "b",
        changes=(Change("quality/accuracy", 0.95, 0.9, "worse", (-0.09, -0.01), 0.012, "McNemar"),),
        environment={text: text},
    )  # fmt: skip
    return replace(facts, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("alone", [True, False])
def test_a_hostile_name_is_shown_as_text(text: str, alone: bool) -> None:
    html = render_audit(audit(text)) if alone else render(samples.ordinary(), audit(text))
    page = Page(html)
    assert {tag for tag, _ in page.elements} <= ELEMENTS and not page.open
    assert not [a for _, a in page.elements for name in a if name.startswith("on")]
    for image in page.all("img"):
        assert re.fullmatch(r"data:image/(svg\+xml|png);base64,[A-Za-z0-9+/=]+", image["src"]) and "alt" in image
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids)) and {a["href"][1:] for a in page.all("a")} <= set(ids)
    assert all(re.fullmatch("[a-z][a-z_-]*", i) for i in ids)
    assert "\u202e" not in html and "\x1b" not in html and "\x00" not in html
    assert len(html) < 150_000
    if "<script>" in text:
        assert "<script>alert(1)</script>" in page.text and "<script" not in html


def test_every_number_can_be_read_on_the_page() -> None:
    text = " ".join(Page(render(samples.ordinary(), audit())).text.split())
    for said in (
        "1 of 2 thresholds kept", "it was interrupted before its end", "left out", "at least 0.5",
        "p = 0.012", "worse", "Settings: name Accuracy",
        "Repeat it: sonde audit Accuracy", "not measured", "80.0 to 95.0",
    ):  # fmt: skip
        assert said in text, said
    assert text.index("Thresholds") < text.index("Quality")
    rows = [line for line in text.split("Thresholds")[1:] if "not kept" in line]
    assert rows[0].index("not kept") < rows[0].index("at least 0.5"), "those that are not kept come first"


def test_the_page_of_an_audit_alone_sums_it_up() -> None:
    page = Page(render_audit(audit(complete=True)))
    text = " ".join(page.text.split())
    assert "Accuracy 90.0 % on 100 test rows (95 % interval 80.0 to 95.0). 1 of 2 thresholds not kept." in text
    assert "f" * 64 in text and "21 March 2026" in text
    assert len(page.all("h1")) == 1
    nothing = Page(render_audit(audit(sections=(), verdicts=(), changes=(), baseline="")))
    assert "Nothing was measured." in nothing.text


def test_columns_of_numbers_have_one_number_of_decimals() -> None:
    text = Page(render_audit(audit())).text
    assert "1.50" in text and "0.25" in text and "NaN" in text


def test_other_data_is_said_in_place_of_a_comparison() -> None:
    text = Page(render(samples.ordinary(), audit(same_data=False))).text
    assert "was measured on other data" in text and "p = 0.012" not in text


def test_what_the_audit_measured_is_not_called_unmeasured() -> None:
    names = (Unmeasured("Robustness", ""), Unmeasured("Quality", ""), Unmeasured("Energy", ""))
    assert [u.name for u in still_unmeasured(names, audit())] == ["Robustness", "Energy"]


def test_reasons_that_are_the_same_are_said_once() -> None:
    sections = tuple(Section(n, "fairness", f"{n} of groups.", {}, "refused", "no groups", 0.0) for n in ("one", "two"))
    text = Page(render_audit(audit(sections=sections))).text
    assert text.count("no groups") == 1 and "one of groups" in text and "two of groups" in text


def test_the_same_facts_give_the_same_page() -> None:
    assert render_audit(audit()) == render_audit(AuditFacts.from_data(audit().to_data()))


def test_headlines_stand_at_a_glance_and_lead_to_their_audits() -> None:
    of = Section("curves", "quality", "Curves.", {}, "done", "", 0.1, (score("quality/area", 0.7, "Area"),),
                 headlines=("quality/area",))  # fmt: skip
    facts = audit()
    first = replace(facts.sections[0], headlines=("quality/accuracy",))
    page = Page(render_audit(replace(facts, sections=(first, of, *facts.sections[1:]))))
    text = " ".join(page.text.split())
    glance = text[text.index("At a glance") : text.index("Area", text.index("At a glance")) + 40]
    assert "Accuracy" in glance and "70.0" in glance
    assert {"#audit-quality-quality", "#audit-quality-curves"} <= {a["href"] for a in page.all("a")}


def test_the_page_of_a_run_does_not_repeat_what_it_shows() -> None:
    facts = audit()
    again = replace(facts.sections[0], figures=(Drawn("confusion", "Matrix twice.", SVG), Drawn("other", "Once.", SVG)))
    facts = replace(facts, sections=(again,))
    assert "Matrix twice." in render_audit(facts) and "Once." in render_audit(facts)
    page = render(samples.ordinary(), facts)
    assert "Matrix twice." not in page and "Once." in page
