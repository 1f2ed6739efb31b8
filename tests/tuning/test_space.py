"""The space of a search: reading it, checking it against a recipe, and the values of the recipe itself."""

from __future__ import annotations

import pytest

from sonde.core import Recipe, SondeError
from sonde.data import Dataset, load
from sonde.names import parse
from sonde.recipes.defaults import Wishes, decided_by, for_data
from sonde.tuning.space import Among, Between, applied, check_space, default_space, own_values, read_space


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="module")
def recipe(digits: Dataset) -> Recipe:
    net = parse("nets", "mlp(widths=(16, 16))", decided_by(digits))
    return for_data(digits, Wishes(net=net, methods=[parse("methods", "early_stopping")]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-4..1e-1 log", Between(1e-4, 1e-1, log=True)),
        ("0 .. 0.5", Between(0, 0.5)),
        ("1..4", Between(1, 4)),
        ("64,128, 256", Among((64, 128, 256))),
        ("(64,), (128, 128)", Among(([64], [128, 128]))),
        ("focal(gamma=2), 'cross_entropy'", Among(("focal(gamma=2)", "cross_entropy"))),
        ("true,false", Among((True, False))),
        (["a", "b"], Among(("a", "b"))),
    ],
)
def test_what_a_person_writes(text: object, expected: object) -> None:
    assert read_space({"x": text}) == {"x": expected}


@pytest.mark.parametrize("text", ["1e-1..1e-4", "0..1 log", "1..", "a..b", "3", "", "1..2 linear", "nan..1"])
def test_what_is_no_space_is_told(text: str) -> None:
    with pytest.raises(SondeError):
        read_space({"lr": text})


def test_whole_ends_mean_whole_numbers() -> None:
    assert Between(1, 4).whole and not Between(1, 4.5).whole
    assert Between(1, 4).holds(2) and not Between(1, 4).holds(2.5) and not Between(1, 4).holds(None)


def test_paths_reach_what_set_reaches(recipe: Recipe) -> None:
    changed = applied(
        recipe,
        {
            "lr": 0.5,
            "batch_size": 7,
            "net.widths": [4],
            "methods.ema.decay": 0.5,
            "stages.0.budget.epochs": 3,
            "objective.loss": "focal(gamma=3)",
        },
    )
    data = changed.to_data()
    assert data["objective"]["net"]["widths"] == [4] and data["objective"]["loss"]["gamma"] == 3
    rates = {m["build"].rpartition(":")[2]: m for m in data["methods"]}
    assert rates["adamw"]["lr"] == 0.5 and rates["EMA"]["decay"] == 0.5
    assert data["stages"][0]["source"]["batch_size"] == 7 and data["stages"][0]["budget"] == {"epochs": 3}
    assert applied(recipe, {}) == recipe


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ({"net.widht": "1,2"}, "no setting"),
        ({"net.dropout": "0.5..2.0"}, "outside"),
        ({"methods.ema.decay": "0.5..2.0"}, "cannot be|decay"),
        ({"seed": "1..5"}, "luck"),
        ({"engine.precision": "'32','16-mixed'"}, "luck"),
        ({"batch_size": "0..5"}, "batch_size"),
        ({}, "nothing to search"),
    ],
)
def test_a_space_that_cannot_be_is_refused_before_anything_is_trained(
    digits: Dataset, recipe: Recipe, space: dict[str, str], told: str
) -> None:
    with pytest.raises(SondeError, match=told):
        check_space(recipe, read_space(space), digits)


def test_the_default_space_surrounds_the_recipe(digits: Dataset, recipe: Recipe) -> None:
    space = default_space(recipe, 1294)
    assert set(space) == {"lr", "weight_decay", "batch_size", "net.dropout", "net.widths"}
    own = own_values(recipe, space)
    assert own["net.widths"] == [16, 16] and own["lr"] == 3e-3 and own["net.dropout"] == 0.0
    assert all(space[path].holds(value) for path, value in own.items())
    check_space(recipe, space, digits)


def test_own_values_are_found_by_the_paths_of_methods(recipe: Recipe) -> None:
    space = read_space(
        {"methods.ema.decay": "0.9..0.999", "methods.early_stopping.patience": "1..5", "methods.x.y": "1,2"}
    )
    assert own_values(recipe, space) == {"methods.ema.decay": 0.998, "methods.early_stopping.patience": 10}
