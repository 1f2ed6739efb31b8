"""Names at the border: what a person types becomes the package's own constructors, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonde.core import Build, SondeError
from sonde.methods import EMA, EarlyStopping, MixUp, adamw
from sonde.names import apply_settings, catalogue, did_you_mean, find, parse, read_value, snake, squash
from sonde.optim.schedules import OneCycle
from sonde.recipes.defaults import for_data

PARTS = ("nets", "methods", "objectives", "optim")


@pytest.mark.parametrize("part", PARTS)
def test_every_name_is_found_however_it_is_written(part: str) -> None:
    entries = catalogue(part)
    assert entries and len({squash(e.name) for e in entries}) == len(entries)
    for entry in entries:
        for name in (entry.name, entry.name.upper(), entry.name.replace("_", "-"), entry.make.__name__):
            assert find(part, name).make is entry.make
        assert entry.summary, f"{entry.name} says nothing of itself"


@pytest.mark.parametrize(
    ("text", "build"),
    [
        ("ema", Build(EMA)),
        ("EMA", Build(EMA)),
        ("early-stopping", Build(EarlyStopping)),
        ("early_stopping(metric='accuracy', patience=3)", Build(EarlyStopping, metric="accuracy", patience=3)),
        ("mixup(10, alpha=0.2)", Build(MixUp, classes=10, alpha=0.2)),
        ("adamw(lr=1e-3, schedule=one_cycle)", Build(adamw, lr=1e-3, schedule=Build(OneCycle))),
    ],
)
def test_text_becomes_a_build(text: str, build: Build) -> None:  # type: ignore[type-arg]
    assert parse("methods", text) == build


def test_what_the_data_decides_is_filled_in_unless_it_is_given() -> None:
    assert parse("methods", "mixup", {"classes": 7, "height": 3}).arguments == {"classes": 7}
    assert parse("methods", "mixup(classes=2)", {"classes": 7}).arguments == {"classes": 2}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mixp", "did you mean 'mixup'"),
        ("mixup(alpa=1)", "did you mean 'alpha'"),
        ("mixup(1, 2, 3, 4)", "more values"),
        ("mixup(**{})", "by name"),
        ("mixup(alpha=other)", "neither a number"),
        ("mixup(alpha=__import__('os').getcwd())", "neither a number"),
        ("os.getcwd()", "cannot be read"),
        ("[1 for _ in ()]", "cannot be read"),
        ("mixup(", "cannot be read"),
        ("", "cannot be read"),
        ("metrics_log", "writes files"),
    ],
)
def test_what_cannot_be_read_is_answered_in_words(text: str, says: str) -> None:
    with pytest.raises(SondeError, match=says):
        parse("methods", text)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.text(max_size=40))
def test_no_text_runs_anything_or_ends_in_another_error(text: str) -> None:
    try:
        assert isinstance(parse("methods", text), Build)
    except SondeError:
        pass


def digits() -> dict[str, object]:
    from sonde.data import load

    return for_data(load("digits")).to_data()


def test_settings_reach_every_part_of_a_recipe() -> None:
    changes = {"methods.ema.decay": 0.5, "stages.0.budget.epochs": 2, "objective.net.widths": [8], "methods.0.rows": 7}
    data = apply_settings(digits(), {**changes, "engine.device": "cpu", "methods.adamw.schedule.warmup": 0.25})
    methods = {m["build"].partition(":")[2]: m for m in data["methods"]}
    assert methods["EMA"]["decay"] == 0.5 and methods["FitInputs"]["rows"] == 7
    assert data["stages"][0]["budget"] == {"epochs": 2} and data["objective"]["net"]["widths"] == [8]
    assert methods["adamw"]["schedule"]["warmup"] == 0.25


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("methods.ema.deca", "did you mean 'decay'"),
        ("methods.emma.decay", "did you mean 'ema'"),
        ("metods.ema.decay", "did you mean 'methods'"),
        ("methods.99.decay", "choose one of"),
        ("seed.deep", "has no parts"),
        ("methods.ema.decay.more", "has no parts|no setting"),
        ("", "no setting"),
    ],
)
def test_a_setting_that_is_not_there_names_the_closest(path: str, says: str) -> None:
    with pytest.raises(SondeError, match=says):
        apply_settings(digits(), {path: 1})


def test_values_are_read_as_they_are_meant() -> None:
    texts = ("0.5", "3", "true", "None", "(1, 2)", "{'a': 1}", "accuracy", "1e-3", "'quoted'")
    values = [0.5, 3, True, None, [1, 2], {"a": 1}, "accuracy", 1e-3, "quoted"]
    assert [read_value(t) for t in texts] == values


def test_a_name_that_is_far_from_all_has_no_suggestion() -> None:
    assert did_you_mean("zzzz", ["mixup", "ema"]) == "" and snake("TabM") == "tabm"
