from __future__ import annotations

import json
import math
from typing import Any

import pytest

from sonde.core.errors import SondeError
from sonde.report.facts import Confusion, Example, Facts, Histogram, Mark, Score, Series
from tests.report import samples


def same(a: Any, b: Any) -> bool:
    """Equality under which NaN equals itself."""
    return repr(a) == repr(b)


@pytest.mark.parametrize(
    "make", [samples.ordinary, samples.regression, samples.nothing, samples.hostile], ids=lambda f: f.__name__
)
def test_facts_survive_json_exactly(make: Any) -> None:
    facts = make()
    text = json.dumps(facts.to_data(), allow_nan=False)
    again = Facts.from_data(json.loads(text))
    assert json.dumps(again.to_data(), allow_nan=False) == text
    assert type(again.measures) is tuple
    if make is not samples.hostile:
        assert again.measures == facts.measures and again.curves == facts.curves and again.data == facts.data


def test_numbers_json_has_no_word_for_survive() -> None:
    facts = samples.ordinary(seconds=math.inf, epoch=math.nan, recipe={"clip": math.inf, "list": [-math.inf]})
    again = Facts.from_data(json.loads(json.dumps(facts.to_data(), allow_nan=False)))
    assert again.seconds == math.inf and again.epoch is not None and math.isnan(again.epoch)
    assert again.recipe == {"clip": math.inf, "list": [-math.inf]}


def broken(path: str, value: Any) -> Any:
    """The ordinary facts as data, with `value` at a dotted path; the value `...` removes the key."""
    data = samples.ordinary().to_data()
    at, keys = data, path.split(".")
    for key in keys[:-1]:
        at = at[int(key)] if isinstance(at, list) else at[key]
    if value is ...:
        del at[keys[-1]]
    else:
        at[int(keys[-1]) if isinstance(at, list) else keys[-1]] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("title", ..., "facts lacks the field 'title'"),
        ("titel", "x", "facts has no field 'titel'.*\n.*did you mean 'title'"),
        ("title", 3, r"facts\.title should be text, not 3"),
        ("outcome", "done", r"facts\.outcome should be one of 'finished'"),
        ("step", 1.5, r"facts\.step should be a whole number"),
        ("step", True, r"facts\.step should be a whole number"),
        ("seconds", "1", r"facts\.seconds should be a number"),
        ("seconds", {"float": "x"}, r"facts\.seconds should be a number"),
        ("measures.0.interval", [1.0], r"facts\.measures\[0\]\.interval should be a list of 2"),
        ("measures", {}, r"facts\.measures should be a list"),
        ("model", [], r"facts\.model should be an object"),
        ("data.splits", {"train": "9"}, r"facts\.data\.splits\.train should be a whole number"),
        ("created", "yesterday", "facts: created is 'yesterday', not an ISO 8601"),
        ("examples.0.picture", "https://evil.example/x.png", r"facts\.examples\[0\]: the picture"),
        ("examples.0.split", "train", r"facts\.examples\[0\]\.split should be one of 'test', 'val'"),
        ("curves.0.train.steps", [1], r"facts\.curves\[0\]\.train: steps, values and epochs .* differ in length"),
        ("confusion.cells.0.1", 3, r"facts\.confusion: a cell of the confusion matrix names a class outside 0 to 2"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(path: str, value: Any, message: str) -> None:
    with pytest.raises(SondeError, match=message):
        Facts.from_data(broken(path, value))


def test_what_json_cannot_hold_exactly_is_refused_when_written() -> None:
    for value in (object(), {3: "x"}, {"float": "nan"}):
        with pytest.raises(SondeError, match=r"facts\.recipe\.a"):
            samples.ordinary(recipe={"a": value}).to_data()
    deep: Any = 1
    for _ in range(2000):
        deep = [deep]
    with pytest.raises(SondeError, match="nested more than"):
        samples.ordinary(recipe={"a": deep}).to_data()


def test_a_matrix_keeps_every_count() -> None:
    assert Confusion.of("ab", [[3, 0], [1, 2]]).cells == ((0, 0, 3), (1, 0, 1), (1, 1, 2))


def test_a_score_takes_over_the_fields_of_a_measure() -> None:
    measure = samples.accuracy(0.5)
    assert Score.of(measure, "Accuracy", percent=True) == measure


@pytest.mark.parametrize(
    "uri", ["x", "javascript:alert(1)", "data:image/svg+xml;base64,AAAA", 'data:image/png;base64,A"A']
)
def test_a_picture_can_only_be_a_png_inside_the_page(uri: str) -> None:
    with pytest.raises(ValueError, match="PNG data URI"):
        Example("a", "b", "c", picture=uri)


def test_invariants_hold_without_json_too() -> None:
    with pytest.raises(ValueError, match="one edge more"):
        Histogram((0.0, 1.0), (1, 2))
    with pytest.raises(ValueError, match="differ in length"):
        Series((1, 2), (0.1,))
    assert Mark(1, "best", "x") == Mark(1, "best", "x")
