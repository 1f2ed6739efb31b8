"""Dropout's experiment, small: pairs share what they should, broken rates are passed over, a table for every seed."""

from __future__ import annotations

import math

import pytest

from sonde.data import Dataset, load
from sonde.experiment import Check, Figure, Table
from sonde.recipes._seeds import end_of, fewer, over_seeds
from sonde.recipes.dropout import WAYS, best_rate, findings, gain, trained


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def test_fewer_rows_are_drawn_by_the_seed_and_test_rows_stay(digits: Dataset) -> None:
    small, again, other = (fewer(digits, 100, 50, seed) for seed in (0, 0, 1))
    assert len(small.splits["train"]) == 100 and len(small.splits["val"]) == 50
    assert small.splits["test"].equal(digits.splits["test"])
    assert small.splits["train"].equal(again.splits["train"]) and not small.splits["train"].equal(other.splits["train"])


def test_the_same_seed_gives_the_same_run_and_dropout_another(digits: Dataset) -> None:
    small = fewer(digits, 100, 50, 0)
    first, again, dropped = (trained(small, w, 0, 0.05, 4, (32,)) for w in ("plain", "plain", "dropout"))
    assert first == again and dropped.course != first.course
    assert len(first.course) == 2 and 0 <= first.error < 0.9


def test_a_rate_that_breaks_down_is_not_chosen(digits: Dataset) -> None:
    assert best_rate(fewer(digits, 100, 50, 0), "plain", 0, rates=(1e8, 0.05), epochs=2) == 0.05


def test_everything_is_found_for_every_seed(digits: Dataset) -> None:
    found = list(findings(digits, (0, 1), dict.fromkeys(WAYS, 0.05), rows=60, epochs=4))
    assert sum(isinstance(f, Check) for f in found) >= 3 and sum(isinstance(f, Figure) for f in found) == 1
    (table,) = (f for f in found if isinstance(f, Table))
    assert [row[0] for row in table.rows] == [0, 1] and table.columns == ("seed", *WAYS)


def test_a_gain_is_what_the_second_errs_less(digits: Dataset) -> None:
    small = fewer(digits, 60, 50, 0)
    run = trained(small, "plain", 0, 0.05, 2, (16,))
    worse = type(run)(run.error + 0.01, run.loss, run.train_error, run.course)
    measure = gain({"a": [worse, worse], "b": [run, run]}, "a", "b", {})
    assert measure.value == pytest.approx(1.0) and measure.n == 2


def test_the_interval_is_students(digits: Dataset) -> None:
    from scipy.stats import ttest_1samp

    values = [0.3, -0.1, 0.8, 0.4]
    measure = over_seeds("x", values, "1", "higher", "")
    expected = ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert measure.interval == pytest.approx((expected.low, expected.high))
    assert end_of(measure, "lower").value == pytest.approx(expected.low)
    assert math.isnan(end_of(over_seeds("x", [1.0], "1", "higher", ""), "lower").value)
