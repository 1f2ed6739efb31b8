"""What a person sees while a model trains: a live bar on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import sys
import time
from typing import Any

from sonde.cli.text import duration, say
from sonde.core import Event, Finished, Measured, Method, Run, Started, Stepped
from sonde.results import SHARES

LINES_EVERY = 10.0  # seconds between plain lines within an epoch: readable in a log, quick enough to follow
DRAWN_EVERY = 0.2  # seconds between changes of the bar: smooth to the eye, nothing to the processor
AFTERWARDS = "measuring the model on the test rows, and simpler models beside it"


class Progress(Method):
    """Shows epoch, step, time left and the latest metrics of a run.

    stages: how many the recipe has.
    """

    def __init__(self, stages: int = 1) -> None:
        self.live = sys.stderr.isatty()
        self.stages = stages  # of a stream, or phases
        self._latest: dict[str, float] = {}
        self._split = ""
        self._told_at = 0.0
        self._began, self._began_at = 0, 0.0
        self._losses: Any = None
        self._bar: Any = None
        self._task: Any = None

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if isinstance(event, Started):
            self._begin(run)
        elif isinstance(event, Stepped):
            self._losses = event.losses
            self._step(run)
        elif isinstance(event, Measured):
            self._latest, self._split = dict(event.values), event.split
            self._draw(run) if self.live else say(self._line(run, self._measured()))
        elif isinstance(event, Finished):
            self._finish(run)

    def close(self) -> None:
        """Leave the terminal as it was, whatever happened."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    # ------------------------------------------------------------ drawing
    def _begin(self, run: Run) -> None:
        self._began, self._began_at = run.done, time.monotonic()
        self._told_at = self._began_at
        if not self.live:
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        columns = (
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=8)),
            TextColumn("{task.fields[left]}", markup=False, table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[metrics]}", style="bold", markup=False, table_column=Column(no_wrap=True)),
        )
        self.close()
        self._bar = Progress(*columns, console=Console(stderr=True), refresh_per_second=5, expand=True)
        self._task = self._bar.add_task(self._where(run), total=run.total, completed=run.done, left="", metrics="")
        self._bar.start()

    def _step(self, run: Run) -> None:
        now = time.monotonic()
        if self.live:
            if now - self._told_at > DRAWN_EVERY:
                self._told_at = now
                self._draw(run)
        elif now - self._told_at > LINES_EVERY:
            self._told_at = now
            say(self._line(run, self._training()))

    def _draw(self, run: Run) -> None:
        if self._bar is None:
            return
        wide = self._bar.console.width >= 100
        metrics = self._measured() if wide else self._measured(1)
        metrics = " · ".join(filter(None, (self._training(), metrics)))
        state = {"total": run.total, "completed": run.done, "left": self._left(run), "metrics": metrics}
        self._bar.update(self._task, description=self._where(run), **state)

    def _finish(self, run: Run) -> None:
        if self._bar is not None:
            took = duration(time.monotonic() - self._began_at)
            self._bar.update(self._task, total=run.done, completed=run.done, left=took)
            self.close()
        if run.stage + 1 >= self.stages:  # the run counts a stage when all have seen its end
            say(f"· {AFTERWARDS}")

    # ------------------------------------------------------------ words
    def _line(self, run: Run, metrics: str) -> str:
        left = self._left(run)
        return " · ".join(filter(None, (self._where(run), f"step {run.done:,} of {run.total:,}", metrics, left)))

    def _where(self, run: Run) -> str:
        per_epoch = run.source.steps_per_epoch if run.source is not None else None
        if not per_epoch:
            return f"step {run.done:,}"
        last = -(-run.total // per_epoch)
        stage = f"stage {run.stage + 1}/{self.stages} · " if self.stages > 1 else ""
        return f"{stage}epoch {max(1, min(last, -(-run.done // per_epoch)))}/{last}"

    def _left(self, run: Run) -> str:
        """The time left at the pace of this process, which may have begun in the middle."""
        done = run.done - self._began
        if done < 3 or run.done >= run.total:
            return ""
        seconds = (time.monotonic() - self._began_at) / done * (run.total - run.done)
        return f"{duration(max(1.0, round(seconds)))} left".replace(".0 s", " s")

    def _measured(self, most: int = 3) -> str:
        names = sorted(
            (k for k in self._latest if not k.startswith("accuracy/") and (k != "loss" or len(self._latest) == 1)),
            key=lambda k: k not in SHARES,
        )
        return " · ".join(f"{self._split} {k} {_number(k, self._latest[k])}" for k in names[:most])

    def _training(self) -> str:
        if not self._losses:
            return ""
        several = len(self._losses) > 1
        return " · ".join(f"{k if several else 'loss'} {float(v.total()):.3g}" for k, v in self._losses.items())


def _number(name: str, value: float) -> str:
    return f"{100 * value:.1f} %" if name in SHARES else f"{value:.4g}"
