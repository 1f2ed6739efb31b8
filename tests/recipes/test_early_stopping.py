"""Early stopping's experiment, small: what is shipped is the least validation loss, on the course of the full run."""

from __future__ import annotations

import pytest
import torch

from sonde.data import Dataset, load
from sonde.experiment import Check, Figure, Table
from sonde.recipes._seeds import fewer
from sonde.recipes.early_stopping import ended, findings, mislabelled


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def test_wrong_labels_are_wrong_and_only_in_training(digits: Dataset) -> None:
    data = mislabelled(digits, 0.25, seed=3)
    changed = (data.y != digits.y).nonzero().flatten()
    train = digits.splits["train"]
    assert len(changed) == round(0.25 * len(train)) and bool(torch.isin(changed, train).all())
    assert int(data.y.min()) >= 0 and int(data.y.max()) < len(digits.classes)
    assert not data.y.equal(mislabelled(digits, 0.25, seed=4).y)
    assert digits.y.equal(load("digits").y)  # the original is left as it was


def test_who_stops_ships_the_least_loss_on_the_same_course(digits: Dataset) -> None:
    data = mislabelled(fewer(digits, 100, 100, 0), 0.4, 0)
    whole, early = (ended(data, 0, 20, p, 64, lr=0.02) for p in (None, 3))
    assert whole.epochs == whole.stopped == 20 and early.epochs < 20
    assert early.val == whole.val[: early.epochs]
    assert early.val[early.stopped - 1] == min(early.val) and early.epochs - early.stopped == 3
    assert early.nll < whole.nll


def test_findings_name_their_labels(digits: Dataset) -> None:
    found = list(findings(digits, (0, 1), wrong=0.3, rows=80, epochs=6, patiences=(1, 2)))
    names = [f.measure.name for f in found if isinstance(f, Check)]
    assert all("30 % wrong labels" in name for name in names) and len(names) == 6
    assert sum(isinstance(f, Figure) for f in found) == 1 and sum(isinstance(f, Table) for f in found) == 1
