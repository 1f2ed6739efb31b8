"""Laws that every source obeys, found by walking the package: a source without an example here fails."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import sonde.data
from sonde.core import Batch, Source
from sonde.data import rows as module
from sonde.data.loader import Loader
from sonde.data.poisson import Poisson
from sonde.data.rows import Rows, Split
from tests.support import Halves, blobs

# One construction of every source over 32 rows, in batches of 5, with the seed given.
EXAMPLES: dict[type, Callable[[int], Source]] = {
    Rows: lambda seed: Rows(*blobs(32), batch_size=5, seed=seed),
    Split: lambda seed: Split(Halves(), "train", batch_size=5, seed=seed),
    Poisson: lambda seed: Poisson(Rows(*blobs(32), batch_size=5), seed),
    Loader: lambda seed: Loader(DataLoader(TensorDataset(*blobs(32)), batch_size=5, shuffle=True), seed),
}


def every_source() -> list[type]:
    """Every public class of `sonde.data` that gives batches."""
    found: set[type] = set()
    for info in pkgutil.walk_packages(sonde.data.__path__, prefix="sonde.data."):
        for name, value in vars(importlib.import_module(info.name)).items():
            mine = inspect.isclass(value) and value.__module__ == info.name and hasattr(value, "batches")
            if mine and not name.startswith("_"):
                found.add(value)
    return sorted(found, key=lambda c: c.__name__)


SOURCES = every_source()
EACH = pytest.mark.parametrize("kind", SOURCES, ids=lambda kind: kind.__name__)
PASSES = pytest.mark.parametrize(  # by its own coin a record may come twice in as many steps as make an epoch, or never
    "kind", [kind for kind in SOURCES if kind is not Poisson], ids=lambda kind: kind.__name__
)


def make(kind: type, seed: int = 0) -> Any:
    if kind not in EXAMPLES:
        pytest.fail(f"{kind.__name__} has no example in tests/laws/test_sources.py: add one to EXAMPLES")
    return EXAMPLES[kind](seed)


def inputs(batches: list[Batch]) -> Tensor:
    return torch.cat([b.x for b in batches])


def test_every_source_has_an_example_and_every_example_is_a_source() -> None:
    assert set(EXAMPLES) == set(SOURCES)


@EACH
@pytest.mark.parametrize("start", [1, 6, 7, 8, 16])
def test_a_source_can_start_at_any_step(kind: type, start: int) -> None:
    whole = list(islice(make(kind).batches(None), 20))
    torch.manual_seed(99)
    rest = list(islice(make(kind).batches(None, start), 20 - start))
    assert torch.equal(inputs(whole[start:]), inputs(rest))


@PASSES
def test_every_row_comes_once_an_epoch_in_a_new_order(kind: type) -> None:
    source = make(kind)
    assert source.steps_per_epoch == 7
    batches = list(islice(source.batches(None), 14))
    first, second = inputs(batches[:7]), inputs(batches[7:])
    assert len(first) == 32 and not torch.equal(first, second)
    assert torch.equal(first.sort(0).values, second.sort(0).values)


@EACH
def test_the_seed_decides_the_order(kind: type) -> None:
    orders = [inputs(list(islice(make(kind, seed).batches(None), 7))) for seed in (0, 0, 1)]
    assert torch.equal(orders[0], orders[1]) and not torch.equal(orders[0], orders[2])


@EACH
def test_two_readers_of_one_source_do_not_disturb_each_other(kind: type) -> None:
    source = make(kind)
    alone = inputs(list(islice(source.batches(None), 10)))
    pairs = list(islice(zip(source.batches(None), source.batches(None, 3), strict=False), 10))
    assert torch.equal(inputs([a for a, _ in pairs]), alone)


@EACH
def test_drawing_batches_does_not_move_what_training_draws(kind: type) -> None:
    before = torch.get_rng_state()
    list(islice(make(kind).batches(None), 9))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("kind", [Rows, Split], ids=lambda kind: kind.__name__)
def test_two_processes_part_every_batch(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[list[Batch]] = []
    for rank in (0, 1):
        monkeypatch.setattr(module, "rank_and_world", lambda rank=rank: (rank, 2))
        shares.append(list(islice(make(kind).batches(object()), 7)))
    for whole, a, b in zip(islice(make(kind).batches(None), 7), *shares, strict=True):
        assert torch.equal(whole.records.sort().values, torch.cat([a.records, b.records]).sort().values)
        assert a.denominator == b.denominator == len(whole) / 2
