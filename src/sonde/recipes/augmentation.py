"""Image augmentation's gain on few pictures: the same net on pictures as they are, moved and mirrored, and more.

Claim: changing the training pictures at random, in ways that keep what they show, keeps a net from overfitting, so that
it errs less on new ones. Whether TrivialAugment adds to moving and mirroring within so short a training is reported,
not claimed: the paper has long trainings of large nets on all pictures.
Source: Krizhevsky, Sutskever and Hinton, ImageNet classification with deep convolutional neural networks, 2012,
section 4.1; Müller and Hutter, TrivialAugment, 2021. No published number is of so few pictures.
Measured, 2,000 training pictures, 24 passes, five seeds, 10,000 test pictures, a mean with Student's 95 % interval over
seeds: as they are, the net errs on 58.5 % (57.5 to 59.4) and knows its training pictures by heart; shifted and
mirrored on 48.9 % (47.5 to 50.2), 9.6 points less (7.7 to 11.5); with TrivialAugment as well on 53.2 % (52.1 to 54.2),
5.3 points less (3.8 to 6.7), but 4.3 more (3.6 to 5.0) than without it. The nets of the last two ways still err on 37 %
and 46 % of their own training pictures, so they may be far from done: a gain of TrivialAugment over shifts and flips
was not seen within 24 passes. About 160 s of one thread's processor time, beside other work.

Entry: image augmentation; cropping; flipping; overfitting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sonde import methods, nets
from sonde.core import Budget, Measure, Method, Run, fit, seed_everything
from sonde.data import Dataset, load
from sonde.data.rows import Split
from sonde.drawing import COLOURS, MUTED, canvas, legend
from sonde.experiment import Check, Figure, Finding, Lab, Table, experiment
from sonde.methods.observe.validate import mean_scores
from sonde.objectives import Classify
from sonde.optim.schedules import Cosine
from sonde.recipes._seeds import end_of, fewer, over_seeds

SOURCE = "Krizhevsky et al., 2012; Müller and Hutter, TrivialAugment, 2021"
WAYS = ("plain", "shift and flip", "with TrivialAugment")


def changes(way: str) -> list[Method]:
    """What changes the training pictures: an eighth of the side either way and mirrored, as is usual on CIFAR-10."""
    moved: list[Method] = [methods.Shift(0.125), methods.Flip()]
    return {"plain": [], "shift and flip": moved, "with TrivialAugment": [methods.TrivialAugment(), *moved]}[way]


@dataclass(frozen=True)
class Trained:
    """One run: shares of test rows and of training rows, as they are, that are wrong."""

    error: float
    train_error: float


def trained(data: Dataset, way: str, seed: int, epochs: int, widths: Sequence[int] = (24, 48, 96)) -> Trained:
    """Train one net. data: with as many rows as are meant to be read. way: of `WAYS`. seed: of weights and order."""
    seed_everything(seed)
    rule = methods.adamw(lr=3e-3, weight_decay=0.05, betas=(0.9, 0.99), schedule=Cosine(warmup=0.1))
    channels = data.batch(data.splits["test"][:1]).x.shape[1]
    net = nets.ResNet(channels, len(data.classes), widths, blocks=0)
    run = Run(Classify(net), [methods.FitInputs(), *changes(way), rule])
    fit(run, Split(data, "train", batch_size=64, seed=seed), Budget(epochs=epochs))
    with run.evaluating() as objective:
        parts = {s: (data.batch(i) for i in data.splits[s].split(2000)) for s in ("train", "test")}
        scores = {split: mean_scores(objective, batches) for split, batches in parts.items()}
    return Trained(1 - scores["test"]["accuracy"], 1 - scores["train"]["accuracy"])


def gain(runs: Mapping[str, Sequence[Trained]], first: str, second: str, settings: Mapping[str, Any]) -> Measure:
    """How much less the second way errs than the first, paired over seeds, in percentage points of the test rows."""
    differences = [100 * (a.error - b.error) for a, b in zip(runs[first], runs[second], strict=True)]
    return over_seeds(f"augmentation/{second} over {first}", differences, "points", "higher", SOURCE, settings=settings)


def findings(whole: Dataset, seeds: Sequence[int], rows: int, epochs: int, lab: Lab | None = None) -> Iterator[Finding]:
    """What is found with so many seeds, each of which draws its own training rows and weights."""
    runs: dict[str, list[Trained]] = {way: [] for way in WAYS}
    for seed in seeds:
        data = fewer(whole, train=rows, val=0, seed=seed)
        for way, each in runs.items():
            each.append(trained(data, way, seed, epochs))
        if lab is not None:
            lab.say(f"seed {seed}: " + ", ".join(f"{way} {100 * r[-1].error:.1f} %" for way, r in runs.items()))
    settings = {"rows": rows, "epochs": epochs, "test rows": len(whole.splits["test"])}
    for way, each in runs.items():
        errors, fitted = [100 * r.error for r in each], [100 * r.train_error for r in each]
        yield over_seeds(f"augmentation/error, {way}", errors, "%", "lower", SOURCE, settings=settings)
        yield over_seeds(f"augmentation/training error, {way}", fitted, "%", "neither", SOURCE, "train", settings)
    for way in WAYS[1:]:
        found = gain(runs, WAYS[0], way, settings)
        yield found
        yield Check(measure=end_of(found, "lower"), at_least=0.0)
    yield gain(runs, WAYS[1], WAYS[2], settings)
    yield Table(
        "errors",
        f"Wrong answers on the test rows in %, after {rows} training rows, by seed.",
        ("seed", *WAYS),
        tuple((seed, *(100 * r[i].error for r in runs.values())) for i, seed in enumerate(seeds)),
    )
    yield drawn(runs, rows)


def drawn(runs: Mapping[str, Sequence[Trained]], rows: int) -> Figure:
    """Errors on new pictures and on the training pictures, a dot a seed and a bar at their mean."""
    drawing, axes = canvas(7, 3.2)
    for i, found in enumerate(runs.values()):
        for place, of, colour in ((-0.15, "error", COLOURS[0]), (0.15, "train_error", COLOURS[1])):
            values = [100 * getattr(r, of) for r in found]
            label = {"error": "new pictures", "train_error": "the training pictures"}[of] if i == 0 else None
            axes.scatter(values, [i + place] * len(values), color=colour, s=26, alpha=0.75, linewidths=0, label=label)
            mean = sum(values) / len(values)
            axes.plot([mean, mean], [i + place - 0.1, i + place + 0.1], color=colour, linewidth=2.4)
            axes.annotate(f"{mean:.1f}", (max(values) + 1.2, i + place), color=MUTED, ha="left", va="center")
    axes.set_yticks(range(len(runs)), list(runs))
    axes.set_ylim(len(runs) - 0.45, -0.6)
    axes.set_xlim(-3, 100)
    axes.set_xlabel("wrong, %")
    axes.set_title(f"A small convolutional net, {rows:,} pictures of CIFAR-10")
    legend(axes, "center right")
    return Figure.of("errors", "Errors of each seed's net (dots) and their mean (bar).", drawing)


@experiment(
    chapter="Learning",
    claim="Moving and mirroring training pictures at random keeps a net from overfitting: it errs less on new ones.",
    source=SOURCE,
    seconds=120,
    data=("cifar10",),
)
def image_augmentation(lab: Lab) -> Iterator[Finding]:
    """CIFAR-10 with 2,000 training pictures: as they are, shifted and mirrored, and with TrivialAugment; five seeds."""
    yield from findings(load("cifar10"), range(lab.seed, lab.seed + 5), rows=2000, epochs=24, lab=lab)
