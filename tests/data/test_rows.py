"""Rows in memory: every record once an epoch, in an order that is a function of (seed, epoch)."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sonde.core import Batch
from sonde.data import rows as module
from sonde.data.rows import Rows, Split
from tests.support import LAW, Halves

SIZES = st.integers(1, 30)


def numbers(batch: Batch) -> list[int]:
    assert batch.records is not None
    return batch.records.tolist()


@LAW
@given(SIZES, SIZES, st.integers(0, 2**32), st.integers(0, 70))
def test_starting_anywhere_gives_what_the_beginning_would_have_reached(
    n: int, size: int, seed: int, start: int
) -> None:
    source = Rows(torch.arange(n), batch_size=size, seed=seed)
    later = islice(source.batches(None), start, start + 5)
    for a, b in zip(later, source.batches(None, start), strict=False):
        assert numbers(a) == numbers(b) and torch.equal(a.x, b.x)


@LAW
@given(SIZES, SIZES, st.integers(0, 2**32))
def test_every_record_comes_once_an_epoch(n: int, size: int, seed: int) -> None:
    source = Rows(torch.arange(n), batch_size=size, seed=seed)
    batches = source.batches(None)
    for _ in range(3):
        epoch = [numbers(b) for b in islice(batches, source.steps_per_epoch)]
        assert sorted(sum(epoch, [])) == list(range(n))
        assert all(len(b) == size for b in epoch[:-1]) and 0 < len(epoch[-1]) <= size


@LAW
@given(SIZES, SIZES, st.integers(1, 5))
def test_processes_part_every_batch_among_them(n: int, size: int, world: int) -> None:
    source, patch = Rows(torch.arange(n), batch_size=size), pytest.MonkeyPatch()
    run: Any = object()
    shares = []
    for rank in range(world):
        patch.setattr(module, "rank_and_world", lambda rank=rank: (rank, world))
        shares.append(list(islice(source.batches(run), 4)))
    patch.undo()
    for whole, *parts in zip(islice(source.batches(None), 4), *shares, strict=True):
        assert sorted(numbers(whole)) == sorted(sum(map(numbers, parts), []))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        if world > 1:  # the mean over processes of their sums over this is the mean over the batch
            assert all(p.denominator == len(whole) / world for p in parts)


def test_each_epoch_and_each_seed_has_an_order_of_its_own() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return numbers(next(Rows(torch.arange(50), batch_size=50, seed=seed).batches(None, epoch)))

    orders = [tuple(order(s, e)) for s in range(3) for e in range(3)]
    assert len(set(orders)) == 9 and order(1, 2) == order(1, 2)


def test_what_belongs_to_a_row_stays_with_it() -> None:
    n = torch.arange(20)
    source = Rows({"a": n, "b": {"c": n[:, None] * 2}}, n * 3, batch_size=6, fields={"group": n * 4})
    for batch in islice(source.batches(None), 4):
        i = batch.records
        assert i is not None
        assert torch.equal(batch.x["a"], i) and torch.equal(batch.x["b"]["c"], 2 * i[:, None])
        assert torch.equal(batch.y, 3 * i) and torch.equal(batch.fields["group"], 4 * i)


def test_a_reader_outside_a_run_sees_all_rows_whatever_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "rank_and_world", lambda: (1, 2))
    assert len(next(Rows(torch.arange(8), batch_size=8).batches(None))) == 8


# ---------------------------------------------------------------- splits
def test_a_split_gives_its_own_rows_and_their_numbers_in_the_data_set() -> None:
    data = Halves()
    epoch = list(islice(Split(data, "val", batch_size=10).batches(None), 4))
    assert sorted(sum(map(numbers, epoch), [])) == data.splits["val"].tolist()
    assert all(torch.equal(b.x, data.x[b.records]) for b in epoch)
    assert len(Split(data, "val")) == 32


# ---------------------------------------------------------------- refusals
@pytest.mark.parametrize("x, size", [(torch.zeros(0, 2), 4), (torch.zeros(3, 2), 0), (torch.zeros(3, 2), -1)])
def test_no_rows_or_no_batch_is_refused(x: Tensor, size: int) -> None:
    with pytest.raises(ValueError, match="needs rows and a batch size of at least 1"):
        Rows(x, batch_size=size)


@pytest.mark.parametrize("y", [torch.zeros(5), torch.zeros(7)])
def test_tensors_of_different_lengths_are_refused(y: Tensor) -> None:
    with pytest.raises(ValueError, match=r"x has 6 rows, others do not: {'y': [57]}"):
        Rows(torch.zeros(6, 2), y)
    with pytest.raises(ValueError, match=r"others do not: {'fields.group': [57]}"):
        Rows(torch.zeros(6, 2), fields={"group": y})


def test_a_split_that_is_absent_or_empty_is_refused() -> None:
    data = Halves()
    with pytest.raises(ValueError, match="has the splits train, val; got 'test'"):
        Split(data, "test")
    data.splits["test"] = torch.arange(0)
    with pytest.raises(ValueError, match="got 0 rows in 'test'"):
        Split(data, "test")
    with pytest.raises(ValueError, match="batch size of at least 1"):
        Split(data, "train", batch_size=0)
