"""An experiment: a claim about deep learning as code that measures it and knows what number would refute it.

    @experiment(
        chapter="Roots",
        claim="A perceptron separates what a line separates, within Novikoff's bound, and never solves XOR.",
        source="Rosenblatt, The perceptron, 1958; Novikoff, On convergence proofs on perceptrons, 1962",
        seconds=5,
    )
    def perceptron(lab: Lab) -> Iterator[Finding]:
        yield Check(measure=mistakes, at_most=bound)

`sonde recipes` lists those of `sonde.recipes`, `sonde run NAME` runs one, `sonde atlas` builds a page of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from sonde.core.finding import Figure, Table
from sonde.core.measure import Measure
from sonde.core.recipe import Recipe

if TYPE_CHECKING:
    from sonde.training import Trained

CHAPTERS = (
    "Defining deep learning",
    "Roots",
    "Architectures",
    "Learning",
    "Enablers",
    "Applications",
    "Society",
    "Limits",
    "Frontiers",
    "Responsible practice",
)
"""The chapters of the encyclopedia entry, in its order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A measured number, and the range in which the claim holds.

    measure: what was measured. at_least, at_most: the claim's range, in the measure's unit; at least one is given.
    published, published_in: the number that others report for the same quantity, and where.
    """

    measure: Measure
    at_least: float | None = None
    at_most: float | None = None
    published: float | None = None
    published_in: str = ""

    def __post_init__(self) -> None:
        if self.at_least is None and self.at_most is None:
            raise ValueError("a check needs at_least or at_most: otherwise nothing could refute it")
        if (self.published is None) != (not self.published_in):
            raise ValueError("a published number needs its source, and a source its number")

    @property
    def holds(self) -> bool:
        """Whether the number is in the range; NaN is in none."""
        low = self.at_least is None or self.measure.value >= self.at_least
        high = self.at_most is None or self.measure.value <= self.at_most
        return low and high


Finding: TypeAlias = Check | Measure | Figure | Table
"""What an experiment yields, one after the other; what is found is kept though a later part fails."""


@dataclass
class Lab:
    """Where an experiment is done. folder: its own, for whatever it writes. say: one line of progress."""

    folder: Path
    seed: int = 0
    say: Callable[[str], None] = field(default=lambda text: None)

    def train(self, recipe: Recipe, **options: Any) -> Trained:
        """Train and measure a recipe as `sonde train` does, its run kept in this lab's folder."""
        from sonde.training import train

        data = recipe.data() if recipe.data is not None else None
        return train(data, recipe=recipe, output_dir=self.folder / "runs", baselines=False, **options)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """name: what it is called. chapter: of the entry. claim: in a sentence. source: who published it.

    seconds: about how long it takes on two cores. run: yields what it finds.
    data: names of the data sets it needs beside those that come with the dependencies.
    """

    name: str
    chapter: str
    claim: str
    source: str
    seconds: float
    run: Callable[[Lab], Iterator[Finding]]
    data: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.chapter not in CHAPTERS:
            raise ValueError(f"{self.name}: {self.chapter!r} is no chapter; the chapters are {', '.join(CHAPTERS)}")


def experiment(
    *, chapter: str, claim: str, source: str, seconds: float, data: tuple[str, ...] = (), name: str = ""
) -> Callable[[Callable[[Lab], Iterator[Finding]]], Experiment]:
    """Make an experiment of a function that yields findings.

    name: the function's, unless given: that of the recipe whose claim is checked, which is another object of its file.
    """

    def made(run: Callable[[Lab], Iterator[Finding]]) -> Experiment:
        called = name or run.__name__
        return Experiment(name=called, chapter=chapter, claim=claim, source=source, seconds=seconds, run=run, data=data)

    return made
