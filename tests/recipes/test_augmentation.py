"""The experiment on image augmentation, on a few digits."""

from __future__ import annotations

import pytest

from sonde.data import load
from sonde.experiment import Check, Experiment, Figure, Table
from sonde.methods import Flip, Shift, TrivialAugment
from sonde.recipes.augmentation import WAYS, Trained, changes, drawn, findings, gain, image_augmentation


def test_each_way_changes_pictures_as_it_says() -> None:
    assert [[type(m) for m in changes(way)] for way in WAYS] == [[], [Shift, Flip], [TrivialAugment, Shift, Flip]]


def test_a_gain_is_paired_and_counts_errors_that_are_no_longer_made() -> None:
    runs = {
        "plain": [Trained(0.5, 0.0), Trained(0.6, 0.0)],
        "with TrivialAugment": [Trained(0.4, 0.1), Trained(0.5, 0.1)],
    }
    found = gain(runs, "plain", "with TrivialAugment", {})
    assert found.value == pytest.approx(10.0) and found.interval == pytest.approx((10.0, 10.0))
    assert found.better == "higher" and found.n == 2


def test_everything_is_found_on_a_few_digits() -> None:
    found = list(findings(load("digits"), seeds=(0, 1), rows=100, epochs=1))
    checks = [f for f in found if isinstance(f, Check)]
    assert [c.measure.name for c in checks] == [f"augmentation/{way} over plain/lower" for way in WAYS[1:]]
    assert all(c.at_least == 0.0 and c.measure.settings["seeds"] == 2 for c in checks)
    (table,) = (f for f in found if isinstance(f, Table))
    assert table.columns == ("seed", *WAYS) and len(table.rows) == 2
    assert len({row[1:] for row in table.rows}) == 2  # another seed, other rows and weights
    assert sum(isinstance(f, Figure) for f in found) == 1


def test_the_drawing_names_every_way() -> None:
    svg = drawn({way: [Trained(0.5, 0.1), Trained(0.52, 0.2)] for way in WAYS}, rows=2000).svg
    assert all(way in svg for way in WAYS) and "51.0" in svg and "15.0" in svg


def test_it_is_an_experiment_on_cifar10() -> None:
    assert isinstance(image_augmentation, Experiment) and image_augmentation.data == ("cifar10",)
