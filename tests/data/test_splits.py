"""Splits: a partition, stratified, the same for the same seed; official ones honoured; copies across them found."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sonde.core.errors import SondeError
from sonde.data import splits


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=2, max_size=200),
    st.floats(0, 0.6),
    st.floats(0, 0.6),
    st.integers(0, 2**31),
)
def test_every_row_is_in_one_split_and_every_class_keeps_a_training_row(
    y: list, test: float, val: float, seed: int
) -> None:
    labels = torch.tensor(y)
    parts = splits.make(labels, "classification", test, val, seed)
    joined = torch.cat(list(parts.values()))
    assert joined.sort().values.tolist() == list(range(len(y)))
    assert all(part.tolist() == sorted(part.tolist()) for part in parts.values())
    assert set(labels[parts["train"]].tolist()) == set(y)
    again = splits.make(labels, "classification", test, val, seed)
    assert all(torch.equal(parts[k], again[k]) for k in parts)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(10, 400), min_size=2, max_size=6), st.floats(0.05, 0.5), st.integers(0, 1000))
def test_every_class_has_its_share(counts: list, fraction: float, seed: int) -> None:
    y = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    kept, held = splits.hold_out(torch.arange(len(y)), y, fraction, seed)
    assert len(held) == round(fraction * len(y))
    for label, count in enumerate(counts):
        assert abs(int((y[held] == label).sum()) - count * len(held) / len(y)) < 1


def test_another_seed_is_another_split() -> None:
    y = torch.arange(200) % 3
    a, b = (splits.make(y, "classification", 0.2, 0.1, seed) for seed in (0, 1))
    assert not torch.equal(a["test"], b["test"])


def test_regression_covers_the_range_in_every_split() -> None:
    y = torch.arange(1000.0)[torch.randperm(1000, generator=torch.Generator().manual_seed(0))][:, None]
    parts = splits.make(y, "regression", 0.2, 0.1, 0)
    assert [len(parts[k]) for k in ("train", "val", "test")] == [720, 80, 200]
    tenths = (y[parts["test"], 0] // 100).long().bincount()
    assert tenths.tolist() == [20] * 10


def test_rare_labels_reach_the_test_rows() -> None:
    y = torch.zeros(200, 3)
    y[:, 0], y[:20, 1], y[:100, 2] = 1, 1, 1
    parts = splits.make(y, "multilabel", 0.2, 0.1, 0)
    assert int(y[parts["test"], 1].sum()) == 4


def test_given_splits_are_kept_and_only_missing_ones_drawn() -> None:
    y = torch.arange(100) % 2
    given_ = torch.tensor([0] * 80 + [2] * 20)
    parts = splits.make(y, "classification", 0.5, 0.1, 0, given_)
    assert parts["test"].tolist() == list(range(80, 100)) and len(parts["val"]) == 8
    whole = splits.make(y, "classification", 0.5, 0.1, 0, torch.tensor([0] * 60 + [1] * 20 + [2] * 20))
    assert len(whole["train"]) == 60 and whole["val"].tolist() == list(range(60, 80))


@pytest.mark.parametrize("fractions", [(1.0, 0.1), (-0.1, 0.1), (0.2, 1.5), (float("nan"), 0.1)])
def test_fractions_outside_the_unit_interval_are_refused(fractions: tuple[float, float]) -> None:
    with pytest.raises(SondeError, match="is no fraction of the rows"):
        splits.make(torch.arange(10) % 2, "classification", *fractions, 0)


def test_zero_fractions_leave_empty_splits() -> None:
    parts = splits.make(torch.arange(10) % 2, "classification", 0, 0, 0)
    assert len(parts["train"]) == 10 and len(parts["val"]) == len(parts["test"]) == 0


def test_copies_across_splits_are_found_exactly() -> None:
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (60, 1, 5, 5), dtype=np.uint8))
    x[45], x[52] = x[3], x[10]
    parts = {"train": torch.arange(40), "val": torch.arange(40, 50), "test": torch.arange(50, 60)}
    assert splits.twins(x, parts, "val") == [(45, 3)] and splits.twins(x, parts, "test") == [(52, 10)]
    y = torch.zeros(60, dtype=torch.int64)
    y[10] = 1
    notes = splits.duplicate_notes(x, y, parts, [f"image {i}" for i in range(60)])
    assert notes[0].startswith("duplicates: 1 of 10 val rows") and "(0 with another label)" in notes[0]
    assert "(1 with another label), e.g. image 52 and image 10" in notes[1]


def test_copies_in_tables_count_missing_values_as_equal() -> None:
    numeric = torch.tensor([[1.0, torch.nan], [2.0, 3.0], [1.0, torch.nan], [2.0, 4.0]])
    x = {"numeric": numeric, "categorical": torch.zeros(4, 0, dtype=torch.int64)}
    parts = {"train": torch.tensor([0, 1]), "val": torch.tensor([], dtype=torch.int64), "test": torch.tensor([2, 3])}
    assert splits.twins(x, parts, "test") == [(2, 0)] and splits.twins(x, parts, "val") == []
