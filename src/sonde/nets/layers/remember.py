"""A module without parameters, whose answers for the training rows are computed once."""

from __future__ import annotations

from hashlib import blake2b

import torch
from torch import Tensor, nn

# N rows, R rows that are kept


class Remember(nn.Module):
    """Gives a row the answer that the module gave for it before, while training.

    A row is known by its content, so whatever changes rows on the way (augmentation, an attack) gets answers of its
    own; only time is saved. Nothing is kept in use, where the rows are somebody's input, and nothing is saved with the
    weights. Gradients to the rows, rows on an accelerator and rows within `vmap` go to the module itself.

    module: its answer for a row depends on that row alone and never changes: no parameter, no dropout, no statistic.
    rows: R, at most so many answers are kept; 0 keeps none.

    >>> layer = Remember(nn.Flatten(), rows=2)
    >>> layer(torch.zeros(3, 2, 2)).shape, len(layer.places)
    (torch.Size([3, 4]), 1)
    """

    def __init__(self, module: nn.Module, rows: int) -> None:
        super().__init__()
        if rows < 0 or any(True for _ in module.parameters()):
            raise ValueError(f"keeps answers, 0 or more, of a module without parameters; got {rows} of {module}")
        self.module, self.rows = module, rows
        self.places: dict[bytes, int] = {}  # a row's digest -> its place among the answers
        self.answers: Tensor | None = None  # (R, ...)

    def forward(self, x: Tensor) -> Tensor:
        """The module's answers (N, ...) for x (N, ...)."""
        keys = self._digests(x) if self.rows and self.training and x.is_cpu and not x.requires_grad else []
        if not keys:
            found: Tensor = self.module(x)
            return found
        with torch.no_grad():
            fresh = {key: i for i, key in enumerate(keys) if key not in self.places}  # a row that comes twice, once
            if len(self.places) + len(fresh) > self.rows:
                whole: Tensor = self.module(x)
                return whole
            if fresh:
                new = self.module(x[list(fresh.values())])
                if self.answers is None:
                    self.answers = new.new_empty(self.rows, *new.shape[1:])  # the system gives memory once it is used
                first = len(self.places)
                self.answers[first : first + len(new)] = new
                self.places.update({key: first + i for i, key in enumerate(fresh)})
            assert self.answers is not None  # noqa: S101 - the first row was fresh
            return self.answers.index_select(0, torch.tensor([self.places[key] for key in keys]))

    @staticmethod
    def _digests(x: Tensor) -> list[bytes]:
        try:
            rows = x.contiguous().flatten(1).numpy()
        except RuntimeError:  # the rows of a `vmap` have no memory of their own
            return []
        return [blake2b(row.data, digest_size=16).digest() for row in rows]
