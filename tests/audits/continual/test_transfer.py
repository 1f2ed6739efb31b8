"""The measures of a stream: by hand, their intervals' coverage, and what is left out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sonde.audits.continual import accuracy_matrix, continual


def rows(shares: list[list[float]], n: int = 100) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Exactly these shares of n rows right, for each stage and experience."""
    tasks = len(shares[0])
    right = np.concatenate(
        [[[i < round(s * n) for i in range(n)] for s in column] for column in zip(*shares, strict=True)], 1
    )
    return right.astype(np.uint8), np.repeat(np.arange(tasks), n), np.arange(tasks * n)


MATRIX = [[0.1, 0.1, 0.1], [0.9, 0.3, 0.2], [0.8, 0.9, 0.5], [0.6, 0.95, 0.9]]


def test_the_measures_are_those_of_the_definitions() -> None:
    right, task, records = rows(MATRIX)
    assert np.allclose(accuracy_matrix(right, task), MATRIX)
    found = {m.name: m for m in continual(right, task, records)}
    value = {name: m.value for name, m in found.items()}
    assert math.isclose(value["continual/average_accuracy"], (0.6 + 0.95 + 0.9) / 3)
    assert math.isclose(value["continual/forgetting"], ((0.9 - 0.6) + (0.9 - 0.95)) / 2)
    assert math.isclose(value["continual/backward_transfer"], ((0.6 - 0.9) + (0.95 - 0.9)) / 2)
    assert math.isclose(value["continual/forward_transfer"], ((0.3 - 0.1) + (0.5 - 0.1)) / 2)
    for m in found.values():
        assert m.interval is not None and m.interval[0] < m.value < m.interval[1] and m.n == 300


def test_a_record_that_is_in_every_experience_is_drawn_with_all_its_rows() -> None:
    """Rows that are right together make the mean less sure: by sqrt(T) where all T agree."""
    rng = np.random.default_rng(0)
    once = rng.random(400) < 0.8
    right = np.stack([np.zeros(1600)] + [np.tile(once, 4)] * 4).astype(np.uint8)
    task, together, apart = np.repeat(np.arange(4), 400), np.tile(np.arange(400), 4), np.arange(1600)

    def width(records: np.ndarray) -> float:
        interval = continual(right, task, records)[0].interval
        assert interval is not None
        return interval[1] - interval[0]

    assert width(together) == pytest.approx(2 * width(apart), rel=0.1)
    standard = 2 * 1.96 * math.sqrt(0.8 * 0.2 / 400)
    assert width(together) == pytest.approx(standard, rel=0.15)


def test_the_interval_of_the_average_covers_the_truth_as_often_as_it_says() -> None:
    rng, hits, trials = np.random.default_rng(1), 0, 150
    share = np.array([0.7, 0.9])
    for _ in range(trials):
        drawn = [(rng.random(120) < s).astype(np.uint8) for s in share]
        right = np.stack([np.zeros(240, np.uint8)] + [np.concatenate(drawn)] * 2)
        interval = continual(right, np.repeat([0, 1], 120), np.arange(240))[0].interval
        assert interval is not None
        hits += interval[0] <= share.mean() <= interval[1]
    assert abs(hits / trials - 0.95) < 4 * math.sqrt(0.95 * 0.05 / trials)


def test_one_experience_has_an_average_and_says_why_there_is_no_more() -> None:
    right, task, records = rows([[0.1], [0.9]])
    found = continual(right, task, records)
    assert found[0].value == 0.9
    assert all(math.isnan(m.value) and "nothing to be forgotten" in m.settings["omitted"] for m in found[1:])


def test_an_unfinished_stream_is_refused() -> None:
    right, task, records = rows(MATRIX)
    with pytest.raises(ValueError, match="a row before training and one after each of 3 stages; got 3 rows"):
        continual(right[:3], task, records)
