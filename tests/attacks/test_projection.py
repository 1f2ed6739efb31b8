"""The projections of FAB against solvers that know nothing of their structure, and what a ball promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize
from torch import Tensor

from sonde.attacks import Ball, Norm, Range
from sonde.attacks.fab import project
from tests.support import LAW


def drawn(seed: int, n: int, d: int, ties: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Points of the unit box (some numbers at its edges), normals (some zero, some equal) and values, in float64."""
    g = torch.Generator().manual_seed(seed)
    u = torch.rand(n, d, generator=g, dtype=torch.float64)
    u[torch.rand(n, d, generator=g) < 0.2] = 0.0
    u[torch.rand(n, d, generator=g) < 0.2] = 1.0
    w = torch.randn(n, d, generator=g, dtype=torch.float64)
    if ties:
        w = w.round()
    value = 1.5 * torch.randn(n, generator=g, dtype=torch.float64)
    return u, w, value


def by_linear_program(u: np.ndarray, w: np.ndarray, value: float) -> float | None:
    """The smallest t with |d_i| <= t, 0 <= u + d <= 1, value + w . d = 0; None where there is none."""
    d = len(u)
    edges = np.block([[np.eye(d), -np.ones((d, 1))], [-np.eye(d), -np.ones((d, 1))]])
    found = linprog(
        np.r_[np.zeros(d), 1.0],
        A_ub=edges,
        b_ub=np.zeros(2 * d),
        A_eq=np.r_[w, 0.0][None],
        b_eq=[-value],
        bounds=[*((-a, 1 - a) for a in u), (0, None)],
    )
    return float(found.fun) if found.success else None


def by_quadratic_program(u: np.ndarray, w: np.ndarray, value: float) -> float:
    """The smallest length of d with 0 <= u + d <= 1, value + w . d = 0, where there is one."""
    start = linprog(np.zeros(len(u)), A_eq=w[None], b_eq=[-value], bounds=[(-a, 1 - a) for a in u]).x
    found = minimize(
        lambda d: d @ d,
        start,
        jac=lambda d: 2 * d,
        bounds=[(-a, 1 - a) for a in u],
        constraints={"type": "eq", "fun": lambda d: value + w @ d, "jac": lambda d: w},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return float(np.sqrt(found.fun))


@LAW
@given(seed=st.integers(0, 10**6), d=st.integers(1, 7), ties=st.booleans(), norm=st.sampled_from(["linf", "l2"]))
def test_a_projection_is_the_smallest_change_that_a_solver_finds(seed: int, d: int, ties: bool, norm: Norm) -> None:
    u, w, value = drawn(seed, 4, d, ties)
    change = project(u, w, value, norm, 0.0, 1.0)
    moved = u + change
    assert float(moved.min()) >= -1e-12 and float(moved.max()) <= 1 + 1e-12
    left = value + (w * change).sum(1)
    most = torch.where(value[:, None] * w < 0, 1 - u, u) * w.abs()  # what each number could gain
    for i in range(len(u)):
        if float(most[i].sum()) < abs(float(value[i])) - 1e-9:  # no point of the box lies on the plane
            assert float(left[i].abs()) == pytest.approx(abs(float(value[i])) - float(most[i].sum()), abs=1e-9)
            continue
        assert abs(float(left[i])) < 1e-5 * (1 + abs(float(value[i])))
        if abs(float(most[i].sum()) - abs(float(value[i]))) < 1e-6:
            continue  # a single point does: solvers of finite precision may miss it
        length = float(change[i].abs().max() if norm == "linf" else change[i].norm())
        solve = by_linear_program if norm == "linf" else by_quadratic_program
        expected = solve(u[i].numpy(), w[i].numpy(), float(value[i]))
        assert expected is not None and length == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_projection_in_float32_equals_one_in_float64(norm: Norm) -> None:
    u, w, value = drawn(3, 40, 784, False)
    value = value * 30
    single = project(u.float(), w.float(), value.float(), norm, 0.0, 1.0)
    torch.testing.assert_close(single.double(), project(u, w, value, norm, 0.0, 1.0), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_where_nothing_helps_nothing_moves(norm: Norm) -> None:
    u = torch.tensor([[0.0, 1.0], [0.5, 0.5], [0.5, 0.5]])
    w = torch.tensor([[-1.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
    value = torch.tensor([-1.0, -1.0, 0.0])  # at the edge already; no gradient; on the plane
    assert torch.equal(project(u, w, value, norm, 0.0, 1.0), torch.zeros(3, 2))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_rows_are_projected_alone(norm: Norm) -> None:
    u, w, value = drawn(5, 30, 12, True)
    together = project(u, w, value, norm, 0.0, 1.0)
    alone = torch.cat([project(u[i : i + 1], w[i : i + 1], value[i : i + 1], norm, 0.0, 1.0) for i in range(30)])
    torch.testing.assert_close(together, alone, rtol=1e-6, atol=1e-9)


@LAW
@given(seed=st.integers(0, 10**6), radius=st.floats(0, 2), norm=st.sampled_from(["linf", "l2"]))
def test_a_ball_keeps_what_is_inside_and_draws_the_rest_in(seed: int, radius: float, norm: Norm) -> None:
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(5, 2, 3, generator=g, dtype=torch.float64)
    ball = Ball(x, radius, norm, Range(1.0, 0.0, 1.0))
    v = ball.project(x + 3 * torch.randn(x.shape, generator=g, dtype=torch.float64))
    offset = (v - x).flatten(1)
    length = offset.abs().amax(1) if norm == "linf" else offset.norm(dim=1)
    assert float(length.max()) <= radius * (1 + 1e-9) + 1e-12 and float(v.min()) >= 0 and float(v.max()) <= 1
    torch.testing.assert_close(ball.project(v.clone()), v)
