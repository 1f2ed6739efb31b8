"""Poisson sampling: independent coins, a function of (seed, step), shared among processes, empty batches and all."""

from __future__ import annotations

import copy
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, chisquare
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from sonde.core import Batch, Budget, Refused, Run, fit
from sonde.data import poisson as module
from sonde.data.loader import Loader
from sonde.data.poisson import Poisson, poisson
from sonde.data.rows import Rows, Split
from sonde.methods import sgd
from sonde.objectives import Classify
from tests.support import LAW, Halves, blobs, mlp, weights

SIZES = st.integers(1, 40)


def numbers(batch: Batch) -> list[int]:
    assert batch.records is not None
    return batch.records.tolist()


def source(n: int, size: int, seed: int = 0) -> Poisson:
    return poisson(Rows(torch.arange(n), batch_size=size), seed)


def drawn(n: int, size: int, steps: int, seed: int = 0) -> Tensor:
    """Which record was in which step: (steps, n) of 0 and 1."""
    table = torch.zeros(steps, n, dtype=torch.long)
    for row, batch in zip(table, source(n, size, seed).batches(None), strict=False):
        row[batch.records] = 1
    return table


# ---------------------------------------------------------------- the distribution
@pytest.mark.parametrize("n, size", [(50, 2), (50, 25), (50, 45), (3, 1)])
def test_every_record_is_in_a_step_with_the_same_probability(n: int, size: int) -> None:
    steps, q = 4000, size / n
    counts = drawn(n, size, steps).sum(0)
    low, high = binom.ppf([1e-4 / n, 1 - 1e-4 / n], steps, q)  # all of them inside, but once in 5000 seeds
    assert low <= counts.min() and counts.max() <= high


@pytest.mark.parametrize("size", [1, 4, 12])
def test_the_number_of_rows_is_binomial_and_not_fixed(size: int) -> None:
    n, steps = 20, 5000
    sizes = drawn(n, size, steps, seed=1).sum(1).numpy()
    seen, expected = np.bincount(sizes, minlength=n + 1), steps * binom.pmf(np.arange(n + 1), n, size / n)
    usual = expected > 5
    observed = np.append(seen[usual], seen[~usual].sum())
    wanted = np.append(expected[usual], expected[~usual].sum())
    assert chisquare(observed, wanted).pvalue > 1e-4


def test_records_are_drawn_independently_of_each_other_and_of_the_step_before() -> None:
    n, steps, q = 12, 20_000, 1 / 4
    table = (drawn(n, 3, steps, seed=2) - q).double()
    scale = steps * q * (1 - q)
    between = table.T @ table / scale - torch.eye(n)  # a fixed batch size would put -1 / (n - 1) = -0.09 here
    before = table[1:].T @ table[:-1] / scale
    bound = 4.5 / steps**0.5  # 4.5 standard deviations of a correlation, for 12 x 12 of them twice
    assert between.fill_diagonal_(0).abs().max() < bound and before.abs().max() < bound


def test_a_row_is_at_most_once_in_a_step_and_no_step_repeats() -> None:
    steps = [numbers(b) for b in islice(source(1000, 100).batches(None), 50)]
    assert all(len(set(step)) == len(step) for step in steps)
    assert len({tuple(sorted(step)) for step in steps}) == 50


def test_the_rate_of_a_full_batch_draws_everything() -> None:
    for size in (30, 99):
        s = source(30, size)
        assert s.sampling_rate == 1 and s.expected == 30 and s.steps_per_epoch == 1
        assert sorted(numbers(next(s.batches(None)))) == list(range(30))


# ---------------------------------------------------------------- a function of (seed, step)
@LAW
@given(SIZES, SIZES, st.integers(0, 2**128 - 1), st.integers(0, 70))
def test_starting_anywhere_gives_what_the_beginning_would_have_reached(
    n: int, size: int, seed: int, start: int
) -> None:
    s = source(n, size, seed)
    for a, b in zip(islice(s.batches(None), start, start + 5), s.batches(None, start), strict=False):
        assert numbers(a) == numbers(b) and torch.equal(a.x, b.x)


def test_the_whole_seed_counts_and_torch_is_left_alone() -> None:
    state = torch.get_rng_state()
    seeds = (0, 1, 2**32, 2**64, 2**64 + 1, 2**127, 2**128 - 1)
    assert len({tuple(numbers(next(source(200, 50, seed).batches(None)))) for seed in seeds}) == len(seeds)
    far = next(source(200, 50).batches(None, 2**40))
    assert numbers(far) == numbers(next(source(200, 50).batches(None, 2**40)))
    assert torch.equal(state, torch.get_rng_state())


# ---------------------------------------------------------------- processes
@LAW
@given(SIZES, SIZES, st.integers(2, 5))
def test_processes_share_one_draw(n: int, size: int, world: int) -> None:
    patch, run, shares = pytest.MonkeyPatch(), object(), []
    for rank in range(world):
        patch.setattr(module, "rank_and_world", lambda rank=rank: (rank, world))
        whole: Any = source(n, size)
        shares.append(list(islice(whole.batches(run), 6)))
    alone = list(islice(whole.batches(None), 6))  # a reader outside a run sees all of it
    patch.undo()
    for one, *parts in zip(alone, *shares, strict=True):
        assert sorted(numbers(one)) == sorted(sum(map(numbers, parts), []))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        assert all(p.denominator == min(n, size) / world for p in parts)


# ---------------------------------------------------------------- batches
def test_a_batch_carries_its_expected_size_and_its_records() -> None:
    n = torch.arange(60)
    s = poisson(Rows({"a": n}, n * 3, batch_size=6, fields={"group": n * 4}), seed=3)
    for batch in islice(s.batches(None), 20):
        i = batch.records
        assert i is not None and batch.denominator == 6.0 and isinstance(batch.denominator, float)
        assert torch.equal(batch.x["a"], i) and torch.equal(batch.y, 3 * i)
        assert torch.equal(batch.fields["group"], 4 * i)
    assert (s.records, s.sampling_rate, s.steps_per_epoch, s.sampling) == (60, 0.1, 10, "poisson")


def test_empty_batches_come_and_keep_their_shape() -> None:
    x, y = torch.rand(20, 3, 4), torch.arange(20)
    sizes = []
    for batch in islice(poisson(Rows(x, y, batch_size=1), seed=0).batches(None), 40):
        sizes.append(len(batch))
        assert batch.x.shape == (len(batch), 3, 4) and batch.denominator == 1.0
    assert sizes.count(0) > 3


def test_a_split_gives_its_own_rows_and_their_numbers() -> None:
    data = Halves()
    s = poisson(Split(data, "val", batch_size=8), seed=0)
    assert s.records == 32
    for batch in islice(s.batches(None), 20):
        assert batch.records is not None and set(numbers(batch)) <= set(data.splits["val"].tolist())
        assert torch.equal(batch.x, data.x[batch.records])


def test_a_run_divides_by_the_expected_size_and_passes_over_empty_batches() -> None:
    x, y = blobs(20)
    s = poisson(Rows(x, y, batch_size=2), seed=4)
    torch.manual_seed(0)
    net, steps = mlp(4, 8, 3), 25
    hand = copy.deepcopy(net)
    fit(Run(Classify(net), [sgd(0.1, momentum=0.0)]), s, Budget(steps=steps))
    assert min(len(b) for b in islice(s.batches(None), steps)) == 0
    for batch in islice(s.batches(None), steps):
        loss = F.cross_entropy(hand(batch.x), batch.y, reduction="sum") / 2
        grads = torch.autograd.grad(loss, list(hand.parameters()))
        with torch.no_grad():
            for p, g in zip(hand.parameters(), grads, strict=True):
                p -= 0.1 * g
    assert torch.allclose(weights(net), weights(hand), atol=1e-6)


# ---------------------------------------------------------------- who can be drawn from
def test_a_poisson_source_is_given_another_seed() -> None:
    first = source(100, 30, seed=1)
    again = poisson(first, seed=2)
    assert again.rows is first.rows and numbers(next(again.batches(None))) != numbers(next(first.batches(None)))


def test_sources_without_single_records_are_refused() -> None:
    class Repeating(Rows):
        def batches(self, run: Any, start: int = 0) -> Any:
            return iter(())

    for wrong in (Loader(DataLoader(TensorDataset(*blobs(8)))), Repeating(torch.zeros(3)), [1, 2]):
        with pytest.raises(Refused, match=f"{type(wrong).__name__} gives batches it has made already"):
            poisson(wrong, 0)


@pytest.mark.parametrize("seed", [-1, 2**128])
def test_a_seed_outside_its_range_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match="sampling seed"):
        source(3, 1, seed)
