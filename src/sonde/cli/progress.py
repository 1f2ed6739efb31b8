"""What a person sees while a model trains: a live bar on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import sys
import time
from typing import Any

from sonde.core import Epoched, Event, Finished, Measured, Method, Run, Started, Stepped

LINES_EVERY = 10.0  # seconds between plain lines within an epoch: readable in a log, quick enough to follow


class Progress(Method):
    """Shows epoch, step, time left and the latest metrics of a run."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()
        self.latest: dict[str, float] = {}
        self._told_at = 0.0
        self._loss: Any = None
        self._bar: Any = None
        self._task: Any = None

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if isinstance(event, Started):
            self._begin(run)
        elif isinstance(event, Stepped):
            self._loss = event.losses
            self._step(run)
        elif isinstance(event, Measured):
            self.latest = {f"{event.split} {k}": v for k, v in event.values.items()}
            if self.live:
                self._draw(run)
            else:
                self._say(f"epoch {self._epoch(run)} · step {run.done} of {run.total} · {self._metrics()}")
        elif isinstance(event, Epoched):
            self._told_at = time.monotonic()
        elif isinstance(event, Finished):
            self._end()

    def close(self) -> None:
        """Leave the terminal as it was, whatever happened."""
        self._end()

    # ------------------------------------------------------------ a terminal
    def _begin(self, run: Run) -> None:
        self._told_at = time.monotonic()
        if not self.live:
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (
            TextColumn("[bold]epoch {task.fields[epoch]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[metrics]}"),
        )
        self._bar = Progress(*columns, console=Console(stderr=True), refresh_per_second=4, expand=True)
        self._bar.start()
        self._task = self._bar.add_task("", total=run.total, completed=run.done, epoch=self._epoch(run), metrics="")

    def _step(self, run: Run) -> None:
        now = time.monotonic()
        if self.live:
            if now - self._told_at > 0.25:
                self._told_at = now
                self._draw(run)
        elif now - self._told_at > LINES_EVERY:
            self._told_at = now
            self._say(f"epoch {self._epoch(run)} · step {run.done} of {run.total} · {self._training()}")

    def _draw(self, run: Run) -> None:
        if self._bar is not None:
            metrics = self._metrics() or self._training()
            self._bar.update(self._task, total=run.total, completed=run.done, epoch=self._epoch(run), metrics=metrics)

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    # ------------------------------------------------------------ words
    def _epoch(self, run: Run) -> str:
        per_epoch = run.source.steps_per_epoch if run.source is not None else None
        if not per_epoch:
            return "—"
        return f"{min(-(-run.total // per_epoch), run.done // per_epoch + (run.done % per_epoch > 0)) or 1}"

    def _metrics(self) -> str:
        shown = [f"{k} {v:.4g}" for k, v in self.latest.items() if not k.endswith(" loss") or len(self.latest) == 1]
        return " · ".join(shown)

    def _training(self) -> str:
        if not self._loss:
            return ""
        return " · ".join(f"{k} {float(v.total()):.4g}" for k, v in self._loss.items()).replace("model", "loss")

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)
