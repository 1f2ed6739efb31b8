"""Private quantiles: probabilities and sensitivities enumerated on tiny domains, and what they find in columns."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import laplace

from sonde.privacy import quantiles
from sonde.privacy.quantiles import Answers, Plan, beyond, private_quantiles, probabilities, scale, unscale
from tests.support import LAW

VALUES = (-3.0, 0.0, 1.0, 5.0)


def neighbours(most: int = 3) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Every column of at most `most` values of a tiny domain, and it with one record more: (values, parts) of both."""
    for n in range(most + 1):
        for values in itertools.combinations_with_replacement(VALUES, n):
            for more in VALUES:
                part = np.linspace(0.05, 0.95, n + 1)[::-1]
                yield np.array(values), part[:n], np.array([*values, more]), part


def ordered(x: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((u, scale(x)))
    return scale(x)[order], u[order]


def density(answers: Answers, at: np.ndarray, part: np.ndarray, epsilon: float) -> np.ndarray:
    """The density at places of the scale, or the probability of zero at its divisions."""
    shares = probabilities(answers.utility, answers.mass, epsilon, 0.5)
    found = []
    for s, p in zip(at, part, strict=True):
        if p:
            found.append(shares[(answers.left == 0) & (answers.right == 0) & (answers.part == p)].sum())
        else:
            piece = (answers.left <= s) & (s < answers.right)
            found.append((shares[piece] / answers.mass[piece]).sum())
    return np.array(found)


def test_probabilities_are_those_of_the_exponential_mechanism() -> None:
    utility, mass = np.array([0.0, -1.0, -2.5]), np.array([1.0, 2.0, 0.5])
    weights = [m * math.exp(0.7 * u / (2 * 0.5)) for u, m in zip(utility, mass, strict=True)]
    assert probabilities(utility, mass, 0.7, 0.5) == pytest.approx(np.array(weights) / sum(weights), rel=1e-12)


def test_a_piece_without_width_is_never_drawn() -> None:
    assert probabilities(np.array([0.0, -9.0]), np.array([0.0, 1.0]), 1.0, 1.0).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("epsilon", [0.3, 1.0, 4.0])
def test_one_record_changes_no_probability_of_a_median_by_more_than_e_to_epsilon(epsilon: float) -> None:
    low, high = scale(np.array([-8.0, 9.0]))
    places = np.concatenate([np.linspace(low + 0.01, high - 0.01, 40), np.zeros(quantiles.SPLITS)])
    parts = np.concatenate([np.zeros(40), (np.arange(quantiles.SPLITS) + 0.5) / quantiles.SPLITS])
    most = 0.0
    for x, u, y, v in neighbours():
        a, b = (Answers.of(*ordered(*d), float(low), float(high)) for d in ((x, u), (y, v)))
        ratio = np.log(density(a, places, parts, epsilon) / density(b, places, parts, epsilon))
        most = max(most, float(np.abs(ratio).max()))
        assert (np.abs(ratio) <= epsilon + 1e-9).all()
    assert most > 0.2 * epsilon  # and the bound is no empty one


def test_one_record_changes_the_utility_of_a_median_by_half() -> None:
    low, high = scale(np.array([-8.0, 9.0]))
    for x, u, y, v in neighbours():
        a, b = (Answers.of(*ordered(*d), float(low), float(high)) for d in ((x, u), (y, v)))
        at_zero = [c.utility[-quantiles.SPLITS :] for c in (a, b)]
        assert (np.abs(at_zero[0] - at_zero[1]) == 0.5).all()


def stop_probabilities(counts: np.ndarray, epsilon: float) -> np.ndarray:
    """Where the sparse vector stops first, integrated over the noise of its threshold."""

    def at(k: int) -> float:
        def stops(noise: float) -> float:
            passes = laplace.cdf(quantiles.FEW / epsilon + noise - counts, scale=2 / epsilon)
            return float(laplace.pdf(noise, scale=2 / epsilon) * np.prod(1 - passes[:k]) * passes[k])

        return quad(stops, -60 / epsilon, 60 / epsilon, limit=400, points=[0.0])[0]  # type: ignore[no-any-return]

    return np.array([at(k) for k in range(len(counts))])


def test_one_record_changes_no_probability_of_a_bound_by_more_than_e_to_epsilon() -> None:
    epsilon = 1.5
    for counts in ([9, 4, 1, 0], [14, 14, 3, 3], [0, 0, 0, 0], [20, 7, 6, 0]):
        for more in itertools.product((0, 1), repeat=4):
            if list(more) != sorted(more, reverse=True):
                continue  # a record that exceeds a bound exceeds all smaller ones
            a, b = (stop_probabilities(np.array(c, float), epsilon) for c in (counts, np.add(counts, more)))
            assert np.abs(np.log(a / b)).max() <= epsilon + 1e-6


@LAW
@given(st.lists(st.floats(0, 1e6), max_size=20), st.floats(0, 1e6))
def test_a_record_more_exceeds_every_bound_up_to_its_own(distances: list[float], more: float) -> None:
    change = beyond(np.array([*distances, more])) - beyond(np.array(distances))
    assert set(change) <= {0, 1} and (np.diff(change) <= 0).all()


@LAW
@given(st.floats(-1e15, 1e15))
def test_the_scale_is_even_in_doublings_and_has_an_inverse(x: float) -> None:
    assert unscale(scale(np.array([x])))[0] == pytest.approx(x, rel=1e-9, abs=1e-12)
    assert scale(np.array([-x]))[0] == -scale(np.array([x]))[0]


# ---------------------------------------------------------------- what a plan costs
@LAW
@given(st.floats(1e-3, 10), st.integers(1, 10**7), st.booleans())
def test_a_plan_costs_what_it_was_given(epsilon: float, rows: int, bounded: bool) -> None:
    plan = Plan.of(epsilon, rows, bounded)
    assert math.sqrt(sum(e * e for e in plan.pure)) == pytest.approx(epsilon)
    assert len(plan.pure) == plan.levels + (not bounded)
    assert 2 <= plan.levels <= Plan.of(epsilon, 2 * rows, bounded).levels


# ---------------------------------------------------------------- what is found
def rank_errors(x: np.ndarray, found: np.ndarray) -> np.ndarray:
    """How far the ranks of the quantiles found are from those asked for; 0 where a tie holds them."""
    known = np.sort(x[np.isfinite(x)])
    asked = np.arange(1, len(found) - 1) / (len(found) - 1)
    low, high = (np.searchsorted(known, found[1:-1] + d, s) / len(known) for d, s in ((-1e-9, "left"), (1e-9, "right")))
    return np.maximum(0.0, np.maximum(low - asked, asked - high))


def columns(n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    gain = np.where(rng.random(n) < 0.08, rng.lognormal(8.5, 0.7, n), 0.0)
    return {
        "normal": rng.normal(50, 10, n),
        "years": rng.integers(1990, 2021, n).astype(float),
        "seconds since 1970": 1.6e9 + 1e6 * rng.random(n),
        "mostly zero, then a heavy tail": gain,
        "Cauchy": rng.standard_cauchy(n),
        "half missing": np.where(rng.random(n) < 0.5, np.nan, rng.normal(-3, 1, n)),
    }


@pytest.mark.parametrize("name", columns(10))
def test_quantiles_are_close_on_ten_thousand_rows(name: str) -> None:
    x = columns(10_000)[name]
    for seed in range(5):
        found = private_quantiles(x, Plan.of(0.1, len(x)), np.random.default_rng(seed))
        assert (np.diff(found) >= 0).all() and len(found) >= 5
        assert rank_errors(x, found).max() < 0.08, name
        known = x[np.isfinite(x)]
        width = known.max() - known.min()
        assert found[0] >= known.min() - 2 * width and found[-1] <= known.max() + 2 * width  # nothing far beyond


def test_a_heavy_tail_is_kept() -> None:
    x = columns(10_000)["mostly zero, then a heavy tail"]
    for seed in range(5):
        found = private_quantiles(x, Plan.of(0.1, len(x)), np.random.default_rng(seed))
        assert found[0] == 0 and found[len(found) // 2] == 0 and 4000 < found[-1] < 2 * x.max()


def test_public_bounds_are_kept_and_cost_nothing() -> None:
    x = np.random.default_rng(0).uniform(20, 70, 2000)
    plan = Plan.of(0.5, 2000, bounded=True)
    found = private_quantiles(x, plan, np.random.default_rng(1), 0.0, 100.0)
    assert found[0] == 0 and found[-1] == pytest.approx(100) and plan.bound == 0
    assert rank_errors(x, found).max() < 0.05


@pytest.mark.parametrize("x", [[], [np.nan] * 5, [3.0], [0.0] * 9, [math.inf, -math.inf], [1e300, -1e300]], ids=str)
def test_any_column_gives_finite_rising_numbers(x: list[float]) -> None:
    for seed in range(20):
        found = private_quantiles(np.array(x), Plan.of(0.1, 10), np.random.default_rng(seed))
        assert np.isfinite(found).all() and (np.diff(found) >= 0).all()
