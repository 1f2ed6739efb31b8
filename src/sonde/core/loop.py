"""The one loop."""

from __future__ import annotations

import time
from dataclasses import dataclass

from .backprop import NonFinite
from .engine import anywhere, of_first
from .method import Epoched, Failed, Finished, Source, Started
from .run import Run


@dataclass(frozen=True, slots=True)
class Budget:
    """How long to train: until the first of the given limits is reached.

    steps: batches. epochs: passes over the source. seconds: time spent in this stage, over all resumptions.

    >>> Budget(epochs=3).steps_of(steps_per_epoch=50)
    150
    """

    steps: int | None = None
    epochs: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        given = [v for v in (self.steps, self.epochs, self.seconds) if v is not None]
        if not given or not all(v > 0 for v in given):  # not "<= 0": NaN is no limit either
            raise ValueError(f"a budget needs a positive number of steps, epochs or seconds; got {self}")

    def steps_of(self, steps_per_epoch: int | None) -> int | None:
        """The limit in steps; None when only time limits it."""
        limits = [] if self.steps is None else [self.steps]
        if self.epochs is not None:
            if steps_per_epoch is None:
                raise ValueError("a budget in epochs needs a source with passes; give steps or seconds instead")
            limits.append(max(1, round(self.epochs * steps_per_epoch)))
        return min(limits) if limits else None


def fit(run: Run, source: Source, budget: Budget) -> Run:
    """Train on batches of `source` until the budget is spent or a method sets `run.stop`.

    Call it again for the next task, phase or round: a run has as many stages as calls. A run whose state was loaded
    goes on where it stood, with the batches it would have seen. A stage ended by `run.stop == "interrupted"` is left
    open, to be resumed.
    """
    source = run.chain("source", source, run)
    per_epoch, clock = source.steps_per_epoch, time.perf_counter
    limit = budget.steps_of(per_epoch)
    run.source, run.limit, run.total = source, limit, limit or max(1, run.done)
    if run.done == 0 or run.interrupted:
        run.stop = None  # else it was killed between a method's stopping it and its end, and must not go on
    run.objective.train()
    run.emit(Started(source))
    batches, before = source.batches(run, run.done), clock()
    try:
        stop = run.stop
        while stop is None and (limit is None or run.done < limit):
            if budget.seconds is not None:
                (run.seconds,) = of_first([run.seconds])
                if run.seconds >= budget.seconds:
                    break
                run.total = _foreseen(run, budget.seconds, limit)
            batch = next(batches, None)
            if batch is None:
                break
            run.advance(batch)
            del batch  # its memory serves the next one, which is still in the cache
            now = clock()
            run.seconds, run.elapsed, before = run.seconds + now - before, run.elapsed + now - before, now
            if run.observed:
                if per_epoch is not None and run.done % per_epoch == 0:
                    run.emit(Epoched(run.done // per_epoch))
                run.settle()
            stop = _agreed(run) if run.shared else run.stop
    except NonFinite as error:
        run.emit(Failed(error))
        raise
    if run.shared and stop is None and run.interrupted:
        run.stop = None  # asked for after all had agreed that the stage is complete
    if run.interrupted:
        run.settle(final=True)
        return run
    run.emit(Finished(source))
    run.stage, run.done, run.seconds = run.stage + 1, 0, 0.0
    run.settle(final=True)
    return run


def _agreed(run: Run) -> str | None:
    """Why to stop after this step. A signal reaches processes at different steps: all stop where one has heard it."""
    if anywhere(run.interrupted):
        run.stop = "interrupted"
        return run.stop
    return None if run.interrupted else run.stop  # interrupted since the others were asked: they stop a step later


def _foreseen(run: Run, seconds: float, limit: int | None) -> int:
    """The steps a time budget will allow at the pace so far."""
    if run.done == 0 or run.seconds == 0:
        return limit or 10_000  # nothing measured yet; only the first step's schedule sees this
    foreseen = max(run.done, round(run.done * seconds / run.seconds))
    return min(foreseen, limit) if limit else foreseen
