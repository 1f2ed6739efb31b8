"""Audits: measurements of a trained model. They read; they never change what they measure."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from .errors import SondeError
from .finding import Figure, Shown, Table
from .intact import fingerprint, unchanged
from .measure import Measure
from .subject import Subject

INTERRUPTED = "interrupted"


class Clock:
    """How much time an audit has, and how far it is. One that can measure fewer rows looks at `left`."""

    def __init__(self, seconds: float = math.inf, watch: Callable[[float], None] = lambda share: None) -> None:
        self._end = time.monotonic() + seconds
        self._watch = watch

    @property
    def left(self) -> float:
        """Seconds; inf without a limit."""
        return self._end - time.monotonic()

    def at(self, share: float) -> None:
        """Say how much of the audit is done, 0 to 1."""
        self._watch(min(1.0, max(0.0, share)))


class Audit:
    """One side of a model, measured. A subclass is named after what it measures.

    Its constructor takes plain values and keeps them under their own names. `cost` is its part of a time budget,
    relative to the others'. Measures are named `topic/...`, each name once in the whole package; those that end in
    `headline` stand for the audit at a glance, or its first one.
    """

    cost: ClassVar[float] = 1.0
    headline: ClassVar[str] = ""

    def settings(self) -> dict[str, Any]:
        """What its constructor was given, by name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def refuses(self, subject: Subject) -> str:
        """Why this cannot be asked of `subject`, in words; "" where it can."""
        return ""

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        """What is found, one after the other; what is found stays found when a later part fails or time runs out."""
        raise NotImplementedError


@dataclass(frozen=True)
class Audited:
    """What came of one audit. outcome: `partial` where time ran out or it failed midway; `reason` says why not done."""

    audit: Audit
    outcome: Literal["done", "partial", "refused", "failed"]
    reason: str
    seconds: float
    findings: tuple[Shown, ...]

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The numbers."""
        return tuple(f for f in self.findings if isinstance(f, Measure))

    @property
    def figures(self) -> tuple[Figure, ...]:
        """The drawings."""
        return tuple(f for f in self.findings if isinstance(f, Figure))

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables."""
        return tuple(f for f in self.findings if isinstance(f, Table))


def run_audits(
    subject: Subject,
    audits: Iterable[Audit],
    budget: float = math.inf,
    seed: int = 0,
    watch: Callable[[Audit, float], None] = lambda audit, share: None,
) -> Iterator[Audited]:
    """Run audits one after the other; each result as it is had, whatever became of the others.

    budget: seconds for all. What is left is shared out by `cost`, so what one does not use the next ones have.
    seed: of torch's generators at the start of every audit, so that its numbers do not hang on which others ran.
    watch: told of every audit's progress.

    Raises RuntimeError when an audit changed the model: what is measured afterwards would be of another one.
    """
    todo = list(audits)
    end = time.monotonic() + budget
    with unchanged(subject.model):
        before = fingerprint(subject.model)
        for i, one in enumerate(todo):
            started = time.monotonic()
            share = one.cost / sum(a.cost for a in todo[i:])
            clock = Clock(max(0.0, end - started) * share, lambda done, one=one: watch(one, done))  # type: ignore[misc]
            found: list[Shown] = []
            outcome, reason = "done", one.refuses(subject)
            if reason:
                outcome = "refused"
            elif clock.left <= 0:
                outcome, reason = "refused", "the time budget was spent before it began"
            else:
                try:
                    with torch.random.fork_rng(devices=[]):
                        torch.manual_seed(seed)
                        for finding in one.run(subject, clock):
                            found.append(finding)
                except KeyboardInterrupt:
                    outcome, reason = "partial" if found else "refused", INTERRUPTED
                except SondeError as error:
                    outcome, reason = "partial" if found else "refused", error.cause
                except Exception as error:  # one audit's defect must not cost the others' results
                    text = " ".join(str(error).split())[:300]
                    outcome, reason = "partial" if found else "failed", f"{type(error).__name__}: {text}"
                if fingerprint(subject.model) != before:
                    raise RuntimeError(f"{type(one).__name__} changed the model that it audited")
            took = time.monotonic() - started
            yield Audited(one, outcome, reason, took, tuple(found))  # type: ignore[arg-type]
            if reason == INTERRUPTED:
                raise KeyboardInterrupt
