"""The accuracy matrix on the page: every number, its shades, what is not known, and names that mean harm."""

from __future__ import annotations

import json
import math

import pytest

from sonde.report.facts import Facts, Retained
from sonde.report.html import render
from sonde.report.retained import experience, table
from tests.report.samples import HOSTILE, ODD, ordinary

KEPT = Retained(("zero", "one"), ((0.1, 0.5), (0.96, 0.2), (0.71, 0.9)), (300, 200), "test", "About the rest.")


def test_the_table_says_what_was_learned_kept_and_lost() -> None:
    shown = table(KEPT)
    assert [r["name"] for r in shown["rows"]] == ["before training", "after zero", "after one"]
    assert [r["mean"] for r in shown["rows"]] == ["–", "96.0", "80.5"]
    first = shown["rows"][1]["cells"][0]
    assert first == {"text": "96.0", "shade": "d5", "own": True, "ahead": False}
    assert shown["rows"][1]["cells"][1]["ahead"] and not shown["rows"][2]["cells"][1]["ahead"]
    zero, one = shown["experiences"]
    assert (zero["learned"], zero["best"], zero["end"], zero["lost"]) == (
        "96.0\u202f%", "96.0\u202f%", "71.0\u202f%", "25.0\u202f%"
    )  # fmt: skip
    assert one["lost"] == "–" and one["rows"] == 200


def test_a_stream_that_is_not_finished_has_gaps() -> None:
    begun = Retained(("zero", "one"), ((0.1, 0.5),), (3, 2))
    assert experience(begun, 0)["end"] == "–" and len(table(begun)["rows"]) == 1


def test_an_experience_that_only_gained_has_forgotten_less_than_nothing() -> None:
    gained = Retained(("zero", "one"), ((0.1, 0.1), (0.5, 0.1), (0.75, 0.9)), (4, 4))
    assert experience(gained, 0)["lost"] == "−25.0\u202f%" and experience(gained, 0)["best"] == "75.0\u202f%"


def test_the_page_shows_it_and_the_facts_survive_as_json() -> None:
    facts = ordinary(retained=KEPT)
    again = Facts.from_data(json.loads(json.dumps(facts.to_data(), allow_nan=False)))
    assert again == facts
    page = render(again)
    assert "What was kept of each experience" in page and ">96.0<" in page and page.count("About the rest.") == 2
    assert "learned the rows of all experiences at once" in page
    assert "What was kept" not in render(ordinary())


def test_hostile_names_and_numbers_stay_text() -> None:
    names = HOSTILE + ODD
    line = tuple([math.nan, 2.0, -1.0, math.inf] * 10)[: len(names)]
    page = render(ordinary(retained=Retained(names, (line, line), (1,) * len(names), HOSTILE[0], HOSTILE[1])))
    assert "<script>" not in page and "<img src=x" not in page


def test_a_matrix_has_a_number_for_each_experience() -> None:
    with pytest.raises(ValueError, match="2 numbers a row"):
        Retained(("a", "b"), ((0.5,),), (1, 2))
