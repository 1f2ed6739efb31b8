"""Which audits there are and which run; what a bundle is as their subject."""

from __future__ import annotations

import pytest

from sonde.auditing import TOPICS, catalogue, chosen, topic
from sonde.audits.quality.quality import Quality
from sonde.core import Audit, SondeError
from sonde.names import snake


def names(audits: list[Audit]) -> list[str]:
    return [snake(type(a).__name__) for a in audits]


def test_the_catalogue_begins_with_quality_and_keeps_topics_together() -> None:
    topics = list(dict.fromkeys(map(topic, catalogue())))
    assert topics == sorted(topics, key=TOPICS.index)
    assert [topic(a) for a in catalogue()] == [t for t in topics for a in catalogue() if topic(a) == t]
    assert catalogue()[0] is Quality


def test_topics_and_names_choose() -> None:
    assert {topic(a) for a in chosen(["quality"])} == {"quality"}
    assert "quality" in names(chosen(["Quality"])) and names(chosen(["QUALITY"])) == names(chosen(["quality"]))
    assert len(chosen()) == len(chosen(["all"])) == len(catalogue())


def test_a_name_that_is_not_known_is_answered_with_the_closest() -> None:
    with pytest.raises(SondeError, match="there is no audit 'qualty'\n  did you mean 'quality'"):
        chosen(["quality", "qualty"])
    with pytest.raises(SondeError, match="choose from all, quality"):
        chosen(["zzzzzz"])


class Tuned(Audit):
    """An audit of a recipe's."""

    def __init__(self, rows: int = 5) -> None:
        self.rows = rows


def test_what_a_recipe_names_runs_with_its_settings() -> None:
    named = [Tuned(7), Tuned(9)]
    assert chosen((), named) == named
    assert [a for a in chosen(["all"], named) if isinstance(a, Tuned)] == named
    assert len(chosen(["all"], named)) == len(catalogue()) + 2
    assert chosen(["tuned"], named) == named
    assert "tuned" not in names(chosen(["quality"], named))
    own = Quality()
    assert [a for a in chosen(["all"], [own]) if isinstance(a, Quality)] == [own]
