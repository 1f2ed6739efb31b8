"""Backpropagation beside its witnesses: each finds a gradient that is wrong."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from sonde.recipes.backpropagation import (
    WAYS,
    analytic,
    by_hand,
    costs,
    errors_by_step,
    estimate,
    examples,
    furthest_from_autograd,
    furthest_from_differences,
    gradient,
    loss_of,
    slope,
)


def test_the_equations_of_1986_on_one_unit() -> None:
    w, x, d = torch.tensor([[0.5, -0.25]]), torch.tensor([[2.0]]), torch.tensor([[1.0]])
    y = torch.sigmoid(torch.tensor(0.5 * 2 - 0.25))
    by_sum = (y - 1) * y * (1 - y)
    torch.testing.assert_close(by_hand([w], x, d)[0], torch.stack([by_sum * 2, by_sum])[None])


@pytest.mark.parametrize("widths", [(3, 1), (4, 5, 2), (2, 6, 6, 6, 3)])
def test_the_equations_of_1986_are_autograds(widths: tuple[int, ...]) -> None:
    assert furthest_from_autograd(widths, rows=5, seed=1) < 1e-13


@pytest.mark.parametrize("name", examples())
def test_every_nets_gradient_is_that_of_differences(name: str) -> None:
    torch.manual_seed(0)
    net, x = examples()[name]
    loss, params = loss_of(net, x, torch.tensor([0, 1, 2]))
    grads = gradient(loss, params)
    assert furthest_from_differences(loss, params, grads, seed=0) < 1e-5
    largest = max(grads, key=lambda k: grads[k].numel())
    for broken in (0.99 * grads[largest], grads[largest].roll(1, 0).flip(-1), torch.zeros_like(grads[largest])):
        assert furthest_from_differences(loss, params, {**grads, largest: broken + 1e-9}, seed=0) > 1e-4


def test_the_complex_step_needs_no_small_difference() -> None:
    f, p = analytic((3, 4, 2), rows=5, seed=0)
    leaf = p.clone().requires_grad_()
    (exact,) = torch.autograd.grad(f(leaf), leaf)
    found = [estimate(f, p, i, 1e-30, "complex step") for i in range(len(p))]
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), exact, rtol=1e-12, atol=1e-14)


def test_errors_fall_with_the_step_and_rise_again() -> None:
    steps = [1e-1, 1e-2, 1e-3, 1e-12, 1e-13, 1e-14]
    errors = errors_by_step(steps, places=6)
    assert slope(steps, errors[WAYS[0]], (1e-3, 1e-1)) == pytest.approx(1, abs=0.3)
    assert slope(steps, errors[WAYS[1]], (1e-3, 1e-1)) == pytest.approx(2, abs=0.3)
    assert errors[WAYS[1]][-1] > 1e2 * errors[WAYS[1]][2]
    assert max(errors[WAYS[2]][3:]) < 1e-14


def test_a_slope_is_an_exponent() -> None:
    steps = [10.0**-e for e in range(5)]
    assert slope(steps, [3 * h**2 for h in steps], (0, math.inf)) == pytest.approx(2)
    assert slope(steps, [3 * h**2 if h > 0.05 else h**-1 for h in steps], (0, 0.05)) == pytest.approx(-1)


def test_a_gradient_costs_a_few_evaluations_and_differences_one_a_weight() -> None:
    p, reverse, differences = costs(width=16, rows=32, repeats=5, places=5)
    assert p == sum(i * o + o for i, o in itertools.pairwise((64, 16, 16, 10)))
    assert reverse < 20 and 0.3 * p < differences < 3 * p  # the clock of a busy machine


def test_a_function_of_parameters_is_the_objectives_loss() -> None:
    torch.manual_seed(0)
    net, x = examples()["MLP"]
    loss, params = loss_of(net, x, torch.tensor([0, 1, 2]))
    expected: Tensor = F.cross_entropy(net(x), torch.tensor([0, 1, 2]))
    torch.testing.assert_close(loss(params), expected)
