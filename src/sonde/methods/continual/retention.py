"""What is right of every experience after every stage: the rows behind an accuracy matrix.

Entry: continual learning; catastrophic forgetting.
"""

# S stages measured, R test rows of all experiences

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sonde.core import Batch, Event, Finished, Measured, Method, Objective, Refused, Run, SondeError, Started
from sonde.data.streams import Stream
from sonde.methods.observe.validate import row_scores


class Retention(Method):
    """Before the first stage and at the end of each, see which test rows of every experience are answered rightly.

    stream: the experiences. split: which rows. rows_at_once: batch size of the evaluation.

    right: (S + 1, R) uint8, row 0 before training. task: (R,) each test row's experience. records: (R,) its record.
    `sonde.audits.continual` makes the accuracy matrix, forgetting and transfer of them.
    """

    def __init__(self, stream: Stream, split: str = "test", rows_at_once: int = 1024) -> None:
        self.stream, self.split, self.rows_at_once = stream, split, rows_at_once
        for experience in stream:
            if not len(experience.splits.get(split, ())):
                raise SondeError(
                    f"experience {experience.name!r} has no rows in {split!r} to be measured on",
                    "keep a share of the rows for it, or measure on another split",
                )
        sizes = [len(e.splits[split]) for e in stream]
        self.task = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        self.records = torch.zeros(0, dtype=torch.int64)
        self.right = torch.zeros(0, sum(sizes), dtype=torch.uint8)

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if isinstance(event, Started) and run.step == 0 and not len(self.right):
            self._measure(run)
        elif isinstance(event, Finished):
            self._measure(run)

    def _measure(self, run: Run) -> None:
        turn = next(iter(run.objective.players()))
        right, records = [], []
        with run.evaluating() as objective:
            for experience in self.stream:
                for index in experience.splits[self.split].split(self.rows_at_once):
                    batch = experience.batch(index)
                    records.append(index if batch.records is None else batch.records)
                    right.append(_right(objective, turn, batch.to(run.device), experience.name))
        found = torch.cat(right)  # (R,)
        self.records = torch.cat(records)
        self.right = torch.cat([self.right, found.to(torch.uint8)[None]])
        each = [float(found[self.task == t].double().mean()) for t in range(len(self.stream))]
        met = each[: len(self.right) - 1] or each
        values = {f"accuracy/{e.name}": value for e, value in zip(self.stream, each, strict=True)}
        run.emit(Measured(f"{self.split} so far", {"accuracy": sum(met) / len(met), **values}))

    def state_dict(self) -> dict[str, Any]:
        """What was measured."""
        return {"right": self.right, "records": self.records}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.right, self.records = state["right"].clone(), state["records"].clone()


def _right(objective: Objective, turn: str, batch: Batch, name: str) -> Tensor:
    """Which rows are answered rightly, (N,) of 0 and 1, on the CPU."""
    try:
        scores = row_scores(objective, turn, batch)
    except (SondeError, ValueError) as error:
        cause = error.cause if isinstance(error, SondeError) else str(error)
        raise Refused(f"Retention cannot measure {name!r}: {cause}", "give Retention a stream of such rows") from None
    if "accuracy" not in scores:
        raise Refused("Retention counts right answers, and this objective has none", "remove Retention")
    return scores["accuracy"].cpu()
