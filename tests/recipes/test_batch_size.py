"""Batch sizes, small: the noise scale is that of gradients taken one by one, fits recover what they were made of."""

from __future__ import annotations

import math

import pytest
import torch

from sonde.core import Run
from sonde.data import Dataset, load
from sonde.methods import sgd
from sonde.nets import MLP
from sonde.objectives import Classify
from sonde.recipes._seeds import fewer
from sonde.recipes.batch_size import best_rates, fitted, noise_scale, slope, to_goal


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return fewer(load("digits"), 1000, 100, 0)


def test_the_noise_scale_is_that_of_gradients_one_by_one(digits: Dataset) -> None:
    torch.manual_seed(0)
    run = Run(Classify(MLP((1, 8, 8), 10, (12,))), [sgd(0.1)])
    rows = 40
    batch = digits.batch(digits.splits["train"][:rows])
    each = []
    for i in range(rows):
        loss = torch.nn.functional.cross_entropy(run.objective.net(batch.x[i : i + 1]), batch.y[i : i + 1])
        found = torch.autograd.grad(loss, list(run.objective.parameters()))
        each.append(torch.cat([g.flatten() for g in found]).double())
    g = torch.stack(each)
    variance = float(g.var(0).sum())  # tr(Sigma), without bias
    expected = variance / (float(g.mean(0).square().sum()) - variance / rows)
    assert noise_scale(run, digits, rows) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("least", "turn"), [(50.0, 30.0), (200.0, 700.0)])
def test_a_fit_recovers_what_made_the_steps(least: float, turn: float) -> None:
    sizes = [8, 32, 128, 512, 2048]
    found = fitted(sizes, [least * (1 + turn / b) for b in sizes])
    assert found == pytest.approx((least, turn), rel=0.01)


def test_a_slope_is_the_exponent() -> None:
    assert slope([8, 16, 32], [1 / 8, 1 / 16, 1 / 32]) == pytest.approx(-1.0)


def test_larger_batches_take_fewer_steps_and_what_fails_takes_endless_ones(digits: Dataset) -> None:
    small, large = (to_goal(digits, size, lr, seed=0, goal=0.5).steps for size, lr in ((8, 0.05), (64, 0.4)))
    assert large < small / 3
    assert math.isinf(to_goal(digits, 8, 0.05, seed=0, goal=0.5, most=20).steps)
    assert math.isinf(to_goal(digits, 64, 1e8, seed=0, goal=0.5, most=50).steps)


def test_noise_is_measured_once_at_each_loss(digits: Dataset) -> None:
    found = to_goal(digits, 32, 0.1, seed=0, goal=0.8, noise_at=(2.0, 1.0, 0.1))
    assert [loss <= at for (loss, _), at in zip(found.noise, (2.0, 1.0), strict=True)] == [True, True]


def test_the_search_climbs_to_a_rate_that_neither_neighbour_beats(digits: Dataset) -> None:
    (rate, tried), *_ = best_rates(digits, (64,), start=0.05, seed=0, goal=0.6).values()
    steps = dict(tried)
    assert steps[rate] == min(steps.values()) and {rate / 2, rate * 2} <= steps.keys() and rate > 0.05
