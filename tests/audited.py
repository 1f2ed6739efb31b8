"""What tests of audits share: tiny audits that find, fail, wait or are interrupted, and a small audited run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from sonde.api import train
from sonde.core import Audit, Clock, Figure, Measure, Subject, Table
from sonde.core.finding import Shown
from sonde.training import Trained

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><rect width="40" height="20"/></svg>'


class Finds(Audit):
    """Finds a number, a figure and a table."""

    def __init__(self, value: float = 0.5) -> None:
        self.value = value

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        yield Measure("finds/share", self.value, "1", 10, "higher", "here", (self.value - 0.1, self.value + 0.1))
        yield Figure("drawn", "What there is to see.", SVG)
        yield Table("listed", "Numbers beside names.", ("name", "number"), (("a", 1.5), ("b", None)))


class Other(Audit):
    """Finds another number."""

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        yield Measure("other/number", 3.0, "m", 10, "neither", "there")


class Fails(Audit):
    """Finds a number and fails."""

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        yield Measure("fails/number", 1.0, "1", 10, "lower", "here")
        raise ValueError("deep inside")


class Interrupted(Audit):
    """Is interrupted before it finds anything."""

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        raise KeyboardInterrupt
        yield


class Waits(Audit):
    """Waits a while."""

    def __init__(self, seconds: float = 0.2) -> None:
        self.seconds = seconds

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        time.sleep(self.seconds)
        yield Measure("waits/number", 1.0, "1", 10, "lower", "here")


def run_in(folder: Path, name: str = "digits", seed: int = 0, steps: int = 30) -> Trained:
    """A small net on the digits, whose test rows do not hang on the seed."""
    return train(
        "digits", net="mlp(widths=(8,))", steps=steps, baselines=False, output_dir=folder, name=name,
        settings={"seed": seed},
    )  # fmt: skip
