"""The metrics of a run as one JSON object a line."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sonde.core import Epoched, Event, Finished, Measured, Method, Run, Started, Stepped, rank_and_world
from sonde.core.state import disk_error
from sonde.privacy import spent_by


class MetricsLog(Method):
    """Append training and validation metrics to `path`, one JSON object a line: step, epoch, split, values.

    The mean training loss is written once an epoch, or every `every_steps` steps when that is not 0, with the epsilon
    spent so far where training is private (not where it is infinite: there was no noise). A line depends
    on the run alone, never on the clock, so that two equal runs leave equal files; a resumed run first cuts the file
    back to what its checkpoint had seen.
    """

    writes = True

    def __init__(self, path: Path, every_steps: int = 0) -> None:
        self.path, self.every_steps, self.size = Path(path), every_steps, 0
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}  # a player may move in some steps only

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if isinstance(event, Started):
            self._cut()
        elif isinstance(event, Stepped):
            self._add(run, event)
            if self.every_steps and run.step % self.every_steps == 0:
                self._flush(run)
        elif isinstance(event, Epoched | Finished) and self.sums:
            self._flush(run)
        elif isinstance(event, Measured):
            self._write(run, event.split, event.values)

    def _add(self, run: Run, event: Stepped) -> None:
        for turn, loss in event.losses.items():
            name = "loss" if run.alone else f"loss/{turn}"
            value = loss.total(denominator=event.batch.denominator).detach()
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.counts[name] = self.counts.get(name, 0) + 1

    def _flush(self, run: Run) -> None:
        values = {k: float(v) / self.counts[k] for k, v in self.sums.items()}
        self.sums, self.counts = {}, {}
        private = spent_by(run.methods)
        if private is not None and math.isfinite(private.epsilon):
            values["epsilon"] = private.epsilon
        self._write(run, "train", values)

    def _write(self, run: Run, split: str, values: Any) -> None:
        per_epoch = None if run.source is None else run.source.steps_per_epoch
        epoch = {} if per_epoch is None else {"epoch": round(run.done / per_epoch, 4)}
        entry = {"step": run.step, "stage": run.stage, **epoch, "split": split, "values": dict(values)}
        line = json.dumps(entry) + "\n"
        if rank_and_world()[0] == 0:
            try:
                with open(self.path, "a", encoding="utf-8") as file:
                    file.write(line)
            except OSError as error:
                raise disk_error(error, f"writing {self.path.name}") from None
        self.size += len(line.encode())

    def _cut(self) -> None:
        if rank_and_world()[0] == 0 and self.path.exists() and self.path.stat().st_size > self.size:
            os.truncate(self.path, self.size)

    def state_dict(self) -> dict[str, Any]:
        """Where the file stood, and the sums since its last line."""
        return {"size": self.size, "counts": dict(self.counts), "sums": dict(self.sums)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.size, self.counts = state["size"], dict(state["counts"])
        self.sums = {k: torch.as_tensor(v) for k, v in state["sums"].items()}
