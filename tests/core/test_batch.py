"""Batches: rows stay together, whatever the nesting."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sonde.core import Batch, Texts, map_tree, some_rows
from tests.support import LAW

NAMES = st.text(min_size=1, max_size=5)  # column names may hold anything: dots, spaces, other scripts


def rows_of(n: int) -> st.SearchStrategy[Tensor]:
    shapes = st.lists(st.integers(1, 3), max_size=2)
    return shapes.map(lambda shape: torch.randn(n, *shape))


def nested(n: int) -> st.SearchStrategy[Any]:
    return st.recursive(rows_of(n), lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=3), max_leaves=5)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    n = draw(st.integers(1, 9))
    records = draw(st.sampled_from([None, torch.arange(n) + 7]))
    fields = draw(st.dictionaries(NAMES, rows_of(n), max_size=3))
    return Batch(draw(nested(n)), draw(st.none() | nested(n)), records, fields)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return a is b is None


def equal(a: Batch, b: Batch) -> bool:
    return all(same(getattr(a, k), getattr(b, k)) for k in ("x", "y", "records", "fields"))


# ---------------------------------------------------------------- laws
@LAW
@given(batches())
def test_a_batch_is_what_its_flat_rows_say(batch: Batch) -> None:
    flat = batch.rows()
    assert all(isinstance(v, Tensor) and len(v) == len(batch) for v in flat.values())
    assert equal(Batch.of(flat), batch)


@LAW
@given(batches(), st.integers(1, 10))
def test_microbatches_hold_every_row_once_in_order(batch: Batch, size: int) -> None:
    parts = list(batch.parts(size))
    assert all(len(p) <= size and p.denominator == len(batch) for p in parts)
    columns = [p.rows() for p in parts]
    joined = Batch.of({k: torch.cat([c[k] for c in columns]) for k in columns[0]})
    assert equal(joined, batch)


@LAW
@given(batches(), st.integers(1, 10))
def test_means_of_microbatches_add_up_to_the_mean_of_the_batch(batch: Batch, size: int) -> None:
    first = next(iter(batch.rows().values())).double()
    parts = [p.rows() for p in batch.parts(size)]
    sums = [next(iter(p.values())).double().sum() / len(batch) for p in parts]
    torch.testing.assert_close(torch.stack(sums).sum(), first.sum() / len(batch))


@LAW
@given(batches(), st.data())
def test_picking_rows_picks_them_from_every_tensor(batch: Batch, data: st.DataObject) -> None:
    index = torch.tensor(data.draw(st.lists(st.integers(0, len(batch) - 1), min_size=1, max_size=12)))
    picked = batch[index]
    assert len(picked) == len(index)
    assert all(torch.equal(v, batch.rows()[k][index]) for k, v in picked.rows().items())


# ---------------------------------------------------------------- cases
def test_a_microbatch_of_a_shard_divides_by_what_the_shard_divided_by() -> None:
    shard = Batch(torch.zeros(6, 2), denominator=5.5)
    assert [p.denominator for p in shard.parts(4)] == [5.5, 5.5]


def test_moving_keeps_the_denominator_and_what_is_absent() -> None:
    moved = Batch({"a": torch.zeros(3)}, denominator=2.0).to(torch.device("cpu"))
    assert (moved.y, moved.records, moved.denominator, len(moved)) == (None, None, 2.0, 3)


def test_a_batch_cannot_be_changed_in_place() -> None:
    with pytest.raises(AttributeError):
        Batch(torch.zeros(2)).x = torch.ones(2)  # type: ignore[misc]


def test_trees_keep_their_shape_and_what_is_no_tensor() -> None:
    tree = {"a": torch.ones(2), "b": [torch.ones(1), None, 3.0], "c": ("word",)}
    doubled = map_tree(lambda t: 2 * t, tree)
    assert doubled["b"][1:] == [None, 3.0] and doubled["c"] == ("word",)
    assert doubled["a"].tolist() == [2, 2] and doubled["b"][0].tolist() == [2]


def test_texts_are_taken_as_tensors_are() -> None:
    texts, numbers = Texts("abcde"), torch.arange(5)
    batch = Batch({"text": texts, "n": numbers}, numbers, numbers)
    for index in (slice(1, 4), slice(None, None, 2), torch.tensor([4, 0, 0]), numbers > 2, torch.tensor([]).long()):
        taken = batch[index]
        assert isinstance(taken.x["text"], Texts)
        assert list(taken.x["text"]) == ["abcde"[i] for i in taken.x["n"]]
    assert len(Batch(texts)) == 5 and [len(part) for part in Batch(texts).parts(2)] == [2, 2, 1]
    assert texts[1] == "b" and list(some_rows(["a", "b"], slice(0, 1))) == ["a"]
