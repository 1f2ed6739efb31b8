from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from sonde.report import words
from sonde.report.facts import Confusion, Facts
from sonde.report.html import render
from tests.report import samples
from tests.report.page import Page

ALL = [samples.ordinary, samples.regression, samples.nothing, samples.hostile, samples.many_classes]
# The only elements the page is made of: none that runs, loads, embeds or submits anything.
ELEMENTS = set(
    "html head meta title style body div header main section nav footer h1 h2 h3 p span a b i br ul ol li dl dt dd "
    "table caption thead tbody tr th td figure figcaption svg path rect img details summary pre code bdi".split()
)


@pytest.fixture(scope="module", params=ALL, ids=lambda f: f.__name__)
def html(request: pytest.FixtureRequest) -> str:
    make: Callable[[], Facts] = request.param
    return render(make())


def test_page_holds_nothing_that_runs_or_loads(html: str) -> None:
    page = Page(html)
    assert {tag for tag, _ in page.elements} <= ELEMENTS
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        assert not {"srcset", "srcdoc", "action", "formaction", "data", "background", "poster", "xlink:href"} & set(
            attributes
        )
        if "href" in attributes:
            assert tag == "a" and re.fullmatch(r"#[a-z]+", attributes["href"])
        if "src" in attributes:
            assert tag == "img" and re.fullmatch(r"data:image/png;base64,[A-Za-z0-9+/=]+", attributes["src"])
        if "style" in attributes:  # only ever places and sizes in per cent that the layout computed
            allowed = r"((left|bottom|width):-?[\d.]+%;?)+|display:block"
            assert re.fullmatch(allowed, attributes["style"]), attributes["style"]
    [style] = page.styles
    assert "url(" not in style and "@import" not in style and "http" not in style


def test_policy_forbids_scripts_and_loading_before_anything_else_is_read(html: str) -> None:
    metas = Page(html).all("meta")
    assert metas[0] == {"charset": "utf-8"}
    policy = {part.split()[0]: part.split()[1:] for part in metas[1]["content"].split(";")}
    assert metas[1]["http-equiv"] == "Content-Security-Policy"
    assert policy["default-src"] == ["'none'"]
    assert policy["img-src"] == ["data:"]
    assert policy["style-src"] == ["'unsafe-inline'"]
    assert "script-src" not in policy


def test_page_is_well_formed_and_its_links_lead_somewhere(html: str) -> None:
    page = Page(html)
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in page.all("a")} <= set(ids)


def test_page_can_be_read_without_seeing_it(html: str) -> None:
    page = Page(html)
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    levels = [int(tag[1]) for tag, _ in page.elements if tag in ("h1", "h2", "h3")]
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    assert all(th.get("scope") in ("row", "col") for th in page.all("th"))
    assert all(img["alt"] for img in page.all("img"))
    assert all(svg["aria-hidden"] == "true" for svg in page.all("svg"))  # the figure around it carries the words
    for attributes in (a for _, a in page.elements if a.get("role") in ("img", "region")):
        assert attributes["aria-label"].strip()


@pytest.mark.parametrize("text", samples.HOSTILE)
def test_hostile_text_is_shown_as_text(text: str) -> None:
    page = Page(render(samples.ordinary(title=text, not_measured=(samples.Unmeasured(text, "x"),))))
    assert page.text.count(text) == 3  # <title>, heading, list


def test_every_hostile_text_of_a_page_made_of_them_is_escaped() -> None:
    html = render(samples.hostile())
    text = Page(html).text
    for word in samples.HOSTILE:
        assert text.count(word) > 5
    for word in ("<script", "<img src=x", "<link", "<svg/", "</style><", "</title><"):
        assert word not in html.replace("</title>\n", "").replace("</style>\n", "")


def test_odd_text_is_shown_or_replaced_by_a_visible_sign() -> None:
    text = Page(render(samples.hostile())).text
    assert "שלום עולם" in text and "مرحبا بالعالم" in text and "👩‍👩‍👧‍👦" in text
    assert "photo⟨U+202E⟩gpj.exe" in text and "\u202e" not in text
    assert "a␀b␛[31mc" in text and "\x00" not in text and "\x1b" not in text
    assert "lone \ufffd surrogate" in text
    assert "\u0335" * 5 not in text
    assert "(10,000 characters)" in text and "x" * 700 not in text.split("How to repeat it")[1].split("x" * 1000)[0]
    assert "(empty)" in text


def test_page_can_be_written_as_utf8_and_is_the_same_each_time(html: str) -> None:
    assert html.encode("utf-8").decode("utf-8") == html


def test_rendering_is_a_function_of_the_facts() -> None:
    assert render(samples.ordinary()) == render(samples.ordinary())


def test_a_thousand_classes_stay_readable_and_small() -> None:
    html = render(samples.many_classes())
    assert len(html.encode()) < 2_000_000
    page = Page(html)
    assert not [t for t in page.all("table") if t.get("class", "").startswith("confusion")]
    assert "Most frequent confusions among 1,000 classes" in page.text
    assert "980 more" in page.text


def test_very_long_lists_are_cut_and_counted() -> None:
    data = samples.ordinary().data
    columns = tuple(samples.Column(f"column {i}", "numeric", 0.0) for i in range(100_000))
    html = render(samples.ordinary(data=replace(data, columns=columns, notes=tuple(str(i) for i in range(5000)))))
    assert len(html.encode()) < 2_000_000
    assert "99,000 further rows are left out of this page." in html
    assert "4,900 further notes are left out of this page." in html


@pytest.mark.parametrize("count", [1, 2, 20])
def test_few_classes_get_a_matrix_with_every_count(count: int) -> None:
    names = [f"kind {i}" for i in range(count)]
    counts = [[1000 * (t == g) + t + g for g in range(count)] for t in range(count)]
    page = Page(render(samples.ordinary(confusion=Confusion.of(names, counts), per_class=())))
    cells = [td for td in page.all("td") if re.fullmatch("[de][0-5]", td.get("class", ""))]
    assert len(cells) == count * count
    assert f"{1000 + 2 * (count - 1):,}" in page.text


def test_the_page_says_what_the_facts_say() -> None:
    facts = samples.ordinary()
    text = Page(render(facts)).text
    for part in (
        facts.verdict,
        "Stopped early at step 100",
        "4 March 2026, 14:05 UTC",
        "sonde train shapes --seed 3",
        f"95.0{words.THIN}%",
        "93.0 to 97.0",
        "Not distinguishable from the net: the intervals overlap.",
        "best checkpoint: step 80",
        "1 of 18 mistakes" if len(facts.examples) == 1 else "2 of 18 mistakes",
        "> 99.9",
        "Two pictures stand in both splits.",
        "How answers change under attack.",
        "2.13.0",
        "Not measured here",
        "12,345",
    ):
        assert part in text, part


def test_the_recipe_stands_there_as_json_that_can_be_read_back() -> None:
    facts = samples.ordinary()
    text = Page(render(facts)).text
    start = text.index("The recipe as JSON") + len("The recipe as JSON")
    assert json.JSONDecoder().raw_decode(text[start:].lstrip())[0] == facts.recipe


def test_a_recipe_nested_beyond_reason_is_cut_not_crashed_on() -> None:
    deep: dict[str, object] = {}
    for _ in range(5000):
        deep = {"a": deep, "list": [deep and 1]}
    assert len(render(samples.ordinary(recipe=deep))) < 500_000


def test_a_model_far_off_is_named_at_the_edge_so_that_the_others_can_be_told_apart() -> None:
    html = render(samples.ordinary())
    assert html.count("off this scale") == 1
    assert "Majority class 33.0" in html  # in the words for those who cannot see the chart


# --- colours --------------------------------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    """WCAG 2.1, contrast ratio."""
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def schemes() -> dict[str, dict[str, str]]:
    [style] = Page(render(samples.nothing())).styles
    blocks = re.findall(r":root \{(.*?)\}", style, re.S)
    light, dark, printed = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in blocks)
    return {"light": light, "dark": {**light, **dark}, "print": {**light, **printed}}


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_text_contrast_is_at_least_4_5(scheme: str) -> None:
    colours = schemes()[scheme]
    pairs = [(text, ground) for text in ("ink", "muted", "net", "warn") for ground in ("page", "card")]
    pairs += [("ink", "net-soft"), ("warn", "warn-soft"), ("ink", "soft"), ("muted", "d0"), ("muted", "e0")]
    on_dark = ["d1", "d2", "d3", "e1", "e2", "e3"] if scheme == "dark" else ["d4", "d5", "e5"]
    shades = [f"{kind}{level}" for kind in "de" for level in range(1, 6)]
    pairs += [("on-dark" if shade in on_dark else "on-light", shade) for shade in shades]
    low = {pair: round(contrast(colours[pair[0]], colours[pair[1]]), 2) for pair in pairs}
    assert {pair: ratio for pair, ratio in low.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_lines_and_marks_stand_out_from_the_page(scheme: str) -> None:
    colours = schemes()[scheme]
    for line in ("net", "train", "other", "warn"):
        assert contrast(colours[line], colours["page"]) >= 3.0, line
