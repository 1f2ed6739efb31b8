"""Statistics of the training rows, for the modules that need them."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import Any

import torch

from sonde.core import Batch, Event, Method, Run, Source, Started, map_tree


class FitInputs(Method):
    """Before the first step, show the training rows to every module that asks for their statistics.

    A module with `fit_input(x)` (a normalising first layer) gets the rows' inputs; one with `fit_target(y)` (a
    regression's output scale) their targets. Both see one pass over the source, at most `rows` rows. The read is
    announced, so private training refuses it rather than leak the statistics; they are buffers, so a resumed run
    and a shipped model carry them.
    """

    def __init__(self, rows: int = 100_000) -> None:
        self.rows = rows

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if not isinstance(event, Started) or run.step > 0:
            return
        readers = [m for m in run.objective.modules() if hasattr(m, "fit_input") or hasattr(m, "fit_target")]
        if not readers:
            return
        seen = self._rows(run, event.source)
        for module in readers:
            self._show(module, seen)

    def _rows(self, run: Run, source: Source) -> Batch:
        batches, n = [], 0
        for batch in islice(run.read(source, self), source.steps_per_epoch):
            batches.append(batch)
            n += len(batch)
            if n >= self.rows:
                break
        trees = [(b.x, b.y) for b in batches]
        x, y = trees[0] if len(trees) == 1 else _joined(trees)
        return Batch(x, y)

    @staticmethod
    def _show(module: Any, seen: Batch) -> None:
        with torch.no_grad():
            if hasattr(module, "fit_input"):
                module.fit_input(seen.x)
            if hasattr(module, "fit_target") and seen.y is not None:
                module.fit_target(seen.y)


def _collected(leaves: list[torch.Tensor], leaf: torch.Tensor) -> torch.Tensor:
    leaves.append(leaf)
    return leaf


def _joined(trees: list[tuple[object, object]]) -> tuple[object, object]:
    flat: list[list[torch.Tensor]] = []
    for tree in trees:
        leaves: list[torch.Tensor] = []
        map_tree(partial(_collected, leaves), tree)
        flat.append(leaves)
    columns = iter([torch.cat(c) for c in zip(*flat, strict=True)])
    return map_tree(lambda _: next(columns), trees[0])  # type: ignore[no-any-return]
