"""Early stopping's gain: a net that is trained past the best point for rows it has not seen.

Claim: on few rows the loss on unseen rows falls, reaches its least, and rises again while the training loss still
falls. Who stops where validation rows have it least keeps a better net, for less training; who waits longer before
stopping gains little more.
Source: Prechelt, Early stopping - but when?, 1998, and Automatic early stopping using cross validation, 1998.
Published there, over 1296 runs on 12 problems: slower criteria generalise better by about 4 % on average, and train
about 4 times as long.
Different here: the criterion is patience, so many measurements without a new least loss, after which the best weights
are taken back; the paper's are thresholds on how far the loss has risen. Fashion-MNIST, 1000 training and 1000
validation rows; the loss is the mean negative log-likelihood. A fifth of the training rows is given a wrong class in
the second half of the experiment, as labels that people gave would have: then answers suffer as well as the loss.
Measured over 8 seeds, against 40 epochs trained to the end (95 % t-intervals of paired differences): with right labels
patience 5 saves 0.247 nats of test loss (0.217 to 0.277) and 69 % of the training, and changes accuracy by -0.5 points
(-1.3 to 0.2): answers go on getting no worse while probabilities do. With a fifth of the labels wrong it saves 0.278
nats (0.257 to 0.299) and wins 5.6 points (4.3 to 6.9). Patience 5 has 9.1 % less loss than patience 1 (3.7 to 14.5; 5.2
% with wrong labels, 0.3 to 10.0) for 3.5 times the epochs (1.8 to 5.2).

Entry: early stopping; overfitting.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from sonde import methods, nets
from sonde.core import Budget, Method, Run, fit, seed_everything
from sonde.data import Dataset, load
from sonde.data.rows import Split
from sonde.drawing import COLOURS, INK, MUTED, canvas, legend
from sonde.experiment import Check, Figure, Finding, Lab, Table, experiment
from sonde.methods.observe.validate import mean_scores
from sonde.objectives import Classify
from sonde.recipes._seeds import Course, end_of, fewer, over_seeds

SOURCE = "Prechelt, Early stopping - but when?, 1998"


@dataclass(frozen=True)
class Ended:
    """One run. nll, accuracy: of the weights it ships, on the test rows; nan where there are none.

    stopped: the epoch of those weights. epochs: how many it took. val, train: losses by epoch.
    """

    nll: float
    accuracy: float
    stopped: int
    epochs: int
    val: list[float]
    train: list[float]


def mislabelled(data: Dataset, share: float, seed: int) -> Dataset:
    """The data set with another class, drawn at random, for a share of its training rows; other rows keep theirs."""
    generator = torch.Generator().manual_seed(7_000_003 + seed)
    train = data.splits["train"]
    wrong = train[torch.randperm(len(train), generator=generator)[: round(share * len(train))]]
    y, classes = data.y.clone(), len(data.classes)
    y[wrong] = (y[wrong] + torch.randint(1, classes, (len(wrong),), generator=generator)) % classes
    return replace(data, y=y)


def ended(data: Dataset, seed: int, epochs: int, patience: int | None, width: int = 256, lr: float = 1e-3) -> Ended:
    """Train one net and measure what it ships.

    patience: epochs without a new least validation loss after which it stops and takes the best weights back; None
    trains to the end and keeps the last.
    """
    seed_everything(seed)
    shape: Any = tuple(data.batch(data.splits["train"][:1]).x.shape[1:])
    course = Course()
    chosen: list[Method] = [methods.FitInputs(), methods.adam(lr)]
    chosen += [methods.Validate(data, "train"), methods.Validate(data, "val"), course]
    stops = None if patience is None else methods.EarlyStopping("nll", patience=patience)
    source = Split(data, "train", batch_size=50, seed=seed)
    run = Run(Classify(nets.MLP(shape, len(data.classes), (width,))), [*chosen, *([stops] if stops else [])])
    fit(run, source, Budget(epochs=epochs))
    with run.evaluating() as objective:
        scores = mean_scores(objective, (data.batch(i) for i in data.splits["test"].split(2000)))
    val = course.of("val", "nll")
    at = stops.best_step // source.steps_per_epoch if stops else len(val)
    return Ended(scores["nll"], scores["accuracy"], at, len(val), val, course.of("train", "nll"))


def findings(
    whole: Dataset,
    seeds: Sequence[int],
    wrong: float,
    rows: int = 1000,
    epochs: int = 40,
    patiences: Sequence[int] = (1, 5),
    lab: Lab | None = None,
) -> Iterator[Finding]:
    """What is found with a share `wrong` of the training rows' classes made wrong."""
    name = "right labels" if not wrong else f"{100 * wrong:.0f} % wrong labels"
    last: list[Ended] = []
    early: dict[int, list[Ended]] = {p: [] for p in patiences}
    for seed in seeds:
        data = mislabelled(fewer(whole, train=rows, val=1000, seed=seed), wrong, seed)
        last.append(ended(data, seed, epochs, None))
        for patience, found in early.items():
            found.append(ended(data, seed, epochs, patience))
    if lab is not None:
        lab.say(f"{name}: {len(seeds)} seeds done")
    settings = {"rows": rows, "epochs": epochs, "labels": name, "test rows": len(whole.splits["test"])}
    slow = early[patiences[-1]]

    def paired(what: str, values: Sequence[float], unit: str) -> Any:
        return over_seeds(f"early stopping/{what}, {name}", values, unit, "higher", SOURCE, settings=settings)

    saved = paired("loss saved", [a.nll - b.nll for a, b in zip(last, slow, strict=True)], "nats")
    yield Check(measure=saved, at_least=0.0)
    yield Check(measure=end_of(saved, "lower"), at_least=0.0)
    rise = paired("loss on validation rows, last over least", [e.val[-1] / min(e.val) for e in last], "times")
    yield Check(measure=rise, at_least=1.05)  # it does rise again: else there is nothing to stop for
    right = [100 * (b.accuracy - a.accuracy) for a, b in zip(last, slow, strict=True)]
    points = paired("points of accuracy won", right, "points")
    if wrong:
        yield Check(measure=end_of(points, "lower"), at_least=0.0)
    yield points
    yield paired("share of training spared", [1 - b.epochs / a.epochs for a, b in zip(last, slow, strict=True)], "1")
    if len(patiences) > 1:
        quick = early[patiences[0]]
        better = [100 * (1 - b.nll / a.nll) for a, b in zip(quick, slow, strict=True)]
        longer = [b.epochs / a.epochs for a, b in zip(quick, slow, strict=True)]
        text = f"patience {patiences[-1]} against {patiences[0]}"
        yield Check(
            measure=paired(f"{text}: less loss", better, "%"), at_least=-4, at_most=12, published=4, published_in=SOURCE
        )
        yield Check(measure=paired(f"{text}: longer", longer, "times"), at_least=1.0, published=4, published_in=SOURCE)
    rows_of = [("to the end", last), *((f"patience {p}", e) for p, e in early.items())]
    yield Table(
        "right" if not wrong else "wrong",
        f"What is shipped, mean over {len(seeds)} seeds, {name}.",
        ("stopping", "test loss, nats", "test accuracy, %", "epoch shipped", "epochs trained"),
        tuple(
            (
                text,
                _mean([e.nll for e in found]),
                100 * _mean([e.accuracy for e in found]),
                _mean([e.stopped for e in found]),
                _mean([e.epochs for e in found]),
            )
            for text, found in rows_of
        ),
    )
    yield drawn(last, slow, name, "right" if not wrong else "wrong")


def drawn(last: Sequence[Ended], stopped: Sequence[Ended], name: str, file: str) -> Figure:
    """Training and validation loss by epoch, thin for each seed and thick for the first, with the stop marked."""
    drawing, axes = canvas(7, 4)
    for i, e in enumerate(last):
        look: dict[str, Any] = {"alpha": 1.0 if i == 0 else 0.2, "linewidth": 2.2 if i == 0 else 0.8}
        at = range(1, e.epochs + 1)
        axes.plot(at, e.train, color=COLOURS[0], label="training rows" if i == 0 else None, **look)
        axes.plot(at, e.val, color=COLOURS[1], label="validation rows" if i == 0 else None, **look)
    first, ships = last[0], stopped[0].stopped
    axes.axvline(ships, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.plot([ships], [first.val[ships - 1]], "o", color=INK, markersize=7)
    axes.annotate(
        f"stops here: {first.val[ships - 1]:.2f}",
        (ships, first.val[ships - 1]),
        (10, -26),
        textcoords="offset points",
        color=INK,
        fontsize=9.5,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
    )
    axes.annotate(
        f"{first.val[-1]:.2f} at the end",
        (first.epochs, first.val[-1]),
        (-4, 12),
        textcoords="offset points",
        ha="right",
        color=MUTED,
        fontsize=9.5,
    )
    axes.set_xlim(1, first.epochs)
    axes.set_ylim(0, 1.2 * max(max(e.val) for e in last))
    axes.set_xlabel("epochs")
    axes.set_ylabel("mean negative log-likelihood, nats")
    axes.set_title(f"1000 pictures of clothes, {name}")
    legend(axes, "center right")
    caption = "Training past the best point: one seed thick, the others thin; the dot is what early stopping ships."
    return Figure.of(f"course-{file}", caption, drawing)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@experiment(
    chapter="Learning",
    claim="Past the least validation loss a net grows worse on new rows: to stop there keeps the better one.",
    source=SOURCE,
    seconds=100,
    data=("fashion-mnist",),
)
def early_stopping_gain(lab: Lab) -> Iterator[Finding]:
    """Early stopping against training to the end, with right labels and with some wrong ones."""
    whole = load("fashion-mnist")
    seeds = range(lab.seed, lab.seed + 8)
    yield from findings(whole, seeds, wrong=0.0, lab=lab)
    yield from findings(whole, seeds, wrong=0.2, lab=lab)
