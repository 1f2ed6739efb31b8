"""The private recipes: their promise, counted by another library too; what they reach is for `sonde run` to check."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from sonde.changes import check_whole
from sonde.core import Recipe
from sonde.data.poisson import Poisson
from sonde.data.rows import Rows
from sonde.names import find
from sonde.privacy import noise_for
from sonde.recipes.private_mnist import private_mnist_1, private_mnist_3, private_mnist_7

MADE = [(private_mnist_1, 1.2), (private_mnist_3, 3.0), (private_mnist_7, 7.0)]
BUDGETS = pytest.mark.parametrize(("make", "epsilon"), MADE, ids=lambda v: str(getattr(v, "__name__", v)))


def plan(recipe: Recipe) -> tuple[float, int]:
    """The sampling rate and the steps."""
    size = recipe.stages[0].source.arguments["batch_size"]
    drawn = Poisson(Rows(torch.arange(60_000), batch_size=size), seed=0)
    steps = recipe.stages[0].budget.steps_of(drawn.steps_per_epoch)
    assert steps is not None
    return drawn.sampling_rate, steps


@BUDGETS
def test_a_recipe_is_whole_plain_and_found_by_name(make: Callable[[], Recipe], epsilon: float) -> None:
    recipe = check_whole(make())
    assert Recipe.from_data(recipe.to_data()).to_data() == recipe.to_data()
    assert find("recipes", make.__name__).make is make
    private = recipe.methods[0].arguments
    assert private["target_epsilon"] == epsilon and private["target_delta"] == 1e-5
    assert "insecure_seed" not in private


@BUDGETS
def test_the_planned_noise_keeps_the_promise_by_another_librarys_account(
    make: Callable[[], Recipe], epsilon: float
) -> None:
    accountants = pytest.importorskip("opacus.accountants")
    rate, steps = plan(make())
    accountant = accountants.RDPAccountant()
    accountant.history = [(noise_for(epsilon, 1e-5, rate, steps), rate, steps)]
    assert 0.99 * epsilon <= accountant.get_epsilon(delta=1e-5) <= epsilon + 1e-6
