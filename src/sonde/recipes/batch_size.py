"""Batch size and learning rate: how far a larger batch saves steps, and whether the gradient's noise foretells it.

Claim: to a fixed goal, steps fall as 1 / B while batches are small, if the rate grows with B, and level out once they
are large; where they turn is of the order of the noise scale tr(Sigma) / |G|^2, the variance of a row's gradient over
the squared length of the mean.
Source: Shallue et al., Measuring the effects of data parallelism on neural network training, 2019 (perfect scaling,
then diminishing returns, then none, with the rate tuned for each size); McCandlish, Kaplan and Amodei, An empirical
model of large-batch training, 2018 (the noise scale; S = S_min (1 + B_crit / B); the best rate is
eps_max / (1 + B_noise / B), so that it grows as B where B is small); Goyal et al., Accurate, large minibatch SGD, 2017
(the rate in proportion to the batch).
Different here: MNIST, one hidden layer of 64 units, plain SGD; the goal is a mean loss of 0.3 on 2000 validation rows,
looked at every few steps and read between two looks. For each size the best of a grid of rates, in factors of two, on
one seed; then other seeds at that rate.
Measured over 3 seeds (95 % t-intervals): from 8 to 64 rows steps fall from 1128 to 186, as B to the power -0.87 (-1.03
to -0.71), and the best rate grows as B to the power 0.7, from 0.2 to 0.8; from 512 to 2048 rows both stay, at 100 steps
and 0.8. The fitted critical batch is 90 rows (55 to 126), the noise scale on the way 117 (44 to 191): 1.3 times as
large (0.7 to 1.9). It is 11 times as large at the goal as at the start (4 to 17).

Entry: SGD.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sonde import methods, nets
from sonde.core import Budget, Event, Method, NonFinite, Run, Stepped, fit, seed_everything
from sonde.data import Dataset, load
from sonde.data.rows import Split
from sonde.drawing import COLOURS, MUTED, canvas, legend
from sonde.experiment import Check, Figure, Finding, Lab, Table, experiment
from sonde.methods.observe.validate import mean_scores
from sonde.objectives import Classify
from sonde.per_record import ByRecord
from sonde.recipes._seeds import fewer, over_seeds

SOURCE = "McCandlish, Kaplan and Amodei, 2018; Shallue et al., 2019"
SIZES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
GOAL = 0.3


class Goal(Method):
    """Ends a run where the mean loss on validation rows is at the goal; `reached` is the step, read between two looks.

    every: steps between looks. noise_at: losses at which the noise scale is measured, each once, on the way down.
    """

    def __init__(self, data: Dataset, goal: float, every: int, noise_at: Sequence[float] = ()) -> None:
        self.data, self.goal, self.every, self.noise_at = data, goal, every, list(noise_at)
        self.before: tuple[int, float] | None = None
        self.reached = math.inf
        self.noise: list[tuple[float, float]] = []  # loss, noise scale in rows

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if not isinstance(event, Stepped) or run.step % self.every:
            return
        with run.evaluating() as objective:
            loss = mean_scores(objective, [self.data.batch(self.data.splits["val"])])["loss"]
        while self.noise_at and loss <= self.noise_at[0]:
            self.noise_at.pop(0)
            self.noise.append((loss, noise_scale(run, self.data)))
        if loss <= self.goal:
            self.reached = float(run.step)
            if self.before is not None and self.before[1] > loss:
                step, last = self.before
                self.reached = step + (run.step - step) * (last - self.goal) / (last - loss)
            run.stop = "goal"
        self.before = (run.step, loss)


def noise_scale(run: Run, data: Dataset, rows: int = 4000) -> float:
    """tr(Sigma) / |G|^2 on the first training rows, in rows: both without bias, from each row's gradient.

    With M rows, the mean m of their squared lengths and the squared length q of their mean gradient:
    |G|^2 = (M q - m) / (M - 1) and tr(Sigma) = (m - q) M / (M - 1).
    """
    batch = data.batch(data.splits["train"][:rows])
    params = run.params("model")

    def losses(at: Any, part: Any) -> Any:
        return run.forward("model", at, part).terms["task"].value

    squares, mean, n = 0.0, {k: torch.zeros_like(p) for k, p in params.items()}, len(batch)
    by_record = ByRecord(run.objective)
    for part in batch.parts(1000):
        per = by_record(losses, params, part)
        squares += float(per.norms.double().square().sum())
        for name, g in per.weighted(torch.full((len(part),), 1 / n)).items():
            mean[name] = mean[name] + g.detach()
    q, m = sum(float(g.double().square().sum()) for g in mean.values()), squares / n
    return ((m - q) * n / (n - 1)) / ((n * q - m) / (n - 1))


@dataclass(frozen=True)
class Found:
    """steps: to the goal; inf where it was not reached. noise: (loss, noise scale) on the way."""

    steps: float
    noise: list[tuple[float, float]]


def to_goal(
    data: Dataset, size: int, lr: float, seed: int, goal: float = GOAL, most: int = 6000, noise_at: Sequence[float] = ()
) -> Found:
    """Train with batches of `size` at rate `lr` until the goal."""
    seed_everything(seed)
    shape: Any = tuple(data.batch(data.splits["train"][:1]).x.shape[1:])
    look = Goal(data, goal, every=max(1, min(20, 256 // size)), noise_at=noise_at)
    run = Run(Classify(nets.MLP(shape, len(data.classes), (64,))), [methods.sgd(lr, momentum=0.0), look])
    try:
        fit(run, Split(data, "train", batch_size=size, seed=seed), Budget(steps=most))
    except NonFinite:
        return Found(math.inf, look.noise)
    return Found(look.reached, look.noise)


def best_rates(
    data: Dataset, sizes: Sequence[int], start: float, seed: int, goal: float = GOAL
) -> dict[int, tuple[float, list[tuple[float, float]]]]:
    """For each size the rate with the fewest steps, and (rate, steps) of all that were tried.

    Rates are `start` times powers of two. The search climbs from the last size's best while that saves steps; no run
    is longer than the best one so far.
    """
    found: dict[int, tuple[float, list[tuple[float, float]]]] = {}
    lr = start
    for size in sizes:
        tried: dict[float, float] = {}

        def steps(rate: float, size: int = size, tried: dict[float, float] = tried) -> float:
            if rate not in tried:
                least = min(tried.values(), default=math.inf)
                most = 6000 if math.isinf(least) else int(1.5 * least) + 20
                tried[rate] = to_goal(data, size, rate, seed, goal, most).steps
            return tried[rate]

        steps(lr)
        for factor in (2.0, 0.5):
            while steps(lr * factor) < steps(lr):
                lr *= factor
        found[size] = (lr, sorted(tried.items()))
    return found


def fitted(sizes: Sequence[int], steps: Sequence[float]) -> tuple[float, float]:
    """S_min and B_crit of S = S_min (1 + B_crit / B), by least squares of the logarithms."""
    b, s = torch.tensor(sizes).double(), torch.tensor(steps).double().log()
    grid = torch.logspace(-1, 5, 6001, dtype=torch.float64)  # B_crit
    shape = (1 + grid[:, None] / b).log()  # (grid, sizes)
    least = (s - shape).mean(1)  # log S_min, the best for each
    error = (s - shape - least[:, None]).square().sum(1)
    i = int(error.argmin())
    return float(least[i].exp()), float(grid[i])


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """The exponent p of y ~ x^p, by least squares of the logarithms."""
    a, b = torch.tensor(x).double().log(), torch.tensor(y).double().log()
    return float(((a - a.mean()) * (b - b.mean())).sum() / ((a - a.mean()) ** 2).sum())


def findings(
    data: Dataset, sizes: Sequence[int], seeds: Sequence[int], tuning: int, lab: Lab, start: float = 0.05
) -> Iterator[Finding]:
    """Steps by size at tuned rates; where they turn, and the noise scale."""
    tuned = best_rates(data, sizes, start, tuning)
    rates = {size: lr for size, (lr, _) in tuned.items()}
    lab.say("rates: " + ", ".join(f"{s}: {lr:g}" for s, lr in rates.items()))
    middle = sizes[len(sizes) // 2]
    steps: dict[int, list[float]] = {}
    noise: list[list[tuple[float, float]]] = []
    for size in sizes:
        runs = [
            to_goal(data, size, rates[size], s, noise_at=(2.0, 1.5, 1.0, 0.7, 0.5, 0.4, GOAL) if size == middle else ())
            for s in seeds
        ]
        steps[size] = [r.steps for r in runs]
        noise += [r.noise for r in runs if r.noise]
    lab.say("steps: " + ", ".join(f"{s}: {sum(n) / len(n):.0f}" for s, n in steps.items()))
    settings = {"goal": f"validation loss {GOAL}", "rates": {str(s): lr for s, lr in rates.items()}}

    def each(name: str, values: Sequence[float], unit: str) -> Any:
        return over_seeds(f"batch size/{name}", values, unit, "neither", SOURCE, "val", settings)

    by_seed = [[steps[s][i] for s in sizes] for i in range(len(seeds))]
    small, large = list(sizes[:4]), list(sizes[-3:])
    falls = each(f"steps go as B to the power, {small[0]} to {small[-1]}", [slope(small, r[:4]) for r in by_seed], "1")
    yield Check(measure=falls, at_least=-1.2, at_most=-0.75, published=-1.0, published_in="Shallue et al., 2019")
    levels = each(
        f"steps go as B to the power, {large[0]} to {large[-1]}", [slope(large, r[-3:]) for r in by_seed], "1"
    )
    yield Check(measure=levels, at_least=-0.5, at_most=0.15, published=0.0, published_in="Shallue et al., 2019")
    grows = slope(small, [rates[s] for s in small])
    linear = over_seeds(
        "batch size/best rate goes as B to the power, small", [grows], "1", "neither", SOURCE, "val", settings
    )
    yield Check(measure=linear, at_least=0.6, at_most=1.3, published=1.0, published_in="Goyal et al., 2017")
    fits = [fitted(sizes, r) for r in by_seed]
    seen = each("critical batch, fitted", [b for _, b in fits], "rows")
    yield seen
    foretold = each("noise scale, mean of logs on the way", [_geometric([b for _, b in n]) for n in noise], "rows")
    yield foretold
    ratio = each("noise scale over critical batch", [foretold.value / b for _, b in fits], "1")
    yield Check(measure=ratio, at_least=0.1, at_most=10.0)  # the order of magnitude is what is claimed
    wider = each("noise scale at the goal over that at the start", [n[-1][1] / n[0][1] for n in noise], "times")
    yield Check(measure=wider, at_least=1.0)
    yield Table(
        "steps",
        f"Steps to a validation loss of {GOAL}, mean over {len(seeds)} seeds at the rate that was best on another.",
        ("batch size", "best rate", "steps", "rows read"),
        tuple((s, rates[s], sum(n) / len(n), s * sum(n) / len(n)) for s, n in steps.items()),
    )
    yield drawn(steps, fits, foretold.value)
    yield rates_drawn(tuned)


def drawn(steps: Mapping[int, Sequence[float]], fits: Sequence[tuple[float, float]], foretold: float) -> Figure:
    """Steps by size, with the line of perfect scaling, the fitted curve and where the noise scale says they turn."""
    drawing, axes = canvas(7, 4.4)
    sizes = torch.tensor(list(steps)).double()
    least, turn = _geometric([s for s, _ in fits]), _geometric([b for _, b in fits])
    for i in range(len(fits)):
        axes.loglog(sizes, [n[i] for n in steps.values()], "o", color=COLOURS[0], alpha=0.45, markersize=5)
    fine = torch.logspace(math.log10(float(sizes[0])), math.log10(float(sizes[-1])), 100).double()
    axes.loglog(
        fine, least * (1 + turn / fine), color=COLOURS[0], linewidth=2, label="$S_{min}(1 + B_{crit}/B)$, fitted"
    )
    first = sum(steps[int(sizes[0])]) / len(fits)
    axes.loglog(fine, first * sizes[0] / fine, ":", color=MUTED, linewidth=1.4, label="perfect scaling, steps as 1/B")
    axes.axvline(turn, color=COLOURS[0], linewidth=1, linestyle=(0, (4, 3)), label=f"critical batch, {turn:.0f} rows")
    axes.axvline(
        foretold, color=COLOURS[1], linewidth=1.4, linestyle=(0, (4, 3)), label=f"noise scale, {foretold:.0f} rows"
    )
    axes.set_ylim(0.6 * least, 1.6 * first)
    axes.set_xticks(sizes, [f"{int(s)}" for s in sizes])
    axes.minorticks_off()
    axes.set_xlabel("batch size B, rows")
    axes.set_ylabel(f"steps to a validation loss of {GOAL}")
    axes.set_title("MNIST, 64 hidden units, SGD at its best rate for each size")
    legend(axes, "upper right")
    return Figure.of("steps", "Steps to the goal by batch size, a dot for each seed; both axes logarithmic.", drawing)


def rates_drawn(tuned: Mapping[int, tuple[float, list[tuple[float, float]]]]) -> Figure:
    """The best rate by size, with the line of proportion."""
    drawing, axes = canvas(7, 3.6)
    sizes, best = list(tuned), [lr for lr, _ in tuned.values()]
    for size, (_, tried) in tuned.items():
        axes.loglog([size] * len(tried), [lr for lr, _ in tried], ".", color=MUTED, alpha=0.5, markersize=5)
    axes.loglog(sizes, best, "o-", color=COLOURS[0], linewidth=2, label="best of those tried (grey)")
    line = [best[0] * s / sizes[0] for s in sizes]
    axes.loglog(sizes, line, ":", color=MUTED, linewidth=1.4, label="in proportion to B")
    axes.set_ylim(min(lr for _, t in tuned.values() for lr, _ in t) / 1.5, 4 * max(best))
    axes.set_xticks(sizes, [str(s) for s in sizes])
    axes.minorticks_off()
    axes.set_xlabel("batch size B, rows")
    axes.set_ylabel("learning rate")
    axes.set_title("The rate with the fewest steps")
    legend(axes, "upper left")
    return Figure.of("rates", "The best rate grows with the batch, and then no longer; both axes logarithmic.", drawing)


def _geometric(values: Sequence[float]) -> float:
    return math.exp(sum(math.log(v) for v in values) / len(values))


@experiment(
    chapter="Learning",
    claim="A larger batch saves steps in proportion, at a larger rate, up to about the gradient's noise scale.",
    source=SOURCE,
    seconds=60,
    data=("mnist",),
)
def batch_size_scaling(lab: Lab) -> Iterator[Finding]:
    """Steps to a goal by batch size, each at its best rate, and the noise scale from each row's gradient."""
    data = fewer(load("mnist"), train=54_000, val=2000, seed=lab.seed)
    yield from findings(data, SIZES, range(lab.seed, lab.seed + 3), tuning=lab.seed + 100, lab=lab)
