"""Validation: the shipped weights on held-out rows, at the end of every so many epochs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sonde.core import Batch, Epoched, Event, Finished, Measured, Method, Objective, Run
from sonde.core.engine import of_first


class Validate(Method):
    """Measure the objective's loss and scores on a split, with the weights that would be shipped.

    data: a data set with `splits` and `batch(index)`. split: which rows.
    every_epochs: epochs between measurements; the end of a stage is always measured.
    rows_at_once: batch size of the evaluation.

    Of a game the first player's loss is measured, as `loss/NAME`.
    """

    measures = True

    def __init__(self, data: Any, split: str = "val", every_epochs: int = 1, rows_at_once: int = 1024) -> None:
        if split not in data.splits:
            raise ValueError(f"the data set has the splits {', '.join(data.splits)}; got {split!r}")
        if not len(data.splits[split]):
            raise ValueError(f"{split!r} holds no rows, so nothing can be measured on it; leave Validate out")
        self.data, self.split, self.every_epochs, self.rows_at_once = data, split, every_epochs, rows_at_once
        self.measured_at = -1

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        due = isinstance(event, Epoched) and event.epoch % self.every_epochs == 0
        if (due or isinstance(event, Finished)) and self.measured_at != run.step:
            self.measured_at = run.step
            with run.evaluating() as objective:
                index = self.data.splits[self.split]
                batches = (self.data.batch(i).to(run.device) for i in index.split(self.rows_at_once))
                values = mean_scores(objective, batches)
            alike = zip(values, of_first(list(values.values())), strict=True)  # or some would stop and others go on
            run.emit(Measured(self.split, dict(alike)))

    def state_dict(self) -> dict[str, Any]:
        """The step of the last measurement."""
        return {"measured_at": self.measured_at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.measured_at = state["measured_at"]


def mean_scores(objective: Objective, batches: Any) -> dict[str, float]:
    """The mean over rows of the objective's loss and of its `scores(batch)`, by name."""
    sums: dict[str, Tensor] = {}
    n = 0
    turn = next(iter(objective.players()))
    for batch in batches:
        for name, value in row_scores(objective, turn, batch).items():
            sums[name] = sums.get(name, torch.zeros((), dtype=torch.float64)) + value.double().sum().cpu()
        n += len(batch)
    return {k: float(v) / max(1, n) for k, v in sums.items()}


def row_scores(objective: Objective, turn: str, batch: Batch) -> dict[str, Tensor]:
    """One value a row, (N,) each: the sum of the objective's example terms as `loss`, and its own scores.

    Of a game the loss is one player's, and called `loss/NAME`: that it falls does not say that the game goes well.
    """
    loss = objective(turn, batch)
    values = [t.weight * t.value for t in loss.terms.values() if t.kind == "example"]
    name = "loss" if len(objective.players()) == 1 else f"loss/{turn}"
    rows = {name: sum(values, torch.zeros(len(batch), device=values[0].device))} if values else {}
    scores = getattr(objective, "scores", None)
    return rows if scores is None else {**rows, **scores(batch, loss)}
