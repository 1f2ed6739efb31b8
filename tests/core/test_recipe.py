"""Recipes: plain data from which the same model is trained, and nothing else is run."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from sonde.core import Budget, Build, Engine, Recipe, Refused, SondeError, Stage, Stepped
from sonde.data.rows import Rows, Split
from sonde.methods import EMA, EarlyStopping, LabelSmoothing, MixUp, Validate, adamw
from sonde.objectives import Classify
from sonde.optim.schedules import Cosine
from tests.core.test_build import JSON
from tests.support import LAW, Call, Halves, blobs, mlp, weights


def net(width: int, drop: float = 0.5) -> nn.Module:
    return mlp(4, width, 3, between=lambda n: nn.Dropout(drop))


def rows(n: int, size: int) -> Rows:
    return Rows(*blobs(n), batch_size=size)


def data(n: int = 64) -> Halves:
    return Halves(n)


OWN = (net, rows, data)


def recipe() -> Recipe:
    return Recipe(
        name="blobs",
        seed=3,
        objective=Build(Classify, net=Build(net, width=8)),
        methods=(
            Build(MixUp, classes=3, alpha=0.3),
            Build(LabelSmoothing, amount=0.05),
            Build(EMA, decay=0.9),
            Build(adamw, lr=0.01, betas=[0.9, 0.99], schedule=Build(Cosine, warmup=0.1)),
        ),
        stages=tuple(Stage(source=Build(rows, n=n, size=16), budget=Budget(epochs=3)) for n in (64, 40)),
    )


def over_the_wire(r: Recipe) -> Any:
    return json.loads(json.dumps(r.to_data(), allow_nan=False))


# ---------------------------------------------------------------- round trip
def test_a_recipe_that_went_through_json_trains_the_same_bits() -> None:
    torch.manual_seed(99)
    first = recipe().train()
    torch.manual_seed(7)  # whatever the generators did before
    second = Recipe.from_data(over_the_wire(recipe()), own=OWN).train()
    assert torch.equal(weights(first.objective), weights(second.objective))
    assert all(torch.equal(a, b) for a, b in zip(first.weights().values(), second.weights().values(), strict=True))
    assert first.stage == 2 and first.step == 3 * 4 + 3 * 3


def test_another_seed_trains_another_model() -> None:
    a, b = recipe().train(), recipe().changed(seed=4).train()
    assert not torch.equal(weights(a.objective), weights(b.objective))


def test_plain_data_comes_back_equal() -> None:
    r = recipe().changed(engine=Engine(device="cpu", precision="bf16-mixed"), data=Build(data, n=8))
    again = Recipe.from_data(over_the_wire(r), own=OWN)
    assert again == r and again.to_data() == r.to_data()


def test_the_data_reaches_the_source_and_the_methods_that_ask_for_it() -> None:
    r = recipe().changed(
        data=Build(data),
        methods=(Build(Validate), Build(EarlyStopping, patience=0), Build(adamw, lr=0.01)),
        stages=(Stage(source=Build(Split, batch_size=16), budget=Budget(epochs=2)),),
    )
    run = Recipe.from_data(over_the_wire(r), own=OWN).train()
    assert run.step == 4 and math.isfinite(run.losses["model"].total().item())


@pytest.mark.parametrize("at", [2, 14], ids=["first stage", "second stage"])
def test_an_interrupted_recipe_goes_on_where_it_stood(at: int) -> None:
    whole = recipe().train()
    stop = Call(Stepped, at, lambda run: setattr(run, "stop", "interrupted"))
    run = recipe().start(extra=(stop,))
    recipe().train(run)
    assert run.interrupted and run.step == at
    recipe().train(run)
    assert run.stage == 2 and torch.equal(weights(run.objective), weights(whole.objective))


# ---------------------------------------------------------------- refusals
def changed(path: list[Any], value: Any) -> Any:
    found = over_the_wire(recipe())
    at = found
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return found


@pytest.mark.parametrize(
    "path, value, words",
    [
        (["extra"], 1, "has no entry 'extra'"),
        (["seed"], "three", "not valid: invalid literal for int"),
        (["seed"], math.inf, "not valid: cannot convert float infinity"),
        (["seed"], None, "not valid"),
        (["objective"], None, "not valid"),
        (["objective"], "sonde.objectives.classify:Classify", "not valid"),
        (["objective"], {"net": 3}, "lacks 'build'"),
        (["objective", "nett"], 3, "did you mean 'net'"),
        (["methods"], 3, "not valid"),
        (["methods"], [3], "not valid"),
        (["methods", 0, "alpho"], 0.1, "did you mean 'alpha'"),
        (["stages", 0], {}, "lacks 'source'"),
        (["stages", 0, "budget"], {}, "positive number of steps"),
        (["stages", 0, "budget"], {"step": 3}, "unexpected keyword argument 'step'"),
        (["stages", 0, "budget"], {"steps": "3"}, "not valid"),
        (["stages", 0, "budget"], {"steps": -3}, "positive number of steps"),
        (["engine"], {"device": "cpu", "fast": True}, "unexpected keyword argument 'fast'"),
        (["engine"], {"precision": "8"}, "precision '8' is not known"),
        (["engine"], 3, "not valid"),
        (["audits"], None, "not valid"),
    ],
    ids=lambda v: repr(v)[:40],
)
def test_a_wrong_recipe_is_refused_in_words(path: list[Any], value: Any, words: str) -> None:
    with pytest.raises(SondeError, match=words) as caught:
        Recipe.from_data(changed(path, value), own=OWN)
    assert caught.value.remedy and caught.value.code == 1


def test_a_recipe_nested_beyond_reason_is_refused() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(SondeError, match="not valid: maximum recursion depth"):
        Recipe.from_data(changed(["methods", 0, "alpha"], deep), own=OWN)


@pytest.mark.parametrize("data", [None, 3, "recipe", [], [{}]], ids=repr)
def test_what_is_no_mapping_is_refused(data: Any) -> None:
    with pytest.raises(SondeError, match="the recipe is not valid"):
        Recipe.from_data(data)


@pytest.mark.parametrize("entry", ["name", "seed", "objective", "methods", "stages"])
def test_a_recipe_that_lacks_an_entry_is_told_which(entry: str) -> None:
    found = over_the_wire(recipe())
    del found[entry]
    with pytest.raises(SondeError, match=f"the recipe lacks '{entry}'"):
        Recipe.from_data(found, own=OWN)


@pytest.mark.parametrize(
    "path",
    [["objective"], ["objective", "net"], ["methods", 0], ["stages", 1, "source"], ["data"], ["audits", 0]],
    ids=str,
)
def test_foreign_code_is_refused_wherever_it_is_named(path: list[Any]) -> None:
    found = over_the_wire(recipe())
    found["audits"] = [{}]
    at = found
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = {"build": "os:system", "command": "true"}
    with pytest.raises(Refused, match="'os:system', which is not part of sonde's vocabulary"):
        Recipe.from_data(found, own=OWN)


@LAW
@given(st.data())
def test_whatever_stands_in_a_recipe_only_documented_errors_come_out(data: st.DataObject) -> None:
    found = over_the_wire(recipe())
    for key in data.draw(st.lists(st.sampled_from([*found, "other"]), min_size=1, max_size=3)):
        found[key] = data.draw(JSON)
    try:
        Recipe.from_data(found, own=OWN)
    except SondeError as error:
        assert error.cause and error.remedy


def test_tensors_are_no_part_of_a_recipe() -> None:
    with pytest.raises(TypeError, match="is a Tensor"):
        recipe().changed(data=Build(rows, n=Tensor([3]), size=1)).to_data()
