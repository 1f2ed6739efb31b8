"""Reading a curve of losses against rates."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sonde.tuning.rates import curve, highest, smooth

RATES = np.logspace(-7, 1, 200)


def bowl(noise: float, seed: int = 0, middle: float = -4.0, turn: float = -2.0) -> np.ndarray:
    """A loss that falls from 3 to 1 about 10^middle and rises again from 10^turn on."""
    decades = np.log10(RATES)
    clean = 1 + 2 / (1 + np.exp(6 * (decades - middle))) + 3 * np.clip(decades - turn, 0, None) ** 2
    return clean + noise * np.random.default_rng(seed).standard_normal(len(RATES))


def test_the_rules_find_what_they_are_named_after() -> None:
    found = curve(0, list(RATES), list(bowl(0.0)), 3.0, "highest").suggested()
    assert math.log10(found["steepest"]) == pytest.approx(-4, abs=0.05)
    assert math.log10(found["minimum"]) == pytest.approx(-2.66, abs=0.1)  # the middle of the bottom
    assert found["minimum / 10"] == pytest.approx(found["minimum"] / 10)
    assert found["minimum / 3"] == pytest.approx(found["minimum"] / 3)


@pytest.mark.parametrize("seed", range(5))
def test_noise_moves_a_suggestion_by_less_than_a_third_of_a_decade(seed: int) -> None:
    exact = curve(0, list(RATES), list(bowl(0.0)), 3.0, "highest").suggested()
    noisy = curve(0, list(RATES), list(bowl(0.1, seed)), 3.0, "highest").suggested()
    assert abs(math.log10(noisy["steepest"] / exact["steepest"])) < 0.34
    assert abs(math.log10(noisy["minimum"] / exact["minimum"])) < 0.34


@pytest.mark.parametrize("seed", range(20))
def test_noise_alone_suggests_nothing(seed: int) -> None:
    flat = 2.3 + 0.1 * np.random.default_rng(seed).standard_normal(len(RATES))
    assert curve(0, list(RATES), list(flat), 2.3, "highest").suggested() == {}


def test_smoothing_does_not_lag() -> None:
    step = np.where(np.log10(RATES) < -3, 2.0, 1.0)
    smoothed = np.array(smooth(list(RATES), step))
    crossed = np.log10(RATES)[np.flatnonzero(smoothed < 1.5)[0]]
    assert crossed == pytest.approx(-3, abs=0.05)


def test_a_missing_loss_is_passed_over_and_an_infinite_one_counts_as_a_divergence() -> None:
    losses = bowl(0.0)
    losses[50] = math.nan
    losses[-3:] = math.inf
    found = curve(0, list(RATES), list(losses), 3.0, "diverged")
    assert all(map(math.isfinite, found.smoothed))
    assert math.log10(found.suggested()["minimum"]) == pytest.approx(-2.66, abs=0.1)


@pytest.mark.parametrize(("best", "first", "limit"), [(2.0, 2.3, 8.0), (0.1, 2.3, 2.3), (-1.0, 2.0, 8.0)])
def test_the_limit_is_four_times_the_best_wherever_that_means_something(
    best: float, first: float, limit: float
) -> None:
    assert highest(best, first) == pytest.approx(limit)
