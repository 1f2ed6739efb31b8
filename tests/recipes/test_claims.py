"""What experiments of recipes share: a training held against bars, its course drawn, its model attacked."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import torch

from sonde import methods
from sonde.core import Budget, Build, Measure, Recipe, Stage
from sonde.data import load
from sonde.data.rows import Split
from sonde.experiment import Check, Figure, Finding, Lab
from sonde.nets import MLP
from sonde.objectives import Classify
from sonde.recipes.adult import adult
from sonde.recipes.adult_debiased import adult_debiased
from sonde.recipes.claims import (
    Bar,
    Logits,
    Told,
    against_trees,
    attacked,
    attacked_table,
    between_groups,
    learned,
    measured,
    private,
)
from sonde.recipes.together import private_robust_adult
from sonde.training import Trained


def tiny(epochs: float = 3, *more: Build[Any]) -> Recipe:
    """Handwritten digits for a second."""
    return Recipe(
        name="tiny",
        seed=0,
        data=Build(load, name="digits"),
        objective=Build(Classify, net=Build(MLP, shape=(1, 8, 8), outputs=10, widths=(32,))),
        methods=(*more, Build(methods.Validate), Build(methods.adam, lr=3e-3)),
        stages=(Stage(source=Build(Split, split="train", batch_size=64), budget=Budget(epochs=epochs)),),
    )


def drained(made: Generator[Finding, None, Trained]) -> tuple[list[Finding], Trained]:
    found: list[Finding] = []
    while True:
        try:
            found.append(next(made))
        except StopIteration as end:
            return found, end.value


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Finding], Trained]:
    bar = Bar("quality/accuracy", at_least=0.5, published=0.9, published_in="Nobody, 1950")
    return drained(learned(Lab(tmp_path_factory.mktemp("lab")), tiny(), bar))


def test_a_recipe_is_trained_and_held_against_its_bar(done: tuple[list[Finding], Trained]) -> None:
    found, trained = done
    first = found[0]
    assert isinstance(first, Check) and first.holds and first.published == 0.9
    assert first.measure.value == trained.measures["quality/accuracy"] and first.measure.interval is not None
    assert first.measure.n == len(load("digits").splits["test"])
    names = [f.name for f in found if isinstance(f, Measure)]
    assert "quality/nll" in names and "training/time" in names and "quality/accuracy" not in names


def test_the_course_of_training_is_drawn(done: tuple[list[Finding], Trained]) -> None:
    (figure,) = (f for f in done[0] if isinstance(f, Figure))
    assert figure.svg.startswith("<?xml") and "validation" in figure.svg


def test_the_seed_of_the_lab_is_the_seed_of_the_training(tmp_path: Path) -> None:
    recipes = [drained(learned(Lab(tmp_path, seed), tiny(0.1)))[1].folder.read("recipe.json") for seed in (0, 5)]
    assert [r["seed"] for r in recipes] == [0, 5]


def test_a_long_training_says_how_far_it_is(tmp_path: Path) -> None:
    said: list[str] = []
    run = tiny(1).train(tiny(1).start(load("digits"), extra=(Told(said.append, every=0.0),)), load("digits"))
    assert len(said) == run.step and said[-1].endswith("100 % of the stage")


def test_an_attack_of_no_size_leaves_the_accuracy_and_one_of_full_size_nothing(
    done: tuple[list[Finding], Trained],
) -> None:
    trained, data = done[1], load("digits")
    rows = len(data.splits["test"])
    plain = attacked(trained, data, 0.0, 0.1, 1, 1, rows)
    assert plain.value == measured(trained, "quality/accuracy").value
    assert attacked(trained, data, 1.0, 0.2, 10, 1, rows).value < 0.1
    assert attacked(trained, data, 0.1, 0.02, 10, 1, 50).n == 50


def test_logits_give_the_predictions_of_the_objective(done: tuple[list[Finding], Trained]) -> None:
    objective, data = done[1].bundle.objective, load("digits")
    x = data.batch(data.splits["test"][:20]).x
    with torch.no_grad():
        assert torch.allclose(Logits(objective)(x).softmax(1), objective.predict(x), atol=1e-6)  # type: ignore[operator]


def test_logits_of_members_give_their_mean_prediction() -> None:
    class Members(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:  # (N, 2) -> (N, 2 members, 2)
            return torch.stack([x, 3 * x], 1)

    objective, x = Classify(Members()), torch.randn(6, 2)
    assert torch.allclose(Logits(objective)(x).softmax(1), objective.predict(x), atol=1e-6)


def test_points_over_trees_are_paired_over_rows(done: tuple[list[Finding], Trained]) -> None:
    found = against_trees(done[1], load("digits"), seconds=2)
    assert found.unit == "points" and found.interval is not None
    assert found.interval[0] <= found.value <= found.interval[1] and -60 < found.value < 10


def test_a_model_without_privacy_has_no_epsilon(done: tuple[list[Finding], Trained]) -> None:
    with pytest.raises(ValueError, match="not trained privately"):
        private(done[1])


def test_a_private_model_has_spent_what_was_planned(tmp_path: Path) -> None:
    dp = Build(methods.DPSGD, max_grad_norm=0.1, target_epsilon=2.0, target_delta=1e-5)
    _, trained = drained(learned(Lab(tmp_path), tiny(0.5, dp)))
    spent = private(trained)
    assert 1.5 < spent.value <= 2.0 and spent.settings["delta"] == 1e-5


# ---------------------------------------------------------------- tables
@pytest.mark.mirror
def test_a_table_is_attacked_within_its_margins(tmp_path: Path) -> None:
    _, trained = drained(learned(Lab(tmp_path), short(adult(), steps=60)))
    data = load("adult")
    attack = next(m for m in private_robust_adult().methods if m.make is methods.PGD)
    plain = attacked_table(trained, data, attack.with_arguments(radius=0.0), rows=200)
    moved = attacked_table(trained, data, attack.with_arguments(radius=20.0, step=5.0), rows=200)
    index = data.splits["test"][:200]
    right = (trained.bundle.raw(data.batch(index).x).argmax(1) == data.y[index]).double().mean()
    assert plain.value == pytest.approx(right.item()) and plain.n == 200
    assert moved.value < plain.value and "radius=20.0" in moved.settings["attack"]


@pytest.mark.mirror
def test_groups_are_compared_on_the_test_rows(tmp_path: Path) -> None:
    _, trained = drained(learned(Lab(tmp_path), short(adult_debiased())))
    data = load("adult", sensitive="sex")
    found = {m.name: m for m in between_groups(trained, data, "sex", reference="Male")}
    assert "fairness/average_odds_difference" in found and "fairness/equal_opportunity_difference" in found
    assert all(m.n == len(data.splits["test"]) and m.interval is not None for m in found.values())
    assert "fairness/average_odds_difference" not in {m.name for m in between_groups(trained, data, "sex")}


def short(recipe: Recipe, steps: int = 6) -> Recipe:
    """A recipe of one stage, for a few small steps."""
    source: Build[Any] = Build(Split, split="train", batch_size=64)
    return recipe.changed(stages=(Stage(source=source, budget=Budget(steps=steps)),))
