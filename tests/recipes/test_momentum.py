"""Rates on bowls are measured as the closed forms have them, and a rule with other constants is found out."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sonde.data import load
from sonde.experiment import Check
from sonde.methods import sgd
from sonde.recipes import momentum
from sonde.recipes.momentum import TUNED, measured_root, rates, slope, steps_by_kappa, steps_on_net


@pytest.mark.parametrize(("c", "root"), [(0.0, 0.9), (0.35, 0.8), (2.0, 0.95)])
def test_the_root_of_a_known_course_is_found(c: float, root: float) -> None:
    k = torch.arange(101, dtype=torch.float64)
    course = ((1 + c * k) * root**k)[:, None]
    assert measured_root(course, double=c > 0) == pytest.approx(root, abs=1e-6)


@pytest.mark.parametrize("kappa", [25.0, 400.0])
def test_all_rates_are_as_theory_has_them(kappa: float) -> None:
    found = [f for f in rates(kappa, steps=100) if isinstance(f, Check)]
    assert len(found) == 4 and all(c.holds for c in found), [(c.measure.name, c.measure.value) for c in found]


@pytest.mark.parametrize("which", range(3))
def test_other_constants_have_another_rate(which: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = TUNED[which]
    slower = replace(rule, lr=lambda k: 0.7 * rule.lr(k))
    monkeypatch.setattr(momentum, "TUNED", (*TUNED[:which], slower, *TUNED[which + 1 :]))
    assert not all(c.holds for c in rates(100.0, steps=100) if isinstance(c, Check))


def test_nesterov_with_too_long_steps_breaks_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    longer = replace(TUNED[2], momentum=lambda k: 0.99)
    monkeypatch.setattr(momentum, "TUNED", (*TUNED[:2], longer))
    bound = [c for c in rates(100.0, steps=100) if isinstance(c, Check)][-1]
    assert "bound" in bound.measure.name and not bound.holds


def test_steps_grow_as_kappa_without_momentum_and_as_its_root_with_it() -> None:
    kappas = (10, 40, 160)
    found = steps_by_kappa(kappas, near=1e-4)
    assert slope(kappas, found["gradient descent"]) == pytest.approx(1.0, abs=0.15)
    for name in ("momentum", "Nesterov"):
        assert slope(kappas, found[name]) == pytest.approx(0.5, abs=0.15)


def test_a_slope_is_the_exponent() -> None:
    assert slope([1, 2, 4, 8], [3 * x**-0.7 for x in (1, 2, 4, 8)]) == pytest.approx(-0.7)


def test_a_net_stops_at_the_target_and_what_breaks_down_takes_all_steps() -> None:
    digits = load("digits")
    quick = steps_on_net(digits, sgd(0.1), seed=0, target=0.5, steps=200)
    assert 10 <= quick < 200
    assert steps_on_net(digits, sgd(0.1), seed=0, target=0.5, steps=200) == quick
    assert steps_on_net(digits, sgd(1e6), seed=0, target=0.5, steps=50) == 50
