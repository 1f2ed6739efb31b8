"""The perceptron: its rule beside scikit-learn's, Novikoff's bound, the widest margin, and XOR."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sonde.experiment import Check, Figure, Lab
from sonde.recipes.perceptron import (
    XOR_X,
    XOR_Y,
    circle,
    furthest_from_sklearn,
    learn,
    mistakes_and_bounds,
    perceptron,
    presented,
    separable,
    separable_sets,
    splits_of_corners,
    widest_margin,
    with_bias,
    xor_rounds,
)


def test_the_rule_by_hand() -> None:
    x, y = with_bias(torch.tensor([[2.0, 0.0], [0.0, 1.0]])), torch.tensor([1.0, -1.0])
    shown = list(itertools.islice(presented(x, y), 4))
    assert [w.tolist() for w, _ in shown] == [[2, 0, 1], [2, -1, 0], [2, -1, 0], [2, -1, 0]]
    assert [bool(wrong) for _, wrong in shown] == [True, True, False, False]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_weights_equal_scikit_learns_after_every_row(seed: int) -> None:
    x, y = separable_sets(sets=1, rows=20, least=0.05, seed=seed)
    assert furthest_from_sklearn(x[0, :, :-1], y[0], passes=3) < 1e-12
    assert furthest_from_sklearn(x[0, :, :-1], y[0] * (1 - 2 * (torch.arange(20) % 2)), passes=3) < 1e-12  # no plane


def test_sets_side_by_side_learn_as_each_alone() -> None:
    x, y = separable_sets(sets=5, rows=15, least=0.05, seed=3)
    together = learn(x, y, passes=500)
    for s in range(5):
        alone = learn(x[s], y[s], passes=500)
        assert torch.equal(alone.weights, together.weights[s]) and alone.mistakes == together.mistakes[s]
    assert together.separated.all()
    assert ((x @ together.weights[..., None]).squeeze(-1) * y > 0).all()


def hard_margin(x: Tensor, y: Tensor) -> float:
    """The widest margin by scikit-learn's support vector machine on rows and their mirror images: no bias is left."""
    from sklearn.svm import SVC

    signed = y[:, None] * x
    both = torch.cat([signed, -signed]).numpy()
    machine = SVC(kernel="linear", C=1e10, tol=1e-9).fit(both, [1] * len(x) + [-1] * len(x))
    return float((signed.numpy() @ machine.coef_[0]).min() / (machine.coef_[0] ** 2).sum() ** 0.5)


def test_the_margin_is_the_widest() -> None:
    x, y = separable_sets(sets=6, rows=25, least=0.05, seed=5)
    for a, b in zip(x, y, strict=True):
        margin = widest_margin(a, b)
        assert margin == pytest.approx(hard_margin(a, b), rel=1e-5)
        assert margin > 0


def test_rows_that_no_plane_separates_have_no_margin() -> None:
    x, y = with_bias(torch.tensor(XOR_X, dtype=torch.float64)), torch.tensor(XOR_Y, dtype=torch.float64)
    assert widest_margin(x, y) == 0.0
    assert not separable(x, y) and separable(x, torch.tensor([-1.0, -1, -1, 1], dtype=torch.float64))


def test_novikoffs_bound_holds_and_is_reached() -> None:
    mistakes, bounds, separated = mistakes_and_bounds(*separable_sets(60, 20, least=0.02, seed=1), passes=5000)
    assert separated.all() and (mistakes <= bounds).all()
    assert (mistakes > 0.05 * bounds).any()  # a bound far above everything would say nothing
    right = torch.eye(7, dtype=torch.float64)[None]
    some, most, _ = mistakes_and_bounds(right, torch.ones(1, 7, dtype=torch.float64), passes=3)
    assert int(some) == 7 == pytest.approx(float(most))


def test_fourteen_of_sixteen_splits_are_a_lines_and_the_others_are_xor() -> None:
    given = splits_of_corners()
    assert len(given) == 14
    missing = set(itertools.product((-1.0, 1.0), repeat=4)) - set(given)
    assert missing == {XOR_Y, tuple(-v for v in XOR_Y)}


def test_xor_turns_in_circles_and_and_does_not() -> None:
    assert all(found is not None for found in xor_rounds(most=20))
    x = with_bias(torch.tensor(XOR_X, dtype=torch.float64))
    assert circle(x, torch.tensor([-1.0, -1, -1, 1], dtype=torch.float64), most=50) is None
    found = circle(x, torch.tensor(XOR_Y, dtype=torch.float64), most=20)
    assert found is not None
    for begin in range(found.start, found.start + found.passes):
        assert found.wrong[4 * begin : 4 * begin + 4].any()


def test_the_experiment_holds(tmp_path: Path) -> None:
    found = list(perceptron.run(Lab(tmp_path)))
    checks = [f for f in found if isinstance(f, Check)]
    assert len(checks) == 7 and all(c.holds for c in checks), [c.measure for c in checks if not c.holds]
    assert [f.name for f in found if isinstance(f, Figure)] == ["perceptron-line", "perceptron-bound", "perceptron-xor"]
