"""Walkers on landscapes: they walk as the rules do, alone or together; saddles are left as the closed form says."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch

from sonde.experiment import Check, Table
from sonde.recipes import descent
from sonde.recipes.descent import LANDSCAPES, RAVINE, RULES, SADDLE, foreseen, growth, quickest, saddles, walked

PLAIN: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "gradient descent": torch.optim.SGD,
    "momentum": partial(torch.optim.SGD, momentum=0.9),
    "Nesterov": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    "AdaGrad": torch.optim.Adagrad,
    "RMSProp": torch.optim.RMSprop,
    "Adam": torch.optim.Adam,
}


@pytest.mark.parametrize("name", list(RULES))
def test_walkers_in_one_run_go_as_each_would_alone(name: str) -> None:
    rates = [0.001, 0.01]
    for lr, path in zip(rates, walked(RAVINE, RULES[name], rates, steps=30), strict=True):
        at = torch.tensor(RAVINE.start, dtype=torch.float64, requires_grad=True)
        rule = PLAIN[name]([at], lr=lr)
        for place in path.points[1:]:
            rule.zero_grad()
            RAVINE.height(at[0], at[1]).backward()
            rule.step()
            torch.testing.assert_close(place, at.detach(), rtol=1e-10, atol=1e-12)


def test_the_ravine_is_a_hundred_times_as_steep_across() -> None:
    at = torch.zeros(2, dtype=torch.float64)
    curvatures = torch.autograd.functional.hessian(lambda p: RAVINE.height(p[0], p[1]), at)
    torch.testing.assert_close(torch.linalg.eigvalsh(curvatures), torch.tensor([1.0, 100.0], dtype=torch.float64))


@pytest.mark.parametrize("landscape", LANDSCAPES, ids=lambda landscape: landscape.name)
def test_a_start_lies_in_the_window_and_has_not_arrived(landscape: descent.Landscape) -> None:
    x, y = landscape.start
    left, right, bottom, top = landscape.window
    height = float(landscape.height(torch.tensor(x).double(), torch.tensor(y).double()))
    assert left <= x <= right and bottom <= y <= top and not landscape.arrived(x, y, height)


def test_who_leaves_the_window_is_lost_and_walks_no_further() -> None:
    (path,) = walked(RAVINE, RULES["gradient descent"], [1.0], steps=20)
    assert path.steps == 1 and not path.arrived


def test_the_quickest_arrives_in_the_fewest_steps_of_those_that_arrive() -> None:
    rates = [0.001, 0.01, 0.0178, 1.0]
    lr, path = quickest(RAVINE, RULES["gradient descent"], rates, steps=600)
    steps = {r: p.steps for r, p in zip(rates, walked(RAVINE, RULES["gradient descent"], rates, 600), strict=True)}
    assert path.arrived and lr == 0.0178 and path.steps == steps[0.0178] < steps[0.01]


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_the_closed_form_is_the_recurrence(momentum: float) -> None:
    lr, offset = 0.03, 1e-4
    before, y, steps = offset, offset, 0
    while y < 0.1:
        before, y, steps = y, (1 + momentum + lr) * y - momentum * before, steps + 1
    assert abs(steps - foreseen(lr, offset, momentum)) <= 1.01
    assert y / before == pytest.approx(growth(lr, momentum), rel=1e-3)


def checks(findings: Iterator[object]) -> list[Check]:
    return [f for f in findings if isinstance(f, Check)]


def test_saddles_are_left_as_foreseen() -> None:
    found = list(saddles(lr=0.1))
    table = next(f for f in found if isinstance(f, Table))
    assert {row[0] for row in table.rows} == set(RULES)
    by_form = [c for c in checks(iter(found)) if "closed form" in c.measure.name]
    assert len(by_form) == 2 and all(c.holds for c in by_form)


def test_a_wrong_form_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "growth", lambda lr, momentum=0.0: 1 + lr / 2)
    assert not all(c.holds for c in checks(saddles(lr=0.1)) if "closed form" in c.measure.name)


def test_a_rule_that_does_not_scale_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(descent.RULES, "Adam", RULES["gradient descent"])
    failed = [c.measure.name for c in checks(saddles(lr=0.1)) if not c.holds]
    assert any("Adam" in name for name in failed)


def test_the_saddle_has_its_hollow_where_it_is_said_to_be() -> None:
    x, y = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.0, math.sqrt(1.5)))
    height = SADDLE.height(x, y)
    assert float(height.detach()) == pytest.approx(SADDLE.lowest)
    (slope,) = torch.autograd.grad(height, [y])
    assert abs(float(slope)) < 1e-12
