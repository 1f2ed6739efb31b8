"""Double descent: the test error falls, peaks where the model can just fit every training row, and falls again.

Claim: with n training rows and N random features, the fit of least squares and least norm errs most at N = n, the
interpolation threshold, and errs less far beyond it than anywhere below; with a ridge penalty it has no such peak. A
net trained to the end on labels of which a fifth are wrong errs most at the width that can just fit them.
Source: Belkin, Hsu, Ma and Mandal, Reconciling modern machine-learning practice and the classical bias-variance
trade-off, 2019 (random Fourier features of Rahimi and Recht, 2008); Nakkiran, Kaplun, Bansal, Yang, Barak and
Sutskever, Deep double descent, 2019 (nets with wrong labels; regularisation often avoids the effect). Both publish
curves, and no number for so few rows of MNIST.
Measured, five draws of 1,000 rows and of the features (95 % t-intervals): the peak is at N = n in all, where the error
is 62.7 points (61.2 to 64.1) above the best below; with 10,000 features it is 15.2 points (14.2 to 16.3) below that
best one. With a ridge the error at N = n is 2.1 points (1.7 to 2.4) below the best for fewer features.
Nets, four draws of 4,000 rows: 64 units, which can just fit the wrong labels, err on 7.6 points more rows (5.8 to 9.4)
than 16 units and 7.4 more (5.4 to 9.4) than 400. The widest are not better than the narrow ones here: 400 units are 0.2
points worse than 16 (0.5 better to 1.0 worse), and 8 units were the best. 150 s on a core of a Xeon.

Entry: overfitting.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from sonde import methods, nets, objectives
from sonde.core import Budget, Measure, Run, fit, seed_everything
from sonde.data import load
from sonde.data.rows import Rows
from sonde.drawing import COLOURS, MUTED, SMALL, canvas, legend
from sonde.experiment import Check, Figure, Finding, Lab, Table, experiment
from sonde.recipes._seeds import end_of, over_seeds

# n training rows, m test rows, D pixels, N features, C classes

ROWS, WRONG = 1000, 0.2  # training rows of the features, and the share of wrong labels that the nets learn
NUMBERS = (10, 20, 50, 100, 200, 300, 500, 700, 850, 950, 1000, 1050, 1200, 1500, 2000, 3000, 5000, 10_000)
NET_ROWS, NARROW, MIDDLE, WIDE = 4000, 16, 64, 400
WIDTHS = (2, 4, 8, NARROW, 32, MIDDLE, 128, WIDE)
BANDWIDTH = 5.0  # of the Gaussian kernel that the features approximate; half the usual distance between two digits
RIDGE = 0.3  # 0.01 to 0.3 were tried on other draws: at 0.01 a bump of 4 points remains at N = n
BELKIN = "Belkin, Hsu, Ma and Mandal, 2019"
NAKKIRAN = "Nakkiran et al., Deep double descent, 2019"

Part = tuple[Tensor, Tensor]
"""Pictures as rows (n, D) of numbers in [0, 1], and their classes (n,)."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Percent of wrong answers in training and test, and the length of the coefficients (0 for nets)."""

    train: float
    test: float
    norm: float = 0.0


Curves = list[list[Fit]]
"""A list a seed, and in it a fit a size."""


# ---------------------------------------------------------------- least squares on random features
def cosines(x: Tensor, frequencies: Tensor, phases: Tensor) -> Tensor:
    """Random Fourier features sqrt(2) cos(x V + b): x (n, D), V (D, N), b (N,) -> (n, N)."""
    return (x @ frequencies + phases).cos_().mul_(math.sqrt(2.0))


def least_squares(phi: Tensor, y: Tensor, ridge: float = 0.0) -> Tensor:
    """The w (N, C) with the least |phi w - y|^2 + ridge |w|^2; without a ridge the shortest of them.

    phi: (n, N) float64 of full rank. y: (n, C). Near N = n by singular values, since the Gram matrix is as good as
    singular there.
    """
    n, features = phi.shape
    if not ridge and features <= 2 * n:
        return torch.linalg.lstsq(phi, y, driver="gelsd").solution
    if features <= n:
        return torch.linalg.solve(phi.T @ phi + ridge * torch.eye(features, dtype=phi.dtype), phi.T @ y)
    return phi.T @ torch.linalg.solve(phi @ phi.T + ridge * torch.eye(n, dtype=phi.dtype), y)


def features_curve(train: Part, test: Part, numbers: Sequence[int], seed: int, ridge: float = 0.0) -> list[Fit]:
    """Fits to the first N of the same random features, for every N of `numbers`.

    ridge: the penalty as a share of the mean squared length of a row's features, which is N.
    """
    (x, y), (x_test, y_test) = train, test
    generator = torch.Generator().manual_seed(seed)
    frequencies = torch.randn(x.shape[1], max(numbers), generator=generator) / BANDWIDTH
    phases = 2 * math.pi * torch.rand(max(numbers), generator=generator)
    phi, unseen = cosines(x, frequencies, phases).double(), cosines(x_test, frequencies, phases)
    target = F.one_hot(y).double()  # (n, C)
    found = []
    for number in numbers:
        seen = phi[:, :number]
        w = least_squares(seen, target, ridge * number)  # (N, C)
        test_error = percent_wrong(unseen[:, :number] @ w.float(), y_test)
        found.append(Fit(percent_wrong(seen @ w, y), test_error, math.sqrt(number) * w.norm().item()))
    return found


def percent_wrong(scores: Tensor, y: Tensor) -> float:
    """How many rows of scores (n, C) do not have their greatest number at their class, in percent."""
    return 100 * scores.argmax(1).ne(y).double().mean().item()


# ---------------------------------------------------------------- nets
def with_wrong_labels(y: Tensor, share: float, seed: int, classes: int = 10) -> Tensor:
    """The labels (n,), of which about a share is exchanged for another class, drawn evenly."""
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(len(y), generator=generator) < share
    other = (y + torch.randint(1, classes, y.shape, generator=generator)) % classes
    return torch.where(wrong, other, y)


def net_fit(train: Part, test: Part, width: int, seed: int, epochs: int) -> Fit:
    """A net with one hidden layer of so many units, after so many passes."""
    (x, y), (x_test, y_test) = train, test
    seed_everything(seed)
    net = nets.MLP(shape=(x.shape[1],), outputs=10, widths=(width,))
    run = Run(objectives.Classify(net), [methods.adam(lr=4e-3)])
    fit(run, Rows(x, y, batch_size=200, seed=seed), Budget(epochs=epochs))
    with torch.no_grad():
        return Fit(percent_wrong(net(x), y), percent_wrong(net(x_test), y_test))


# ---------------------------------------------------------------- what is found
def some_rows(n: int, test_rows: int, seed: int, fold: int = 1) -> tuple[Part, Part]:
    """n training rows of MNIST, drawn by seed, and the first test rows; squares of fold x fold pixels averaged."""
    data = load("mnist", val=0.0)
    train = data.splits["train"]
    chosen = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:n]]
    seen, unseen = data.batch(chosen), data.batch(data.splits["test"][:test_rows])
    return (F.avg_pool2d(seen.x, fold).flatten(1), seen.y), (F.avg_pool2d(unseen.x, fold).flatten(1), unseen.y)


def least(curves: Curves, sizes: Sequence[int], among: Sequence[int]) -> list[float]:
    """The least test error at the sizes `among`, a number a seed."""
    return [min(f.test for f, size in zip(curve, sizes, strict=True) if size in among) for curve in curves]


def minus(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """The difference, seed by seed."""
    return [a - b for a, b in zip(first, second, strict=True)]


def peak(curve: Sequence[Fit], sizes: Sequence[int]) -> int:
    """The size with the greatest test error."""
    return max(zip(curve, sizes, strict=True), key=lambda pair: pair[0].test)[1]


def about_features(free: Curves, ridged: Curves, numbers: Sequence[int], n: int) -> Iterator[Finding]:
    """The claims on least squares: where the peak is, that there is one, what lies beyond it, and what a ridge does."""
    settings = {"n": n, "bandwidth": BANDWIDTH, "ridge": RIDGE}

    def points(name: str, values: Sequence[float], source: str = BELKIN) -> Measure:
        return over_seeds(f"double_descent/{name}", values, "points", "neither", source, settings=settings)

    place = [peak(curve, numbers) / n for curve in free]
    name = "double_descent/features per row at the peak"
    yield Check(measure=over_seeds(name, place, "1", "neither", BELKIN, settings=settings), at_least=0.9, at_most=1.1)
    below = [k for k in numbers if k <= 0.7 * n]
    at, before, beyond = (least(free, numbers, among) for among in ([n], below, [numbers[-1]]))
    for rise in (
        points("error at N = n over the best below it", minus(at, before)),
        points("best error below N = n over that at the most features", minus(before, beyond)),
    ):
        yield rise
        yield Check(measure=end_of(rise, "lower"), at_least=0.0)
    tamed = minus(least(ridged, numbers, [n]), least(ridged, numbers, below))
    yield Check(measure=points("error at N = n over the best below it, with a ridge", tamed, NAKKIRAN), at_most=0.0)


def about_nets(curves: Curves, widths: tuple[int, int, int], settings: Mapping[str, Any]) -> Iterator[Finding]:
    """The claim on nets, at three widths that were chosen beforehand, with other seeds: the middle one errs most."""
    narrow, middle, wide = (list(errors) for errors in zip(*[[f.test for f in curve] for curve in curves], strict=True))
    for name, values in (
        (f"error of {widths[1]} units over {widths[0]}", minus(middle, narrow)),
        (f"error of {widths[1]} units over {widths[2]}", minus(middle, wide)),
    ):
        found = over_seeds(f"double_descent/nets: {name}", values, "points", "neither", NAKKIRAN, settings=settings)
        yield found
        yield Check(measure=end_of(found, "lower"), at_least=0.0)
    better = over_seeds(
        f"double_descent/nets: error of {widths[0]} units over {widths[2]}", minus(narrow, wide), "points", "neither",
        NAKKIRAN, settings=settings,
    )  # fmt: skip
    yield better


def drawn(free: Curves, ridged: Curves, numbers: Sequence[int], n: int) -> Figure:
    """Errors and the length of the coefficients over the number of features."""
    drawing, (left, right) = canvas(8.4, 4, columns=2)
    for curves, name, colour in ((free, "shortest fit", COLOURS[0]), (ridged, "ridge", COLOURS[2])):
        band(left, numbers, [[f.test for f in curve] for curve in curves], colour, f"test ({name})")
        band(right, numbers, [[f.norm for f in curve] for curve in curves], colour, name)
    band(left, numbers, [[f.train for f in curve] for curve in free], COLOURS[1], "training", dashed=True)
    for axes in (left, right):
        axes.axvline(n, color=MUTED, linewidth=1, linestyle=":")
        axes.set_xscale("log")
        axes.set_xticks([10, 100, 1000, 10_000], ["10", "100", "1,000", "10,000"])
        axes.set_xlabel("random features N")
    left.annotate("N = n", (n, 118), (5, -3), textcoords="offset points", color=MUTED, fontsize=SMALL)
    left.set_ylim(0, 125)
    left.set_yticks(range(0, 101, 20))
    left.set_ylabel("rows answered wrong, %")
    right.set_yscale("log")
    right.set_ylabel("length of the coefficients")
    legend(left, "upper left")
    legend(right)
    caption = (
        f"Least squares on random Fourier features of {n:,} digits, over {len(free)} draws of rows and features "
        "(lines: means; bands: from the least to the greatest). Where N = n there is only one "
        "fit, and it is a wild one; with more features than rows the shortest of many is taken, and the more there "
        "are, the tamer it is."
    )
    return Figure.of("features", caption, drawing)


def drawn_nets(curves: Curves, widths: Sequence[int], rows: int) -> Figure:
    """Errors over the width of the hidden layer."""
    drawing, axes = canvas(7, 4)
    band(axes, widths, [[f.test for f in curve] for curve in curves], COLOURS[0], "test (right labels)")
    band(
        axes,
        widths,
        [[f.train for f in curve] for curve in curves],
        COLOURS[1],
        "training (a fifth wrong)",
        dashed=True,
    )
    axes.set_xscale("log", base=2)
    axes.set_xticks(widths, [str(w) for w in widths])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("units of the hidden layer")
    axes.set_ylabel("rows answered wrong, %")
    legend(axes)
    caption = (
        f"Nets of one hidden layer after 250 passes over {rows:,} digits of 14 x 14 pixels, a fifth of the labels "
        f"wrong ({len(curves)} seeds; lines: means, bands: from the least to the greatest). The test error is greatest "
        "where the net becomes able to learn the wrong labels by heart."
    )
    return Figure.of("nets", caption, drawing)


def band(
    axes: Any, sizes: Sequence[int], values: list[list[float]], colour: str, label: str, dashed: bool = False
) -> None:
    """The mean over seeds of values[seed][size], and their range."""
    y = torch.tensor(values, dtype=torch.float64)
    axes.plot(sizes, y.mean(0), color=colour, label=label, linewidth=1.8, linestyle="--" if dashed else "-", marker="o",
              markersize=3)  # fmt: skip
    axes.fill_between(sizes, y.min(0).values, y.max(0).values, color=colour, alpha=0.18, linewidth=0)


@experiment(
    chapter="Learning",
    claim="The test error of a model peaks where it can just fit its training rows, and falls again as it grows.",
    source="Belkin, Hsu, Ma and Mandal, Reconciling modern machine-learning practice and the classical bias-variance "
    "trade-off, 2019; Nakkiran et al., Deep double descent, 2019",
    seconds=150,
    data=("mnist",),
)
def double_descent(lab: Lab) -> Iterator[Finding]:
    """Random features of 1,000 digits, with and without a ridge, and nets that learn wrong labels."""
    free, ridged = [], []
    for seed in range(10, 15):
        train, test = some_rows(ROWS, 4000, seed)
        free.append(features_curve(train, test, NUMBERS, seed))
        ridged.append(features_curve(train, test, NUMBERS, seed, RIDGE))
        lab.say(f"features, seed {seed}: {free[-1][NUMBERS.index(ROWS)].test:.1f} % wrong at N = n")
    yield from about_features(free, ridged, NUMBERS, ROWS)
    yield drawn(free, ridged, NUMBERS, ROWS)
    yield Table(
        "features",
        f"Test rows answered wrong in percent, means of {len(free)} draws of {ROWS:,} rows and of the features.",
        ("features", "shortest fit", "with a ridge", "training, shortest fit"),
        tuple(
            (k, fmean(a[i].test for a in free), fmean(b[i].test for b in ridged), fmean(a[i].train for a in free))
            for i, k in enumerate(NUMBERS)
        ),
    )
    curves = []
    for seed in range(10, 14):
        (x, y), test = some_rows(NET_ROWS, 10_000, seed, fold=2)
        y = with_wrong_labels(y, WRONG, seed)
        curves.append([net_fit((x, y), test, width, seed, epochs=250) for width in WIDTHS])
        lab.say(
            f"nets, seed {seed}: " + ", ".join(f"{w}: {f.test:.1f} %" for w, f in zip(WIDTHS, curves[-1], strict=True))
        )
    three = (NARROW, MIDDLE, WIDE)
    chosen = [[curve[WIDTHS.index(width)] for width in three] for curve in curves]
    yield from about_nets(chosen, three, {"rows": NET_ROWS, "wrong labels": WRONG, "epochs": 250, "test rows": 10_000})
    yield drawn_nets(curves, WIDTHS, NET_ROWS)
