"""Reweighing: weigh rows so that group and label look independent.

Kamiran and Calders, Data preprocessing techniques for classification without discrimination, 2012, section 5.2.

Entry: fairness before training; demographic parity.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from sonde.core import At, Batch, Event, Loss, Method, Refused, Run, SondeError, Source, Started

from ._groups import MINIMUM, codes, grown, labels

# N rows, G groups, C classes


class Reweighing(Method):
    """Weighs each row by how much rarer its label is in its group than it would be if labels did not depend on groups.

        w(g, y) = P(g) P(y) / P(g, y)

    group: the field with the group codes. minimum: rows that a group needs for weights of its own; groups with fewer
        are pooled into one, and if that is too small as well its rows keep weight 1. Either is said in a warning.

    P is counted on the training rows at the start of each stage, every row counting as much as its field `weight`, if
    there is one. That read is announced, so private training refuses it. Writes the field `weight` (N,), multiplying
    what was there. Rows stay independent: `records` is kept.
    """

    def __init__(self, group: str = "group", minimum: int = MINIMUM) -> None:
        if minimum < 1:
            raise SondeError(f"minimum={minimum} is no number of rows", "choose at least 1")
        self.group, self.minimum = group, minimum
        self.table = torch.ones(0, 0, dtype=torch.float64)  # (G, C)
        self.pooled: list[int] = []  # codes of the groups without weights of their own

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if isinstance(event, Started) and run.done == 0:
            counts, mass = self._counts(run, event.source)
            self.table, self.pooled = weights(counts, mass, self.minimum)
            if self.pooled:
                groups = ", ".join(map(str, self.pooled))
                together = mass[self.pooled].sum() >= self.minimum
                how = "weighed as one group" if together else "left at weight 1"
                warnings.warn(
                    f"Reweighing: groups of {self.group!r} with fewer than {self.minimum} rows are {how}: {groups}",
                    stacklevel=2,
                )

    def _counts(self, run: Run, source: Source) -> tuple[Tensor, Tensor]:
        """Rows of each group and class by weight, (G, C), and rows of each group, (G,)."""
        if source.steps_per_epoch is None:
            raise Refused("Reweighing counts the training rows, but their source has no end", "use a data set")
        counts, rows = torch.zeros(0, 0, dtype=torch.float64), torch.zeros(0, 1, dtype=torch.float64)
        for batch in islice(run.read(source, self), source.steps_per_epoch):
            g, y = codes(batch, self.group, self).cpu(), labels(batch, self).cpu()
            kept = g >= 0
            g, y = g[kept], y[kept]
            if not len(g):
                continue
            weight = batch.fields.get("weight", torch.ones(len(batch))).cpu().double()[kept]
            groups, classes = int(g.max()) + 1, int(y.max()) + 1
            counts = grown(grown(counts, groups).T, classes).T.contiguous()
            counts.view(-1).index_add_(0, g * counts.shape[1] + y, weight)
            rows = grown(rows, groups).index_add(0, g, torch.ones(len(g), 1, dtype=torch.float64))
        return counts, rows[:, 0]

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows with their weights."""
        g, y = codes(batch, self.group, self), labels(batch, self)
        table = self.table.to(g.device)
        known = (g >= 0) & (g < table.shape[0]) & (y < table.shape[1])
        weight = torch.ones(len(g), dtype=torch.float64, device=g.device)
        weight[known] = table[g[known], y[known]]
        if "weight" in batch.fields:
            weight = weight * batch.fields["weight"]
        return replace(batch, fields={**batch.fields, "weight": weight.to(torch.get_default_dtype())})

    def loss(self, at: At, loss: Loss) -> Loss:
        """3: nothing, but the objective must have used the weights."""
        if "weight" in at.batch.fields and not any(isinstance(t.weight, Tensor) for t in loss.terms.values()):
            raise Refused(
                f"{type(at.run.objective).__name__} does not weigh rows, so Reweighing would change nothing",
                "remove Reweighing, or train a classifier",
            )
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The weights, and which groups have none of their own."""
        return {"table": self.table, "pooled": list(self.pooled)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.table, self.pooled = state["table"], list(state["pooled"])


def weights(counts: Tensor, rows: Tensor, minimum: int = 1) -> tuple[Tensor, list[int]]:
    """w(g, y) from counts (G, C), and the codes of groups with fewer than `minimum` of `rows` (G,), which share theirs.

    1 where there is nothing to weigh.

    >>> table, _ = weights(torch.tensor([[30.0, 10.0], [30.0, 30.0]]), torch.tensor([40.0, 60.0]))
    >>> table.double().round(decimals=2).tolist()  # 40 rows of group 0, 40 of class 1: 16 expected there, 10 found
    [[0.8, 1.6], [1.2, 0.8]]
    """
    few = (rows < minimum) & (rows > 0)
    counts = counts.clone()
    if few.any():
        counts[few] = counts[few].sum(0)  # each has the pool's row
    own = counts.clone()
    own[few.nonzero().flatten()[1:]] = 0  # the pool is counted once
    total, by_class = own.sum(), own.sum(0)  # (), (C,)
    table = counts.sum(1, keepdim=True) * by_class / (total * counts)
    if rows[few].sum() < minimum:
        table[few] = 1.0
    return torch.where(counts > 0, table, 1.0), few.nonzero().flatten().tolist()
