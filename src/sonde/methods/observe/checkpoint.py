"""Saving a run so that nothing computed is lost."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch

from sonde.core import (
    Event,
    Failed,
    Measured,
    Method,
    Objective,
    Refused,
    Run,
    Settled,
    SondeError,
    rank_and_world,
    read_state,
    write_state,
)
from sonde.core.engine import anywhere, of_first


class Checkpoint(Method):
    """Save the whole run under `folder/last`, and under `folder/best` when a validation metric improves.

    every_seconds: the longest stretch of work a kill can cost. every_steps: save at these steps too; 0 for never.
    metric, lower: what `best` means; an empty metric keeps no best.

    Saves happen only when a step has settled, at the end of a stage, on an interrupt, and on a failure (as `failed`,
    so that the last good state stays). The state that a save replaces stays as `last.previous`.
    """

    writes = True

    def __init__(
        self,
        folder: Path,
        every_seconds: float = 30.0,
        every_steps: int = 0,
        metric: str = "",
        lower: bool = True,
        split: str = "val",
    ) -> None:
        self.folder, self.every_seconds, self.every_steps = Path(folder), every_seconds, every_steps
        self.metric, self.sign, self.split = metric, -1.0 if lower else 1.0, split
        self.best: float | None = None
        self._improved = False
        self._saved_at = time.monotonic()

    def setup(self, run: Run) -> None:
        """Refuse a `best` that could never be."""
        if self.metric == "loss" and not run.alone:
            raise Refused(
                "Checkpoint keeps the best 'loss', of which every player of a game has one",
                "give Checkpoint a score that Validate measures, or no metric",
            )

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if isinstance(event, Measured) and event.split == self.split and self.metric:
            if self.metric not in event.values:
                raise SondeError(
                    f"Checkpoint keeps the best {self.metric!r}, which validation does not measure",
                    f"choose one of {', '.join(event.values)}",
                )
            value = self.sign * event.values[self.metric]
            if value > (-math.inf if self.best is None else self.best):  # False for NaN, which is no best
                self.best, self._improved = value, True
        elif isinstance(event, Settled):
            if self._improved:
                self._improved = False
                self.save(run, "best")
            by_step = bool(self.every_steps) and run.step % self.every_steps == 0
            (waited,) = of_first([time.monotonic() - self._saved_at])  # all processes save, or none
            by_time = waited >= self.every_seconds
            if event.final or by_step or by_time:
                self.save(run, "last")
        elif isinstance(event, Failed):
            self.save(run, "failed")

    def save(self, run: Run, name: str) -> None:
        """Save now. A state that is not finite is saved as `failed`, whatever it was to be called."""
        state = run.state_dict()
        if name != "failed" and not _sound(run.objective):
            name = "failed"
        facts: dict[str, Any] = {"step": run.step, "stage": run.stage, "done": run.done}
        if name == "best" and self.best is not None:
            facts[self.metric] = self.sign * self.best
        failure: SondeError | None = None
        try:
            write_state(self.folder / name, state, facts, write=rank_and_world()[0] == 0)
        except SondeError as error:
            failure = error
        if anywhere(failure is not None):  # the processes wait for the one that writes, and stop with it
            raise failure or SondeError("another process could not save the run", "see what it says")
        self._saved_at = time.monotonic()

    def resume(self, run: Run) -> bool:
        """Load the last good state into `run`; False when there is none yet."""
        if not (self.folder / "last").exists() and not (self.folder / "last.previous").exists():
            return False
        state, _ = read_state(self.folder / "last")
        run.load_state_dict(state)
        return True

    def state_dict(self) -> dict[str, Any]:
        """The best value so far."""
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.best = state["best"]


def _sound(objective: Objective) -> bool:
    """Whether parameters are finite and buffers are numbers (an infinite one may be meant: a mask)."""
    broken = [not bool(torch.isfinite(p).all()) for p in objective.parameters()]
    broken += [bool(torch.isnan(b).any()) for b in objective.buffers() if b.is_floating_point()]
    return not any(broken)
