"""Batches from a user's own `torch.utils.data.DataLoader`, or any iterable with a length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from itertools import count
from typing import Any

import torch

from sonde.core import Batch, Run


class Loader:
    """A DataLoader (or any re-iterable) as a source: items are `(x, y)`, `x`, a mapping with `x` and `y`, or `Batch`.

    seed: of the order. What every epoch draws from torch's global generator, the order and the data set's own random
    transforms, is a function of (seed, epoch), whatever else uses that generator; so a run resumes exactly. The batches
    before the resumed step are drawn again and dropped, which a `Rows` source need not. (A data set that draws from
    other generators, or in workers, must seed those by itself.) The loader does not say which record a row came from,
    so `records` is None and per-record methods refuse it.
    """

    def __init__(self, loader: Iterable[Any], seed: int = 0) -> None:
        self.loader, self.seed = loader, seed

    @property
    def steps_per_epoch(self) -> int | None:
        """Batches in one pass, if the loader knows."""
        try:
            return len(self.loader) if isinstance(self.loader, Sized) else None
        except TypeError:  # a DataLoader over an iterable data set has __len__ and refuses it
            return None

    def batches(self, run: Run | None, start: int = 0) -> Iterator[Batch]:
        """See `Source.batches`."""
        per_epoch = self.steps_per_epoch
        first, skip = divmod(start, per_epoch) if per_epoch else (0, start)
        for epoch in count(first):
            n = 0
            for n, item in enumerate(self._epoch(epoch), 1):  # noqa: B007 - read after the loop
                if skip:
                    skip -= 1
                else:
                    yield _batch(item)
            if n == 0:
                return

    def _epoch(self, epoch: int) -> Iterator[Any]:
        """The items of one pass, drawn with a state of the global generator that belongs to the pass alone."""
        state = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch).get_state()
        items: Iterator[Any] | None = None
        while True:
            with torch.random.fork_rng(devices=[]):
                torch.set_rng_state(state)
                items = iter(self.loader) if items is None else items
                try:
                    item = next(items)
                except StopIteration:
                    return
                state = torch.get_rng_state()
            yield item


def _batch(item: Any) -> Batch:
    if isinstance(item, Batch):
        return item
    if isinstance(item, Mapping) and "x" in item:
        fields = {k: v for k, v in item.items() if k not in ("x", "y", "records")}
        return Batch(item["x"], item.get("y"), item.get("records"), fields)
    if isinstance(item, list | tuple):
        if len(item) > 2:
            raise ValueError(f"an item is x, (x, y) or a mapping; got a {type(item).__name__} of {len(item)}")
        return Batch(item[0], item[1] if len(item) == 2 else None)
    return Batch(item)
