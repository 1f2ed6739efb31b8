"""The data set itself: its parts fit, batches are rows, and its fingerprint is its content."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sonde import data
from sonde.data.dataset import RowNames


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load("digits")


def test_a_batch_is_the_rows_asked_for(digits: data.Dataset) -> None:
    index = torch.tensor([5, 3, 5])
    batch = digits.batch(index)
    assert torch.equal(batch.x, digits.x[index]) and torch.equal(batch.y, digits.y[index])
    assert torch.equal(batch.records, index) and len(batch) == 3
    assert len(digits.batch(torch.tensor([], dtype=torch.int64))) == 0


def test_a_table_batch_is_a_dict() -> None:
    d = data.load("diabetes", sensitive="sex")
    batch = d.batch(torch.tensor([1, 2]))
    assert set(batch.x) == {"numeric", "categorical"} and batch.x["numeric"].shape == (2, 9)
    assert batch.y.shape == (2, 1) and batch.fields["sex"].shape == (2,)


def test_the_fingerprint_is_the_content(digits: data.Dataset) -> None:
    again = data.load("digits")
    assert again == digits and hash(again) == hash(digits) and len({again, digits}) == 1
    assert replace(digits, name="other", notes=("x",), source={}) == digits
    y = digits.y.clone()
    y[0] += 1
    x = digits.x.clone()
    x[0, 0, 0, 0] = 0.5
    other = [replace(digits, y=y), replace(digits, x=x), replace(digits, splits={**digits.splits, "val": y[:0]})]
    other.append(replace(digits, fields={"g": y}))
    assert len({d.fingerprint for d in [digits, *other]}) == 5 and digits != "digits"


def test_the_fingerprint_ignores_the_bits_of_nan() -> None:
    d = data.open({"k": [1.0, None] * 10, "y": ["a", "b"] * 10}, "y")
    numeric = d.x["numeric"].clone()
    odd = torch.from_numpy(np.array([0x7FC00001], np.uint32).view(np.float32))
    numeric[numeric.isnan()] = odd
    assert replace(d, x={**d.x, "numeric": numeric}) == d


def test_parts_that_do_not_fit_are_refused(digits: data.Dataset) -> None:
    with pytest.raises(ValueError, match="x  ?has 1796 rows but y has 1797"):
        replace(digits, x=digits.x[1:])
    with pytest.raises(ValueError, match="field g has 3 rows"):
        replace(digits, fields={"g": torch.zeros(3)})
    with pytest.raises(ValueError, match="splits overlap"):
        replace(digits, splits={**digits.splits, "val": digits.splits["test"]})
    with pytest.raises(ValueError, match="outside 0..1796"):
        replace(digits, splits={**digits.splits, "val": torch.tensor([1797])})
    with pytest.raises(ValueError, match="splits must be"):
        replace(digits, splits={"train": digits.splits["train"]})


def test_it_says_what_it_is(digits: data.Dataset) -> None:
    assert repr(digits) == "Dataset('digits', classification, 1797 rows: train 1294, val 144, test 359)"


def test_row_names_are_made_when_asked_for() -> None:
    names = RowNames(range(2, 1_000_002))
    assert len(names) == 1_000_000 and names[-1] == "row 1000001" and list(names[:2]) == ["row 2", "row 3"]
    assert names[:2] == ["row 2", "row 3"] and names[:2] != "ro"
