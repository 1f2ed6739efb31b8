"""What the experiments of recipes share: train one as `sonde train` does, hold its measures against bars, attack it.

trained = yield from learned(lab, mnist(), Bar("quality/accuracy", at_least=0.993))
"""

# N rows, C classes

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sonde.core import Build, Event, Measure, Method, Recipe, Run, Stepped
from sonde.experiment import Check, Figure, Finding, Lab
from sonde.methods import sgd

if TYPE_CHECKING:
    from sonde.data import Dataset
    from sonde.report.facts import Curve, Retained
    from sonde.training import Trained


@dataclass(frozen=True)
class Bar:
    """What a measure of a trained model must reach, and what others published for it. name: `quality/accuracy`."""

    name: str
    at_least: float | None = None
    at_most: float | None = None
    published: float | None = None
    published_in: str = ""

    def against(self, measure: Measure) -> Check:
        """The check of a measure."""
        return Check(
            measure=measure,
            at_least=self.at_least,
            at_most=self.at_most,
            published=self.published,
            published_in=self.published_in,
        )


class Told(Method):
    """Says now and then how far a training is. every: seconds between two lines."""

    def __init__(self, say: Callable[[str], None], every: float = 20.0) -> None:
        self.say, self.every, self._last = say, every, time.monotonic()

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if isinstance(event, Stepped) and time.monotonic() - self._last >= self.every:
            self._last = time.monotonic()
            self.say(f"step {run.step:,}, {100 * run.fraction:.0f} % of the stage")


def learned(lab: Lab, recipe: Recipe, *bars: Bar) -> Generator[Finding, None, Trained]:
    """Train and measure a recipe: a check for each bar, the other measures, the time, and the course of training.

    The recipe's own seed is used unless the lab has one.
    """
    from sonde.changes import over

    lab.say(f"training {recipe.name}")
    chosen = over(recipe, seed=lab.seed) if lab.seed else recipe
    trained = lab.train(chosen, observers=[Told(lab.say)])
    for bar in bars:
        yield bar.against(measured(trained, bar.name))
    named = {bar.name for bar in bars}
    for score in trained.facts.measures:
        if score.name not in named:
            yield measured(trained, score.name)
    yield Measure(
        "training/time",
        trained.facts.seconds,
        "s",
        1,
        "lower",
        "wall clock",
        None,
        "train",
        {"steps": trained.facts.step},
    )
    if trained.facts.retained is not None:
        yield matrix(trained.facts.retained)
    drawn = course(trained)
    if drawn is not None:
        yield drawn
    return trained


def measured(trained: Trained, name: str) -> Measure:
    """A measure of a trained model's test rows, by its name."""
    score = next(s for s in trained.facts.measures if s.name == name)
    return Measure(**{f.name: getattr(score, f.name) for f in fields(Measure)})


def private(trained: Trained) -> Measure:
    """Epsilon: what the training spent of its records' privacy, by the accountant."""
    spent = trained.facts.privacy
    if spent is None:
        raise ValueError(f"{trained.folder.name} was not trained privately")
    how = {"delta": spent.delta, "accountant": spent.accountant, "interval": "none: it is computed"}
    return Measure(
        "privacy/epsilon", spent.epsilon, "1", spent.records, "lower", "Dwork and Roth, 2014", None, "train", how
    )


class Logits(nn.Module):
    """x (N, ...) -> log-probabilities (N, C) of an objective: logits whose softmax is its prediction."""

    def __init__(self, objective: Any) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, x: Tensor) -> Tensor:
        """(N, C)."""
        logits = self.objective.net(x)
        return logits if logits.dim() == 2 else torch.logsumexp(logits.log_softmax(-1), 1)


def attacked(
    trained: Trained, data: Dataset, radius: float, step: float, steps: int, restarts: int, rows: int
) -> Measure:
    """The share of the first test rows that stays right under projected gradient descent; see `audits.robustness`."""
    from sonde.audits.robustness import pgd

    index = data.splits["test"][:rows]
    batch = data.batch(index)
    return pgd(Logits(trained.bundle.objective), batch.x, data.y[index], radius, step, steps, restarts)


def attacked_table(trained: Trained, data: Dataset, attack: Build[Any], rows: int) -> Measure:
    """The share of the first test rows of a table that stays right, attacked as a method attacks training rows."""
    from sonde.audits.quality.intervals import settings, wilson
    from sonde.results import describe_build

    index = data.splits["test"][:rows]
    batch, method = data.batch(index), attack()
    run = Run(
        trained.bundle.objective, [method, sgd(lr=1.0)]
    )  # a rule that no step is taken by, as a run must have one
    plain = trained.bundle.raw(batch.x).argmax(1) == data.y[index]
    moved = trained.bundle.raw(method.batch(run, batch).x).argmax(1) == data.y[index]
    right = int((plain & moved).sum())  # a row that is wrong as it is needs no attack
    ends = wilson(right, len(index))
    how = {**settings("wilson", ends), "attack": describe_build(attack)}
    return Measure(
        "robustness/pgd", right / len(index), "1", len(index), "higher", "Madry et al., 2018", ends, "test", how
    )


def against_trees(trained: Trained, data: Dataset, seconds: float = 60.0) -> Measure:
    """How many more of the test rows are right than by gradient-boosted trees, in points: paired over the rows.

    seconds: for all baselines; see `audits.quality.baselines`.
    """
    from sonde.audits.quality import baselines
    from sonde.results import predictions

    guess, _ = predictions(trained.bundle, data, "test")
    trees = baselines(data, seconds, prediction=guess)[-1]
    found = trees.comparison
    ends = None if found is None or found.interval is None else tuple(100 * e for e in found.interval)
    return Measure(
        name="quality/points over trees",
        value=float("nan") if found is None else 100 * found.difference,
        unit="points",
        n=len(data.splits["test"]),
        better="higher",
        source=trees.description,
        interval=ends,  # type: ignore[arg-type]
        settings={"interval": "bootstrap over paired rows"},
    )


def between_groups(trained: Trained, data: Dataset, field: str, reference: str | None = None) -> list[Measure]:
    """How differently the groups of a column are decided about on the test rows; see `sonde.fairness`."""
    from sonde.fairness import fairness_measures
    from sonde.results import predictions

    guess, truth = predictions(trained.bundle, data, "test")
    names = list(data.schema.groups[field])
    group = data.fields[field][data.splits["test"]]
    at = None if reference is None else names.index(reference)
    return fairness_measures(truth, guess.argmax(1), group, names, reference=at)


def matrix(kept: Retained) -> Figure:
    """What a net that learns several things in turn still knows of each."""
    from sonde.report.retained import figure

    caption = "The share of each experience's test rows that is right, before training and after each stage."
    return Figure("retained", caption, figure(kept.matrix, kept.names))


def course(trained: Trained) -> Figure | None:
    """The curves of a training, as many as two side by side; None where nothing was noted."""
    from sonde.drawing import COLOURS, canvas, legend

    curves = [c for c in trained.facts.curves if any(s and s.values for s in (c.train, c.val))][:2]
    if not curves:
        return None
    drawing, axes = canvas(7.5, 3.3, columns=len(curves))
    for curve, at in zip(curves, [axes] if len(curves) == 1 else axes, strict=True):
        _draw(curve, at, COLOURS)
        legend(at)
    beside = " and on validation rows" if any(c.val and c.val.values for c in curves) else ""
    return Figure.of("course", f"The course of training, on training rows{beside}.", drawing)


def _draw(curve: Curve, axes: Any, colours: tuple[str, ...]) -> None:
    scale = 100 if curve.percent else 1
    # A stage counts its own epochs: over several of them only steps go on.
    epochs = all(s is None or _rising(s.epochs) for s in (curve.train, curve.val))
    for series, label, colour in ((curve.train, "training", colours[6]), (curve.val, "validation", colours[0])):
        if series is not None and series.values:
            at = series.epochs if epochs else series.steps
            axes.plot(at, [scale * v for v in series.values], color=colour, label=label, linewidth=1.6)
    axes.set_title(f"{curve.name}, %" if curve.percent else curve.name)
    axes.set_xlabel("epoch" if epochs else "step")


def _rising(values: Sequence[float]) -> bool:
    return bool(values) and all(a < b for a, b in pairwise(values))
