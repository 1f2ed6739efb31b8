from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde.report import charts, words

anything = st.lists(st.floats(width=64), max_size=30)


@given(anything, st.booleans())
def test_every_list_of_numbers_has_an_axis_with_places_inside_it(values: list[float], percent: bool) -> None:
    axis = charts.linear(values, percent=percent, pad=0.05)
    assert axis.low < axis.high and math.isfinite(axis.high - axis.low)
    assert all(0 <= t.at <= 100 for t in axis.ticks) and len(axis.ticks) <= 15
    for v in charts.finite(values):
        assert 0 <= axis.at(v) <= 100
    if charts.spans_decades(values):
        assert all(-0.01 <= t.at <= 100.01 for t in charts.logarithmic(values).ticks)


@given(anything)
def test_paths_hold_only_coordinates(values: list[float]) -> None:
    steps = [float(k) for k in range(len(values))]
    x, y = charts.linear(steps), charts.linear(values)
    path = charts.line(steps, values, x, y) + charts.dots(values, values, y, y)[0]
    assert re.fullmatch(r"([ML][\d.]+(e-\d+)? [\d.]+(e-\d+)?(h0)?)*", path)


def test_tick_labels_say_the_number_they_stand_at() -> None:
    for values in ([0, 1], [0, 0.7], [3, 4], [0.001, 0.0023], [12_000, 55_000]):
        axis = charts.linear(values)
        for tick in axis.ticks:
            label = float(tick.label.replace(",", "").replace("−", "-"))
            assert label == pytest.approx(
                axis.low + tick.at / 100 * (axis.high - axis.low), abs=1e-4 * (axis.high - axis.low)
            )


def test_a_line_breaks_where_there_is_no_number() -> None:
    x, y = charts.linear([0, 4]), charts.linear([0, 1])
    path = charts.line([0, 1, 2, 3, 4], [0, 1, math.nan, 1, 0], x, y)
    assert path.count("M") == 2 and path.count("L") == 2


def test_a_long_series_is_its_means_within_a_band() -> None:
    steps = [float(k) for k in range(10_000)]
    values = [float(k % 2) for k in range(10_000)]
    x, y = charts.linear(steps), charts.linear([0, 1])
    line = charts.line(steps, values, x, y)
    assert len(re.findall("[ML]", line)) <= charts.STRETCHES
    assert {round(float(v)) for v in re.findall(r"[ML][\d.]+ ([\d.]+)", line)} == {50}
    assert {float(v) for v in re.findall(r"[ML][\d.]+ ([\d.]+)", charts.band(steps, values, x, y))} == {0, 100}
    assert charts.band(steps[:10], values[:10], x, y) == ""


def test_one_model_far_off_does_not_squeeze_the_others() -> None:
    assert charts.without_stragglers([(0.97, 0.99), (0.1, 0.1), (0.95, 0.98)]) == [True, False, True]
    assert charts.without_stragglers([(0.97, 0.99), (0.1, 0.1)]) == [True, True]
    assert charts.without_stragglers([(0.1, 0.1), (0.97, 0.99), (0.95, 0.98)])[0]


@pytest.mark.parametrize(
    ("value", "interval", "text"),
    [
        (0.98889, (0.972, 0.9957), "98.9"),
        (0.9931, (0.9912, 0.9946), "99.31"),
        (0.5, None, "50.0"),
        (math.nan, None, "NaN"),
    ],
)
def test_shares_have_the_decimals_their_interval_supports(
    value: float, interval: tuple[float, float] | None, text: str
) -> None:
    assert words.measured(value, percent=True, interval=interval).split(words.THIN)[0] == text


def test_a_confidence_below_one_is_never_called_certain() -> None:
    assert words.sure(1.0) == f"100{words.THIN}%"
    assert "100" not in words.sure(0.99999) and "100" not in words.sure(0.996)
