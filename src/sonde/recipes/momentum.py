"""Momentum against Nesterov: their rates on a bowl, known in closed form, and steps on a small net.

Claim: on a quadratic whose curvatures lie in [mu, L], kappa = L / mu, the distance to the lowest point shrinks by
(kappa - 1) / (kappa + 1) a step with gradient descent at its best rate, by (sqrt kappa - 1) / (sqrt kappa + 1) with
momentum at its best, and by 1 - 1 / sqrt kappa with Nesterov's constants. So steps grow as kappa without momentum and
as its square root with it. On a net, at rates tuned for each, the two are far nearer to each other than to none.
Source: Polyak, Some methods of speeding up the convergence of iteration methods, 1964 (both first rates); Nesterov,
Introductory lectures on convex optimization, 2004, theorem 2.2.3: f(x_k) - f* <= (1 - 1 / sqrt kappa)^k
(f(x_0) - f* + mu / 2 |x_0 - x*|^2). Sutskever, Martens, Dahl and Hinton, On the importance of initialization and
momentum in deep learning, 2013, is why both are compared at momentum 0.99, where they report the difference.
The best constants put a double root at the slowest direction: the error is (1 + c k) r^k there, c from its first step.
The rates here are measured after that factor is divided out; without it they would seem larger for any number of steps.
Measured at kappa = 100: 0.9802, 0.8182 and 0.9000 a step, as theory has them to 1e-6; Nesterov's heights stay within
the bound, at most 0.957 of it. Over kappa from 10 to 3000 steps grow as kappa to the power 1.00 without momentum, 0.53
with either. On the net (8 seeds, steps to fit 8 x 8 digits to a loss of 0.05, 95 % t-intervals): none 129, momentum 0.9
85, Nesterov 0.9 72, which is 15 % fewer than momentum (8 to 22); at 0.99 245 and 246, not to be told apart (Nesterov
from 19 % fewer to 22 % more), and both slower than none: so high a momentum does not pay within so few steps.

Entry: momentum; Nesterov; gradient descent; SGD.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sonde import methods, nets
from sonde.core import (
    Batch,
    Budget,
    Event,
    Loss,
    Measure,
    Method,
    NonFinite,
    Objective,
    Run,
    Stepped,
    Term,
    fit,
    seed_everything,
)
from sonde.data import Dataset, load
from sonde.data.rows import Rows, Split
from sonde.drawing import COLOURS, MUTED, canvas, legend
from sonde.experiment import Check, Figure, Finding, Lab, Table, experiment
from sonde.objectives import Classify
from sonde.recipes._seeds import Course, end_of, over_seeds

SOURCE = "Polyak, 1964; Nesterov, 2004, sec. 2.2"


# ---------------------------------------------------------------- a bowl
@dataclass(frozen=True)
class Tuned:
    """A rule at its best constants for curvatures in [1, kappa]. root: the factor a step that theory gives."""

    name: str
    lr: Callable[[float], float]
    momentum: Callable[[float], float]
    nesterov: bool
    root: Callable[[float], float]

    def method(self, kappa: float) -> Method:
        """The rule that trains nets, at these constants."""
        return methods.sgd(self.lr(kappa), momentum=self.momentum(kappa), nesterov=self.nesterov)


TUNED = (
    Tuned("gradient descent", lambda k: 2 / (1 + k), lambda k: 0.0, False, lambda k: (k - 1) / (k + 1)),
    Tuned(
        "momentum",
        lambda k: 4 / (1 + math.sqrt(k)) ** 2,
        lambda k: ((math.sqrt(k) - 1) / (math.sqrt(k) + 1)) ** 2,
        False,
        lambda k: (math.sqrt(k) - 1) / (math.sqrt(k) + 1),
    ),
    Tuned(
        "Nesterov",
        lambda k: 1 / k,
        lambda k: (math.sqrt(k) - 1) / (math.sqrt(k) + 1),
        True,
        lambda k: 1 - 1 / math.sqrt(k),
    ),
)


class Bowl(Objective):
    """Half the sum of curvature times coordinate squared; the lowest point is 0. It begins with ones, in float64."""

    curvatures: Tensor  # (D,)

    def __init__(self, curvatures: Tensor) -> None:
        super().__init__()
        self.register_buffer("curvatures", curvatures.double())
        self.at = nn.Parameter(torch.ones(len(curvatures), dtype=torch.float64))

    def forward(self, turn: str, batch: Batch) -> Loss:
        """See `Objective.forward`."""
        return Loss({"height": Term((self.curvatures * self.at**2).sum() / 2, "penalty")})


class Places(Method):
    """Keeps the parameters after each step, and ends where they are within `near` of 0, if it is given."""

    def __init__(self, near: float = 0.0) -> None:
        self.near, self.points = near, [torch.empty(0)]

    def setup(self, run: Run) -> None:
        """Keep the start."""
        self.points = [run.params("model")["at"].detach().clone()]

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if isinstance(event, Stepped):
            self.points.append(run.params("model")["at"].detach().clone())
            if self.near and float(self.points[-1].norm()) <= self.near:
                run.stop = "near"


def walk(curvatures: Tensor, rule: Method, steps: int, near: float = 0.0) -> Tensor:
    """Where a rule has been: (steps + 1, D), from ones."""
    places = Places(near)
    fit(Run(Bowl(curvatures), [rule, places]), Rows(torch.zeros(1, 1), batch_size=1), Budget(steps=steps))
    return torch.stack(places.points)


def measured_root(walked: Tensor, double: bool) -> float:
    """The factor a step in the slowest direction, the first: |e_k| = r^k, or (1 + c k) r^k at a double root.

    There c follows from the first step, c = e_1 / r - 1, and r from the last by solving for it.
    """
    e = walked[:, 0].abs()
    k = len(e) - 1
    if not double:
        return float((e[-1] / e[0]) ** (1 / k))
    low, high = 1e-6, 1.0 - 1e-12
    for _ in range(200):  # (1 + c(r) k) r^k grows with r where it is positive
        r = (low + high) / 2
        predicted = (1 + (float(e[1] / e[0]) / r - 1) * k) * r**k
        low, high = (r, high) if predicted < float(e[-1] / e[0]) else (low, r)
    return (low + high) / 2


def rates(kappa: float = 100.0, steps: int = 150) -> Iterator[Finding]:
    """Each rule's factor a step against theory's, and Nesterov's bound at every step."""
    curvatures = torch.tensor([1.0, kappa])
    for tuned in TUNED:
        path = walk(curvatures, tuned.method(kappa), steps)
        root, theory = measured_root(path, double=tuned.name != "gradient descent"), tuned.root(kappa)
        text = f"momentum/{tuned.name}: factor a step, kappa {kappa:g}"
        settings = {"theory": theory, "steps": steps}
        yield Check(
            measure=_exact(text, root, "1", settings),
            at_least=theory - 1e-3,
            at_most=theory + 1e-3,
            published=theory,
            published_in=SOURCE,
        )
    spread = torch.logspace(0, math.log10(kappa), 30)
    nesterov = TUNED[2]
    ahead = walk(spread, nesterov.method(kappa), 3 * steps)  # torch keeps the point looked ahead to, y_k
    x = torch.cat([ahead[:1], ahead[:-1] * (1 - nesterov.lr(kappa) * spread.double())])  # x_(k+1) = y_k - g(y_k) / L
    height = (spread * x**2).sum(1) / 2
    k = torch.arange(len(height), dtype=torch.float64)
    bound = (1 - 1 / math.sqrt(kappa)) ** k * (height[0] + (x[0] ** 2).sum() / 2)
    worst = float((height / bound).max())
    yield Check(
        measure=_exact("momentum/Nesterov: largest height over its bound", worst, "1", {"curvatures": 30}), at_most=1.0
    )


def steps_by_kappa(
    kappas: Sequence[float] = (10, 30, 100, 300, 1000, 3000), near: float = 1e-6
) -> Mapping[str, list[int]]:
    """Steps from ones to a distance of `near`, by rule, for 30 curvatures spread evenly over the decades to kappa."""
    found: dict[str, list[int]] = {}
    for tuned in TUNED:
        found[tuned.name] = [
            len(walk(torch.logspace(0, math.log10(k), 30), tuned.method(k), 40 * int(k) + 1000, near)) - 1
            for k in kappas
        ]
    return found


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """The exponent p of y ~ x^p, by least squares of the logarithms."""
    a, b = torch.tensor(x).double().log(), torch.tensor(y).double().log()
    return float(((a - a.mean()) * (b - b.mean())).sum() / ((a - a.mean()) ** 2).sum())


def scaling(kappas: Sequence[float] = (10, 30, 100, 300, 1000, 3000)) -> Iterator[Finding]:
    """How steps grow with kappa: as kappa without momentum, as its root with it."""
    found = steps_by_kappa(kappas)
    for name, steps in found.items():
        low, high = (0.9, 1.1) if name == "gradient descent" else (0.4, 0.62)
        text = f"momentum/{name}: steps grow as kappa to the power"
        published = 1.0 if name == "gradient descent" else 0.5
        measure = _exact(text, slope(kappas, steps), "1", {"kappas": list(kappas)})
        yield Check(measure=measure, at_least=low, at_most=high, published=published, published_in=SOURCE)
    drawing, axes = canvas(7, 4)
    for (name, steps), colour in zip(found.items(), (COLOURS[6], COLOURS[0], COLOURS[1]), strict=True):
        axes.loglog(kappas, steps, "o-", color=colour, linewidth=2, label=name)
    ks = torch.tensor(kappas).double()
    axes.loglog(ks, 7 * ks, ":", color=MUTED, linewidth=1.2, label="proportional to $\\kappa$ and $\\sqrt{\\kappa}$")
    axes.loglog(ks, 7 * ks.sqrt(), ":", color=MUTED, linewidth=1.2)
    axes.set_xlabel("condition number $\\kappa$")
    axes.set_ylabel("steps to a distance of $10^{-6}$")
    axes.set_title("A bowl of 30 curvatures")
    legend(axes, "upper left")
    yield Figure.of(
        "kappa", "Steps by condition number, each rule at its best constants; both axes logarithmic.", drawing
    )
    yield _curves(100.0)


def _curves(kappa: float) -> Figure:
    drawing, axes = canvas(7, 4)
    for tuned, colour in zip(TUNED, (COLOURS[6], COLOURS[0], COLOURS[1]), strict=True):
        distance = walk(torch.tensor([1.0, kappa]), tuned.method(kappa), 200).norm(dim=1)
        axes.semilogy(distance, color=colour, linewidth=2, label=f"{tuned.name}, measured")
        k = torch.arange(201)
        axes.semilogy(k, 1.41 * tuned.root(kappa) ** k, ":", color=colour, linewidth=1.4)
    axes.plot([], [], ":", color=MUTED, label="theory's factor a step")
    axes.set_xlim(0, 200)
    axes.set_ylim(1e-10, 20)
    axes.set_xlabel("step")
    axes.set_ylabel("distance to the lowest point")
    axes.set_title(f"A ravine, $\\kappa$ = {kappa:g}")
    legend(axes, "lower left")
    return Figure.of("ravine", "Distance by step; dotted, a straight line with the slope that theory gives.", drawing)


# ---------------------------------------------------------------- a net
class Reached(Course):
    """Ends a run when the mean training loss of the last `window` steps is at the target."""

    def __init__(self, target: float, window: int = 10) -> None:
        super().__init__(every_step=True)
        self.target, self.window = target, window

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        super().on(run, event)
        late = self.losses[-self.window :]
        if isinstance(event, Stepped) and len(late) == self.window and sum(late) / self.window <= self.target:
            run.stop = "target"


def steps_on_net(data: Dataset, rule: Method, seed: int, target: float = 0.05, steps: int = 400) -> float:
    """Steps of batches of 128 until a small net fits the digits to a loss of `target`; `steps` if it takes longer."""
    seed_everything(seed)
    shape: Any = tuple(data.batch(data.splits["train"][:1]).x.shape[1:])
    reached = Reached(target)
    run = Run(Classify(nets.MLP(shape, len(data.classes), (64, 64))), [methods.FitInputs(), rule, reached])
    try:
        fit(run, Split(data, "train", batch_size=128, seed=seed), Budget(steps=steps))
    except NonFinite:
        return float(steps)
    return float(run.step)


NET_RULES: Mapping[str, Callable[[float], Method]] = {
    "no momentum": lambda lr: methods.sgd(lr, momentum=0.0),
    "momentum 0.9": lambda lr: methods.sgd(lr, momentum=0.9, nesterov=False),
    "Nesterov 0.9": lambda lr: methods.sgd(lr, momentum=0.9),
    "momentum 0.99": lambda lr: methods.sgd(lr, momentum=0.99, nesterov=False),
    "Nesterov 0.99": lambda lr: methods.sgd(lr, momentum=0.99),
}


def on_net(
    data: Dataset, seeds: Sequence[int], rates: Sequence[float], tuning: Sequence[int], lab: Lab | None = None
) -> Iterator[Finding]:
    """Steps to fit the digits by rule, each at its best rate on other seeds; pairs share weights and order."""
    found: dict[str, list[float]] = {}
    chosen: dict[str, float] = {}
    for name, rule in NET_RULES.items():
        chosen[name] = min(rates, key=lambda lr: sum(steps_on_net(data, rule(lr), s) for s in tuning))  # noqa: B023
        found[name] = [steps_on_net(data, rule(chosen[name]), s) for s in seeds]
        if lab is not None:
            lab.say(f"{name}: rate {chosen[name]:.3g}, steps {found[name]}")
    settings = {"rates": dict(chosen), "grid": list(rates), "target": 0.05, "batch": 128}
    source = "Sutskever et al., 2013"
    for beta in ("0.9", "0.99"):
        pairs = zip(found[f"momentum {beta}"], found[f"Nesterov {beta}"], strict=True)
        ratios = [math.log(a / b) for a, b in pairs]
        text = f"momentum/net: log of steps, momentum over Nesterov, {beta}"
        yield over_seeds(text, ratios, "nats", "neither", source, "train", settings)
    none = [math.log(a / b) for a, b in zip(found["no momentum"], found["Nesterov 0.9"], strict=True)]
    apart = [abs(math.log(a / b)) for a, b in zip(found["momentum 0.9"], found["Nesterov 0.9"], strict=True)]
    plain = over_seeds(
        "momentum/net: log of steps, none over Nesterov 0.9", none, "nats", "neither", source, "train", settings
    )
    yield Check(measure=end_of(plain, "lower"), at_least=0.0)
    nearer = [a - b for a, b in zip(none, apart, strict=True)]
    text = "momentum/net: gain of momentum less the gap between the two, logs of steps"
    yield Check(
        measure=end_of(over_seeds(text, nearer, "nats", "neither", source, "train", settings), "lower"), at_least=0.0
    )
    yield Table(
        "net",
        f"Steps until a net of 64 and 64 units fits 8 x 8 digits to a loss of 0.05, mean over {len(seeds)} seeds.",
        ("rule", "best rate", "steps"),
        tuple((name, chosen[name], sum(steps) / len(steps)) for name, steps in found.items()),
    )


def _exact(name: str, value: float, unit: str, settings: Mapping[str, Any]) -> Measure:
    how = {"interval": "none: computed without randomness", **settings}
    return Measure(name, value, unit, 1, "neither", SOURCE, None, "none", how)


@experiment(
    chapter="Learning",
    claim="On a bowl momentum and Nesterov need about the root of gradient descent's steps, as theory has it.",
    source="Polyak, 1964; Nesterov, 1983 and 2004; Sutskever et al., 2013",
    seconds=35,
)
def momentum_rates(lab: Lab) -> Iterator[Finding]:
    """Rates on quadratics against their closed forms, and momentum against Nesterov on a small net."""
    yield from rates()
    yield from scaling()
    digits = load("digits")
    seeds = range(lab.seed, lab.seed + 8)
    yield from on_net(digits, seeds, [2.0**e for e in range(-7, 1)], (lab.seed + 100, lab.seed + 101), lab)
