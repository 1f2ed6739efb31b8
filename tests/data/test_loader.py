"""A user's own DataLoader as a source: any item, and a resumption that is exact."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from sonde.core import Batch, Budget, Run, Settled, fit
from sonde.data.loader import Loader
from sonde.methods import adam
from sonde.objectives import Classify
from tests.support import Call, blobs, mlp, weights


class Jittered(Dataset[tuple[Tensor, Tensor]]):
    """A map-style data set with a random transform, as augmentations are written."""

    def __init__(self) -> None:
        self.x, self.y = blobs(40)

    def __len__(self) -> int:
        return 40

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self.x[i] + 0.1 * torch.randn(4), self.y[i]


class Stream(IterableDataset[Tensor]):
    """A data set without a length."""

    def __iter__(self) -> Iterator[Tensor]:
        return iter(torch.arange(10).float()[:, None])


def shuffled(**settings: Any) -> Loader:
    return Loader(DataLoader(TensorDataset(*blobs(40)), batch_size=16, shuffle=True, **settings))


def taken(source: Loader, start: int = 0, n: int = 7) -> list[Batch]:
    return list(islice(source.batches(None, start), n))


def equal(a: list[Batch], b: list[Batch]) -> bool:
    return len(a) == len(b) and all(torch.equal(p.x, q.x) for p, q in zip(a, b, strict=True))


# ---------------------------------------------------------------- laws
SOURCES = {
    "shuffled": shuffled,
    "random transforms": lambda: Loader(DataLoader(Jittered(), batch_size=16, shuffle=True)),
    "stream": lambda: Loader(DataLoader(Stream(), batch_size=4)),
    "list": lambda: Loader([torch.full((2, 1), float(i)) for i in range(4)]),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("start", [0, 1, 3, 4, 8])
def test_starting_anywhere_gives_what_the_beginning_would_have_reached(source: str, start: int) -> None:
    make = SOURCES[source]
    whole = taken(make(), n=12)
    torch.manual_seed(99)  # whatever else has been drawn
    assert equal(taken(make(), start, n=12 - start), whole[start:])


@pytest.mark.parametrize("source", SOURCES)
def test_what_a_loader_draws_does_not_move_what_training_draws(source: str) -> None:
    before = torch.get_rng_state()
    batches = SOURCES[source]().batches(None)
    for _ in range(5):
        next(batches)
    assert torch.equal(before, torch.get_rng_state())


def test_what_training_draws_does_not_move_what_a_loader_draws() -> None:
    quiet, noisy = [], []
    for found, draws in ((quiet, 0), (noisy, 3)):
        for batch in islice(SOURCES["random transforms"]().batches(None), 6):
            found.append(batch)
            torch.rand(draws)
    assert equal(quiet, noisy)


def test_every_row_and_every_epoch_is_jittered_anew() -> None:
    x, _ = blobs(40)
    noise = []
    for batch in taken(SOURCES["random transforms"](), n=6):
        nearest = torch.cdist(batch.x, x).argmin(1)
        noise.append(batch.x - x[nearest])
    drawn = (torch.cat(noise) * 1e4).round()  # what was added to x comes back to rounding only
    assert len(drawn.unique(dim=0)) == len(drawn) == 80


def test_each_epoch_has_an_order_of_its_own_and_every_row_once() -> None:
    batches = taken(shuffled(), n=6)
    epochs = [torch.cat([b.x for b in batches[i : i + 3]]) for i in (0, 3)]
    assert not torch.equal(epochs[0], epochs[1])
    assert torch.equal(epochs[0].sort(0).values, epochs[1].sort(0).values)


@pytest.mark.parametrize("source", ["shuffled", "random transforms"])
def test_an_interrupted_run_goes_on_with_the_same_bits(source: str) -> None:
    def after(at: int) -> Tensor:
        torch.manual_seed(0)
        stop = Call(Settled, at, lambda run: setattr(run, "stop", "interrupted"))
        run = Run(Classify(mlp(4, 8, 3)), [adam(0.01), stop])
        for _ in range(2):
            if run.stage == 0:
                fit(run, SOURCES[source](), Budget(steps=10))
        return weights(run.objective)

    assert torch.equal(after(4), after(99))


# ---------------------------------------------------------------- items
@pytest.mark.parametrize(
    "item, y, fields",
    [
        (torch.zeros(3, 2), False, set()),
        ((torch.zeros(3, 2),), False, set()),
        ((torch.zeros(3, 2), torch.zeros(3)), True, set()),
        ([torch.zeros(3, 2), torch.zeros(3)], True, set()),
        ({"x": torch.zeros(3, 2), "y": torch.zeros(3), "group": torch.zeros(3)}, True, {"group"}),
        ({"x": torch.zeros(3, 2)}, False, set()),
        (Batch(torch.zeros(3, 2), torch.zeros(3)), True, set()),
        ({"left": torch.zeros(3, 2)}, False, set()),
    ],
    ids=["x", "(x,)", "(x, y)", "[x, y]", "mapping", "mapping without y", "batch", "nested x"],
)
def test_an_item_is_read_for_what_it_is(item: Any, y: bool, fields: set[str]) -> None:
    (batch,) = taken(Loader([item]), n=1)
    assert len(batch) == 3 and (batch.y is not None) == y and set(batch.fields) == fields
    assert batch.records is None


def test_an_item_of_three_is_refused() -> None:
    with pytest.raises(ValueError, match=r"an item is x, \(x, y\) or a mapping; got a tuple of 3"):
        taken(Loader([(torch.zeros(1), torch.zeros(1), torch.zeros(1))]))


def test_records_that_a_mapping_brings_are_kept() -> None:
    (batch,) = taken(Loader([{"x": torch.zeros(2, 1), "records": torch.tensor([7, 9])}]), n=1)
    assert batch.records is not None and batch.records.tolist() == [7, 9]


# ---------------------------------------------------------------- lengths
def test_the_length_of_a_pass_is_the_loaders_where_it_has_one() -> None:
    assert shuffled().steps_per_epoch == 3
    assert SOURCES["stream"]().steps_per_epoch is None
    assert Loader(torch.zeros(1, 1) for _ in range(2)).steps_per_epoch is None


@pytest.mark.parametrize("loader", [[], iter([torch.zeros(2, 1)])], ids=["empty", "used up after one pass"])
def test_a_loader_that_gives_no_more_ends_the_stage(loader: Any) -> None:
    assert len(taken(Loader(loader), n=9)) <= 1
