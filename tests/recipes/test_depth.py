"""Sigmoid against ReLU: the gradient by layer, what a layer leaves of it, and what is learned."""

from __future__ import annotations

import pytest
import torch

from sonde.data import Dataset, load
from sonde.experiment import Check, Figure
from sonde.recipes.depth import (
    BENDS,
    Bend,
    Deep,
    Lengths,
    a_layer,
    at_first,
    gradients,
    learned,
    lengths,
    recipe,
)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def test_what_a_layer_leaves_is_the_geometric_mean() -> None:
    assert a_layer([99.0, 1.0, 2.0, 4.0, 8.0]) == pytest.approx(0.5)
    assert a_layer([99.0, 3.0, 1.0, 0.01, 3.0]) == pytest.approx(1.0)


def test_lengths_are_those_of_the_gradient_of_the_mean_loss(digits: Dataset) -> None:
    made = recipe(3, "tanh", epochs=1, seed=4)
    found = at_first(3, "tanh", digits, seed=4)
    run = made.start(digits)
    net = run.objective.get_submodule("net")
    assert isinstance(net, Deep)
    batch = digits.batch(digits.splits["train"])
    net.normalise.fit_input(batch.x)
    torch.nn.functional.cross_entropy(net(batch.x), batch.y).backward()
    assert lengths(run) == pytest.approx(found, rel=1e-4)
    assert len(found) == 3


def test_sigmoids_lose_a_factor_of_four_and_relu_does_not(digits: Dataset) -> None:
    checks = [f for f in gradients(digits, layers=8, seeds=(0, 1)) if isinstance(f, Check)]
    assert [c.holds for c in checks] == [True, True]
    sigmoid, relu = (c.measure.value for c in checks)
    assert 0.2 < sigmoid < 0.25 and 0.8 < relu < 1.2


def test_a_bend_that_kept_the_gradient_would_refute_it(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BENDS, "sigmoid", torch.nn.Tanh)
    monkeypatch.setitem(BENDS, "relu", torch.nn.Sigmoid)
    found = gradients(digits, layers=8, seeds=(0, 1))
    assert [f.holds for f in found if isinstance(f, Check)] == [False, False]


@pytest.mark.parametrize("bend", BENDS)
def test_a_shallow_net_learns(bend: Bend, digits: Dataset) -> None:
    found = learned(1, bend, digits, epochs=4, seed=0)
    assert found.train > 0.8 and found.test > 0.75


def test_lengths_are_kept_through_training(digits: Dataset) -> None:
    kept = Lengths(every=5)
    made = recipe(2, "relu", epochs=1)
    run = made.train(made.start(digits, (kept,)), digits)
    assert kept.steps == list(range(1, run.step + 1, 5)) and all(len(row) == 2 for row in kept.lengths)


def test_figures_are_drawn(digits: Dataset) -> None:
    assert [f.name for f in gradients(digits, layers=3, seeds=(0, 1)) if isinstance(f, Figure)] == ["depth-layers"]
