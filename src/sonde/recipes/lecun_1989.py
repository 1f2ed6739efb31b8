"""LeCun's network of 1989 again: 7291 digits, 23 passes; then what thirty years of practice change.

LeCun et al., Backpropagation applied to handwritten zip code recognition, 1989: 102 of 2007 test pictures wrong, 5.0 %,
after 23 passes and three days. The pictures are lost; Karpathy's re-run (Deep neural nets: 33 years ago and 33 years
from now, 2022; the code's README) draws as many from MNIST, shrinks them to 16 x 16 pixels and gets 82 wrong, 4.09 %,
where 0.62 % of the training pictures are wrong; with a softmax, AdamW, shifted pictures, dropout and ReLU in the same
net it gets 32 wrong, 1.59 %, after 80 passes.

Here the same construction, with the generator and the seed of the re-run (whose order of the two draws is left open
there: training pictures are drawn first here). The first recipe is the re-run's: single pictures in constant order,
squared error to targets of -1 and 1, plain gradient descent at 0.03. The others change one thing after another and keep
to 23 passes. Their settings were chosen by 2007 further training pictures, which no recipe learns from; the test
pictures were looked at after that.

Measured, 23 passes, one core of a Xeon: as in 1989, seed 0, 69 of 2007 wrong, 3.44 % (95 % interval 2.73 to
4.33), in 113 s. With softmax, AdamW and batches of 32:
72 wrong, 3.59 % (2.86 to 4.49); with shifted pictures: 58, 2.89 % (2.24 to 3.72); with ReLU and dropout, seeds 0 to 2:
48, 45 and 48, on average 2.34 % (2.13 to 2.56), in 21 s each.

Entry: convolution; weight sharing; backpropagation; image augmentation; dropout; ReLU; Adam.
"""

# N rows, C classes

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from sonde.core import Batch, Budget, Build, Epoched, Event, Measure, Method, Recipe, Run, Stage
from sonde.data import load
from sonde.data.rows import Split
from sonde.experiment import Check, Figure, Finding, Lab, Table, experiment
from sonde.methods import Shift, adamw, sgd
from sonde.nets.lecun1989 import LeCun1989
from sonde.objectives import Classify
from sonde.optim.schedules import Cosine

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from sonde.data import Dataset

TRAIN, TEST, PASSES = 7291, 2007, 23
SEEDS = {1: 1, 2: 1, 3: 3}  # runs of each change
PAPER, RERUN = "LeCun et al. (1989)", "Karpathy (2022), lecun1989-repro"


# ---------------------------------------------------------------- the pictures
def zip_codes(seed: int = 1337) -> Dataset:
    """As many digits of MNIST as the paper has zip-code digits, 16 x 16 pixels: 7291 to learn from and 2007 to test.

    Bilinear interpolation of MNIST's 28 x 28, without smoothing before, as the re-run does. "val" holds 2007 more of
    MNIST's training pictures.
    """
    import numpy as np

    mnist: Any = load("mnist")
    draw = np.random.RandomState(seed)  # the generator that the re-run seeds
    ours, theirs = draw.permutation(60_000), draw.permutation(10_000)
    rows = torch.from_numpy(np.concatenate([ours[: TRAIN + TEST], 60_000 + theirs[:TEST]]))
    x = mnist.x[rows].float() / 255
    x = F.interpolate(x, (16, 16), mode="bilinear", align_corners=False)
    at = torch.arange(len(rows))
    splits = {"train": at[:TRAIN], "val": at[TRAIN : TRAIN + TEST], "test": at[TRAIN + TEST :]}
    schema = replace(mnist.schema, size=(16, 16))
    return replace(mnist, name="zip codes", schema=schema, x=x, y=mnist.y[rows], splits=splits, names=(), notes=())


class InOrder(Split):
    """One split of a data set in batches, in the same order every pass."""

    def batches(self, run: Run | None, start: int = 0) -> Iterator[Batch]:
        """See `Source.batches`."""
        order = self.index.split(self.batch_size)
        for step in range(start, 2**62):
            yield self.take(order[step % len(order)])


# ---------------------------------------------------------------- the recipes
@dataclass(frozen=True, slots=True)
class SignedError:
    """Squared error to targets of 1 for the class and -1 for the others: mean_c (z_c - (2 [c = y] - 1))^2."""

    def __call__(self, output: Tensor, y: Tensor) -> Tensor:
        """(N, C) and (N,) to (N,)."""
        target = 2 * F.one_hot(y, output.shape[1]).to(output.dtype) - 1  # (N, C)
        return (output - target).square().mean(1)


def as_in_1989(seed: int = 0, passes: float = PASSES) -> Recipe:
    """The paper's network and its 23 passes over single pictures in constant order, by the re-run's settings."""
    return Recipe(
        name="lecun-1989",
        seed=seed,
        objective=Build(Classify, net=Build(LeCun1989), loss=Build(SignedError)),
        methods=(Build(sgd, lr=0.03, momentum=0.0),),
        stages=(Stage(source=Build(InOrder, batch_size=1), budget=Budget(epochs=passes)),),
    )


def as_today(
    seed: int = 0,
    passes: float = PASSES,
    changes: int = 3,
    lr: float = 4e-3,
    batch_size: int = 16,
    dropout: float = 0.1,
) -> Recipe:
    """The same number of weights and passes with what came later. changes: how many of them, in this order.

    1: cross-entropy of linear outputs, by AdamW on shuffled batches, at a rate that falls by a cosine. 2: pictures are
    shifted by up to a pixel. 3: rectified units, some of H2's silenced.
    """
    late = changes >= 3
    net = Build(LeCun1989, activation="relu" if late else "tanh", squash=False, dropout=dropout if late else 0.0)
    moved: tuple[Build[Any], ...] = (Build(Shift, most=1 / 16),) if changes >= 2 else ()
    return Recipe(
        name=f"lecun-1989-today-{changes}",
        seed=seed,
        objective=Build(Classify, net=net),
        methods=(*moved, Build(adamw, lr=lr, weight_decay=0.01, schedule=Build(Cosine, warmup=0.05))),
        stages=(Stage(source=Build(Split, batch_size=batch_size, seed=seed), budget=Budget(epochs=passes)),),
    )


NAMES = ("as in 1989", "+ softmax, AdamW, batches", "+ pictures shifted by a pixel", "+ ReLU, dropout")


# ---------------------------------------------------------------- measuring
class ErrorByPass(Method):
    """Keeps the share of wrong answers on a split after every pass."""

    def __init__(self, data: Dataset, split: str) -> None:
        self.data, self.split = data, split
        self.errors: list[float] = []

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if isinstance(event, Epoched):
            self.errors.append(errors(run, self.data, self.split) / len(self.data.splits[self.split]))


def errors(run: Run, data: Dataset, split: str) -> int:
    """How many rows of a split are answered wrongly."""
    batch = data.batch(data.splits[split])
    with run.evaluating() as objective:
        answers = objective("model", batch).out["logits"].argmax(1)
    return int((answers != batch.y).sum())


@dataclass(frozen=True, slots=True)
class Trained:
    """wrong: rows of the test split. seconds: of one core. course: the share of wrong rows after each pass."""

    wrong: int
    seconds: float
    course: Sequence[float]


def trained(recipe: Recipe, data: Dataset, split: str = "test") -> Trained:
    """Train a recipe on the data and count its mistakes."""
    course = ErrorByPass(data, split)
    begin = time.process_time()
    run = recipe.train(recipe.start(data, (course,)), data)
    seconds = time.process_time() - begin
    return Trained(errors(run, data, split), seconds, course.errors)


# ---------------------------------------------------------------- figures
def _courses(courses: Sequence[tuple[str, Sequence[float]]]) -> Drawing:
    from sonde.drawing import COLOURS, MUTED, canvas, legend

    drawing, axes = canvas(7, 4)
    for (name, shares), colour in zip(courses, COLOURS, strict=False):
        axes.plot(range(1, len(shares) + 1), [100 * s for s in shares], color=colour, linewidth=1.8, label=name)
    for value, text in ((5.0, "the paper, 5.0 %"), (4.09, "re-run of 2022, 4.09 %")):
        axes.axhline(value, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.text(PASSES, value * 1.03, text, color=MUTED, fontsize=9.5, ha="right")
    axes.set_yscale("log")
    axes.set_yticks([2, 3, 5, 10, 20], ["2", "3", "5", "10", "20"])
    axes.minorticks_off()
    axes.set_xlim(1, PASSES)
    axes.set_xticks([1, 5, 10, 15, 20, PASSES])
    axes.set_xlabel("passes over 7291 pictures")
    axes.set_ylabel("wrong test pictures, %")
    legend(axes, "upper right")
    return drawing


def _maps(net: LeCun1989, picture: Tensor) -> Drawing:
    """The weights of H1 and what its maps answer to a picture (1, 1, 16, 16)."""
    from sonde.drawing import canvas

    with torch.no_grad():
        weights, answers = net.h1.detach().view(12, 5, 5), net.maps(picture)[0]  # (12, 5, 5), (12, 8, 8)
    drawing, axes = canvas(7, 1.9, rows=2, columns=13)
    for row, (first, images) in enumerate(((picture[0, 0], weights), (None, answers))):
        for column, one in enumerate(axes[row]):
            one.grid(False)
            one.set_xticks([])
            one.set_yticks([])
            for spine in one.spines.values():
                spine.set_visible(False)
            shown = first if column == 0 else images[column - 1]
            if shown is None:
                continue
            most = float(images.abs().max())
            ends = {"vmin": 0, "vmax": 1, "cmap": "gray_r"} if column == 0 else {"vmin": -most, "vmax": most}
            one.imshow(shown.numpy(), **{"cmap": "RdBu_r", **ends})
    axes[0][0].set_title("picture", fontsize=9)
    axes[0][6].set_title("weights of H1's twelve maps, and below what each answers", fontsize=9)
    return drawing


# ---------------------------------------------------------------- the experiment
@experiment(
    chapter="Roots",
    claim="A convolutional net of 9760 weights reads digits after 23 passes over 7291; later practice does it better.",
    source=f"{PAPER}; {RERUN}",
    seconds=240,
    data=("mnist",),
)
def lecun_1989(lab: Lab) -> Iterator[Finding]:
    """The net of 1989 as it was trained then, and with one change of practice after another."""
    data = zip_codes()
    lab.say("as in 1989: 167,693 single pictures")
    then = trained(as_in_1989(lab.seed), data)
    today = {}
    for changes, seeds in SEEDS.items():
        lab.say(NAMES[changes])
        today[changes] = [trained(as_today(lab.seed + k, changes=changes), data) for k in range(seeds)]
    yield from findings(then, today, rows=TEST)
    run = as_today(lab.seed, passes=2).train(data=data)
    net = run.objective.get_submodule("net")
    if isinstance(net, LeCun1989):
        five = data.splits["test"][(data.y[data.splits["test"]] == 5).nonzero()[0]]
        yield Figure.of(
            "lecun-1989-maps",
            "What the first layer looks for, after two passes: 25 weights for each of twelve maps (red above zero, "
            "blue below), and each map's answer to a test picture.",
            _maps(net, data.batch(five).x),
        )


def findings(then: Trained, today: Mapping[int, Sequence[Trained]], rows: int) -> Iterator[Finding]:
    """What there is to say of one run as in 1989, and of several seeds of each change."""
    from sonde.audits.quality.intervals import HOW, wilson
    from sonde.recipes._seeds import end_of

    size = sum(p.numel() for p in LeCun1989().parameters())
    yield Check(
        measure=Measure("lecun_1989/weights", size, "weights", 1, "neither", PAPER, split="none"),
        at_least=9760,
        at_most=9760,
        published=9760,
        published_in=PAPER,
    )
    # Another 2007 pictures would give another share: two draws of so many differ by up to 1.2 points, 95 of 100 times.
    yield Check(
        measure=Measure(
            "lecun_1989/error_as_in_1989", then.wrong / rows, "1", rows, "lower", RERUN, wilson(then.wrong, rows),
            settings={"passes": PASSES, "interval": HOW["wilson"], "seconds": round(then.seconds, 1)},
        ),
        at_least=0.029,
        at_most=0.053,
        published=0.0409,
        published_in=RERUN,
    )  # fmt: skip
    means = [_error(changes, found, rows) for changes, found in today.items()]
    # The bar is the re-run's error, at the paper's number of passes; beyond chance: the upper end of the interval.
    yield means[-1]
    yield Check(
        measure=end_of(means[-1], "upper"), at_most=0.041, published=0.0409, published_in=f"{RERUN}, as in 1989"
    )
    slowest = max(t.seconds for t in today[max(today)])
    yield Check(
        measure=Measure(
            "lecun_1989/seconds_today", slowest, "s", len(today[max(today)]), "lower", RERUN,
            settings={"time": "of the processor, one core, the slowest of the seeds", "interval": "none: the largest"},
        ),
        at_most=90.0,
        published=90.0,
        published_in=f"{RERUN}: about 90 seconds on a laptop's M1, as in 1989",
    )  # fmt: skip
    yield Table(
        "lecun-1989-changes",
        f"Wrong pictures of {rows:,}, after {PASSES} passes. Intervals: Wilson's for one run, Student's t over seeds.",
        ("practice", "seeds", "wrong, %", "lower end, 95 %", "upper end", "seconds of one core"),
        (
            (NAMES[0], 1, *_percent(then.wrong / rows, wilson(then.wrong, rows)), round(then.seconds, 1)),
            *(
                (NAMES[c], len(of), *_percent(m.value, m.interval), round(sum(t.seconds for t in of) / len(of), 1))
                for (c, of), m in zip(today.items(), means, strict=True)
            ),
        ),
    )
    courses = [(NAMES[0], then.course), *((NAMES[c], of[0].course) for c, of in today.items())]
    yield Figure.of("lecun-1989-passes", "Wrong test pictures after each pass, of one run each.", _courses(courses))


def _error(changes: int, found: Sequence[Trained], rows: int) -> Measure:
    """The share of wrong pictures: of one run with Wilson's interval, of several with Student's over seeds."""
    from sonde.audits.quality.intervals import HOW, wilson
    from sonde.recipes._seeds import over_seeds

    name, told = f"lecun_1989/error_{changes}_changes", {"passes": PASSES, "practice": NAMES[changes]}
    wrong = [t.wrong for t in found]
    if len(wrong) > 1:
        return over_seeds(name, [w / rows for w in wrong], "1", "lower", RERUN, settings={**told, "wrong": wrong})
    told["interval"] = HOW["wilson"]
    return Measure(name, wrong[0] / rows, "1", rows, "lower", RERUN, wilson(wrong[0], rows), settings=told)


def _percent(value: float, interval: tuple[float, float] | None) -> tuple[float, float | None, float | None]:
    low, high = interval or (None, None)
    return 100 * value, None if low is None else 100 * low, None if high is None else 100 * high
