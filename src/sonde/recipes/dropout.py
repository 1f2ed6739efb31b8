"""Dropout's gain on few handwritten digits: the same net with and without, and with the bound that goes well with it.

Claim: units that are left out at random keep a net from overfitting, so that it errs less on new rows, with or
without a bound on the length of the weights into each unit.
Source: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, Dropout, 2014. Published for all 60,000 rows of
MNIST, without knowledge of where pixels lie (table 2): a standard net errs on 1.60 % of the test images, with dropout
and rectified linear units on 1.25 %, with max-norm as well on 1.06 %; regularisers side by side (table 9): max-norm
1.35 %, dropout with max-norm 1.05 %. The paper's figure over the number of rows (sec. 7.4) has a gain in between, and
none for a few hundred rows. (The numbers were checked in public copies of the tables.)
Different here: 1000 rows, where overfitting shows within seconds; two layers of 512 units; 30 passes; Nesterov momentum
0.9 and a rate that falls along a cosine. Each way's rate is the best of three on validation rows, with rows and weights
that are not measured on; the nets that are bound bore the largest of the three, as the paper says of them.
Measured over 5 seeds, wrong on the test rows (95 % t-intervals): plain 9.35 % (8.82 to 9.88), with dropout 8.01 % (7.65
to 8.36), 1.34 points less (1.05 to 1.64, paired); with max-norm 9.23 %, with both 8.43 %. Dropout alone is better than
both here, by 0.42 points (0.21 to 0.63), which is not as the paper has it on all rows; why was not looked into (one
bound and three rates were tried, and on validation rows the two are alike). Every plain net fits its training rows
without a fault.

Entry: dropout; overfitting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sonde import methods, nets
from sonde.core import Budget, Measure, Method, NonFinite, Run, fit, seed_everything
from sonde.data import Dataset, load
from sonde.data.rows import Split
from sonde.drawing import COLOURS, canvas, legend
from sonde.experiment import Check, Figure, Finding, Lab, Table, experiment
from sonde.methods.observe.validate import mean_scores
from sonde.objectives import Classify
from sonde.optim.schedules import Cosine
from sonde.recipes._seeds import Course, end_of, fewer, over_seeds

SOURCE = "Srivastava et al., Dropout, JMLR 15, 2014"
WAYS: Mapping[str, tuple[bool, bool]] = {  # dropout, max-norm
    "plain": (False, False),
    "max-norm": (False, True),
    "dropout": (True, False),
    "dropout and max-norm": (True, True),
}
RATES = (0.03, 0.06, 0.12)
TUNED = {"plain": 0.06, "max-norm": 0.12, "dropout": 0.03, "dropout and max-norm": 0.12}
"""What `best_rate` gave of `RATES` for rows and weights of seed 99, which are not measured on."""
BOUND = 1.0  # weights begin at a length of 0.58; the 2 of the appendix B.1 is never reached in 600 steps


@dataclass(frozen=True)
class Trained:
    """One run. error, loss: shares of test rows wrong, and their mean loss; course: validation error by epoch."""

    error: float
    loss: float
    train_error: float
    course: list[float]


def trained(
    data: Dataset, way: str, seed: int, lr: float, epochs: int = 30, widths: Sequence[int] = (512, 512)
) -> Trained:
    """Train one net. data: with as many rows as are meant to be read. way: of `WAYS`. seed: of weights and order."""
    drops, bounded = WAYS[way]
    seed_everything(seed)
    shape: Any = tuple(data.batch(data.splits["train"][:1]).x.shape[1:])
    course = Course()
    chosen: list[Method] = [methods.FitInputs()]
    if drops:
        chosen.append(methods.Dropout(rate=0.5, inputs=0.2))  # the paper's p = 0.5 and 0.8, as shares left out
    if bounded:
        chosen.append(methods.MaxNorm(most=BOUND))
    chosen += [methods.sgd(lr, schedule=Cosine(warmup=0.05)), methods.Validate(data, every_epochs=2), course]
    run = Run(Classify(nets.MLP(shape, len(data.classes), widths)), chosen)
    fit(run, Split(data, "train", batch_size=50, seed=seed), Budget(epochs=epochs))
    with run.evaluating() as objective:
        parts = {s: (data.batch(i) for i in data.splits[s].split(2000)) for s in ("train", "test")}
        scores = {split: mean_scores(objective, batches) for split, batches in parts.items()}
    return Trained(
        error=1 - scores["test"]["accuracy"],
        loss=scores["test"]["nll"],
        train_error=1 - scores["train"]["accuracy"],
        course=[1 - a for a in course.of("val", "accuracy")],
    )


def best_rate(data: Dataset, way: str, seed: int, rates: Sequence[float] = RATES, epochs: int = 30) -> float:
    """The rate with the least validation error at the end of a run; one at which training breaks down has all of it."""

    def error(lr: float) -> float:
        try:
            return trained(data, way, seed, lr, epochs).course[-1]
        except NonFinite:
            return 1.0

    return min(rates, key=error)


def gain(runs: Mapping[str, Sequence[Trained]], first: str, second: str, settings: Mapping[str, Any]) -> Measure:
    """How much less the second way errs than the first, paired over seeds, in percentage points of the test rows."""
    differences = [100 * (a.error - b.error) for a, b in zip(runs[first], runs[second], strict=True)]
    return over_seeds(f"dropout/{second} over {first}", differences, "points", "higher", SOURCE, settings=settings)


def findings(
    whole: Dataset,
    seeds: Sequence[int],
    rates: Mapping[str, float],
    rows: int = 1000,
    epochs: int = 30,
    lab: Lab | None = None,
) -> Iterator[Finding]:
    """What is found with so many seeds, each of which draws its own training rows and weights."""
    runs: dict[str, list[Trained]] = {way: [] for way in WAYS}
    for seed in seeds:
        data = fewer(whole, train=rows, val=2000, seed=seed)
        for way, found in runs.items():
            found.append(trained(data, way, seed, rates[way], epochs))
        if lab is not None:
            lab.say(f"seed {seed}: " + ", ".join(f"{way} {100 * r[-1].error:.2f} %" for way, r in runs.items()))
    settings = {"rows": rows, "epochs": epochs, "rates": dict(rates), "test rows": len(whole.splits["test"])}
    for way, found in runs.items():
        yield over_seeds(
            f"dropout/error of {way}", [100 * r.error for r in found], "%", "lower", SOURCE, settings=settings
        )
    alone = gain(runs, "plain", "dropout", settings)
    yield Check(measure=alone, at_least=0.0)
    yield Check(measure=end_of(alone, "lower"), at_least=0.0)
    both = gain(runs, "max-norm", "dropout and max-norm", settings)
    yield Check(measure=both, at_least=0.0, published=1.35 - 1.05, published_in="table 9, 60,000 rows, a larger net")
    yield Check(measure=end_of(both, "lower"), at_least=0.0)
    yield gain(runs, "dropout", "dropout and max-norm", settings)
    fitted = [100 * r.train_error for r in runs["plain"]]
    overfit = over_seeds("overfitting/training error of plain", fitted, "%", "lower", SOURCE, "train", settings)
    yield Check(measure=overfit, at_most=0.1)  # it knows its rows by heart: what is left to win is won on other rows
    yield Table(
        "errors",
        f"Wrong answers on the test rows in %, after {rows} training rows, by seed.",
        ("seed", *WAYS),
        tuple((seed, *(100 * r[i].error for r in runs.values())) for i, seed in enumerate(seeds)),
    )
    yield drawn(runs, epochs, rows)


def drawn(runs: Mapping[str, Sequence[Trained]], epochs: int, rows: int) -> Figure:
    """Validation error over the passes: a thin line for each seed, a thick one for their mean."""
    drawing, axes = canvas(7, 4)
    at = range(2, epochs + 1, 2)
    for (way, found), colour in zip(runs.items(), (COLOURS[6], COLOURS[4], COLOURS[0], COLOURS[1]), strict=True):
        for r in found:
            axes.plot(at, [100 * e for e in r.course], color=colour, alpha=0.22, linewidth=0.8)
        mean = [100 * sum(e) / len(e) for e in zip(*(r.course for r in found), strict=True)]
        axes.plot(at, mean, color=colour, linewidth=2.2, label=f"{way} ({mean[-1]:.2f} %)")
    last = [100 * r.course[-1] for found in runs.values() for r in found]
    axes.set_ylim(min(last) * 0.85, max(last) * 1.9)
    axes.set_xlim(2, epochs)
    axes.set_xlabel("passes over the training rows")
    axes.set_ylabel("wrong on validation rows, %")
    axes.set_title(f"MLP 512-512, {rows} digits")
    legend(axes, "upper right")
    return Figure.of(
        "course", "Validation error: each seed thin, their mean thick, the last mean in brackets.", drawing
    )


@experiment(
    chapter="Learning",
    claim="Leaving units out at random keeps a net from overfitting: it errs less on digits it has not seen.",
    source=SOURCE,
    seconds=70,
    data=("mnist",),
)
def dropout_gain(lab: Lab) -> Iterator[Finding]:
    """Dropout, with and without max-norm, against the same net without; five seeds of 1000 digits each."""
    whole = load("mnist")
    yield from findings(whole, range(lab.seed, lab.seed + 5), TUNED, lab=lab)
