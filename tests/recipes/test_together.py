"""The recipes that put private, robust, averaged and early-stopped training together: whole, trainable, told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sonde.changes import check_whole, resized
from sonde.core import Budget, Build, Recipe, Refused, Stage
from sonde.data import Dataset, load
from sonde.data.images import ImageSchema, image_dataset
from sonde.data.rows import Split
from sonde.data.targets import Target
from sonde.methods import EMA, EarlyStopping, Replay, Validate
from sonde.names import find
from sonde.recipes.defaults import decided_by
from sonde.recipes.together import MARGINS, private_robust_adult, private_robust_mnist
from sonde.training import train


def squares() -> Dataset:
    """Pictures of MNIST's size, each as bright all over as its class says."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(400) % 10
    x = 0.1 * torch.rand(400, 1, 28, 28, generator=generator) + 0.09 * y.view(-1, 1, 1, 1)
    schema = ImageSchema(1, (28, 28), Target("classification", ("class",), tuple("0123456789")))
    return image_dataset(x.numpy(), y.numpy(), schema, name="squares", names=[f"square {i}" for i in range(400)])


MADE = [
    pytest.param(private_robust_mnist, squares, id="mnist"),
    pytest.param(private_robust_adult, lambda: load("adult"), id="adult", marks=pytest.mark.mirror),
]
BOTH = pytest.mark.parametrize(("make", "data"), MADE)


def short(recipe: Recipe, data: Dataset, steps: int = 4) -> Recipe:
    """The recipe for so many steps of small batches."""
    source = Build(Split, split="train", batch_size=64)
    return resized(recipe, decided_by(data)).changed(stages=(Stage(source=source, budget=Budget(steps=steps)),))


@BOTH
def test_a_recipe_is_whole_plain_and_found_by_name(make: Callable[[], Recipe], data: Callable[[], Dataset]) -> None:
    recipe = check_whole(make())
    assert Recipe.from_data(recipe.to_data()).to_data() == recipe.to_data()
    assert find("recipes", make.__name__).make is make
    assert all("insecure_seed" not in m.arguments for m in recipe.methods)
    assert [m.make for m in recipe.methods[-3:]] == [EMA, Validate, EarlyStopping]


@BOTH
def test_everything_trains_together_and_keeps_its_promise(
    make: Callable[[], Recipe], data: Callable[[], Dataset]
) -> None:
    rows = data()
    run = short(make(), rows).train(data=rows)
    private = next(m for m in run.methods if hasattr(m, "spent"))
    assert run.step == 4 and 0 < private.spent.epsilon <= private.target_epsilon  # type: ignore[attr-defined]
    ends = run.methods[-1]
    assert isinstance(ends, EarlyStopping) and ends.best_step == 4 and ends.restored
    averages = run.methods[-3]
    assert isinstance(averages, EMA) and averages.count == 4
    shipped = run.weights()
    assert all(torch.equal(v, averages.shadow[k]) for k, v in shipped.items())
    assert all(v.isfinite().all() for v in shipped.values())


@BOTH
def test_replay_is_refused_in_words(make: Callable[[], Recipe], data: Callable[[], Dataset]) -> None:
    rows = data()
    recipe = short(make(), rows)
    with pytest.raises(Refused, match="Replay keeps training rows and uses them again.*DPSGD") as refused:
        recipe.changed(methods=(Build(Replay), *recipe.methods)).train(data=rows)
    assert "leave Replay out" in refused.value.remedy


def test_a_patience_that_runs_out_spends_less_than_planned() -> None:
    rows = squares()
    recipe = short(private_robust_mnist(), rows, steps=50)
    *others, ends = recipe.methods
    never = ends.with_arguments(patience=1, min_delta=100.0)
    run = recipe.changed(methods=(*others, never)).train(data=rows)
    private = next(m for m in run.methods if hasattr(m, "spent"))
    assert run.step < 50 and private.spent.epsilon < 0.9 * private.target_epsilon  # type: ignore[attr-defined]


def test_the_report_tells_all_of_it(tmp_path: Path) -> None:
    rows = squares()
    recipe = short(private_robust_mnist(), rows, steps=50)
    *others, ends = recipe.methods
    recipe = recipe.changed(methods=(*others, ends.with_arguments(patience=1, min_delta=100.0)))
    page = train(rows, recipe=recipe, output_dir=tmp_path, baselines=False).folder.report.read_text()
    for said in (
        "Clip each record",  # what acts in every step: the private estimate,
        "one long signed gradient step",  # the attack,
        "what is evaluated and shipped",  # the averages,
        "ship the best weights seen",  # and what ends it
        "What the trained model gives away",
        "it was trained against fgsm(radius=0.1), and what it withstands was not measured",
        "Stopped early at step",
        "no better val loss in 1 measurements",
        "these weights are shipped",
        "Early stopping, the best checkpoint and whatever is chosen by their scores read them",
    ):
        assert said in page, said


@pytest.mark.mirror
def test_every_number_of_adult_has_a_margin() -> None:
    schema = load("adult").schema
    assert set(schema.numeric) == set(MARGINS)  # type: ignore[attr-defined]
