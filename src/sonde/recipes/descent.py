"""Optimisers on four landscapes, their paths drawn: a ravine, Rosenbrock's valley, a saddle and a plateau.

Claim: no one rule is best everywhere. Momentum crosses a ravine and a bent valley in a fraction of gradient descent's
steps; near a saddle gradient descent and momentum need the longer the closer to it they begin, by a known number of
steps, and rules that divide by the gradient's own size do not; on a plateau, where the gradient says little, only those
move.
Source: Polyak, Some methods of speeding up the convergence of iteration methods, 1964 (momentum); Nesterov, 1983;
Rosenbrock, An automatic method for finding the greatest or least value of a function, 1960; Duchi, Hazan and Singer,
2011 (AdaGrad); Tieleman and Hinton, 2012 (RMSProp); Kingma and Ba, 2015 (Adam); Dauphin et al., Identifying and
attacking the saddle point problem, 2014; Du et al., Gradient descent can take exponential time to escape saddle
points, 2017.
The landscapes are the loss itself, a term of the parameters alone, so that the rules that train nets walk here step by
step. Each rule has the rate that reaches the target in the fewest steps, of the same 17 rates from 0.001 to 10, without
leaving the picture on its way; other settings are those in use. No noise: what is measured is exact, and has no
interval.
Measured, steps to the target of gradient descent, momentum, Nesterov, AdaGrad, RMSProp and Adam: ravine 422, 141, 97,
461, 318, 147; Rosenbrock's valley over 2000, 239, 873, over 2000, over 2000, 437; saddle, from a millionth beside the
ridge, 33, 55, 20, 6, 6, 22; plateau 227, 30, 93, 9, 9, 38. From a saddle, at a rate of 0.01, a thousandth of the offset
costs gradient descent 694 steps and momentum 110, both as the closed form foresees to within a step, and the rules that
divide by the gradient's size one at most.

Entry: gradient descent; momentum; Nesterov; AdaGrad; RMSProp; Adam; saddle points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from sonde import methods
from sonde.core import Batch, Budget, Event, Loss, Measure, Method, Objective, Run, Stepped, Term, fit
from sonde.data.rows import Rows
from sonde.drawing import COLOURS, INK, canvas, legend
from sonde.experiment import Check, Figure, Finding, Lab, Table, experiment

Height = Callable[[Tensor, Tensor], Tensor]
"""Of x and y, of any shape: the landscape's height there."""


@dataclass(frozen=True)
class Landscape:
    """A function of the plane, where to begin and when one has arrived.

    arrived: whether a point (x, y) at a height is where one wants to be. window: (left, right, bottom, top) as drawn; a
    walk that leaves it is lost.
    lowest: the least height in the window, for the spacing of contours.
    """

    name: str
    height: Height
    start: tuple[float, float]
    arrived: Callable[[float, float, float], bool]
    window: tuple[float, float, float, float]
    lowest: float
    caption: str


def bowl(kappa: float, turned: float) -> Height:
    """A quadratic bowl whose curvatures are 1 and kappa, turned by so many degrees.

    Turned, since rules that scale each coordinate by itself would have no ravine to cross along an axis.
    """
    c, s = math.cos(math.radians(turned)), math.sin(math.radians(turned))
    return lambda x, y: ((c * x + s * y) ** 2 + kappa * (c * y - s * x) ** 2) / 2


RAVINE = Landscape(
    "ravine",
    bowl(100.0, 30.0),
    (2.0, 2.0),
    lambda x, y, f: f < 1e-6,
    (-1.2, 3.2, -1.3, 2.7),
    0.0,
    "A ravine: a bowl a hundred times as steep across as along. Steps to a height below 1e-6.",
)
ROSENBROCK = Landscape(
    "rosenbrock",
    lambda x, y: (1 - x) ** 2 + 100 * (y - x * x) ** 2,
    (-1.2, 1.0),  # Rosenbrock's own
    lambda x, y, f: f < 1e-4,
    (-2.0, 2.0, -1.0, 3.0),
    0.0,
    "Rosenbrock's valley, bent and nearly flat along its floor. Steps to a height below 1e-4.",
)
SADDLE = Landscape(
    "saddle",
    lambda x, y: (x * x - y * y) / 2 + y**4 / 6,  # the last term: so that there is a hollow, at y = sqrt(3 / 2)
    (1.0, 1e-6),
    lambda x, y, f: f < -0.374,
    (-1.1, 1.3, -0.6, 2.0),
    -0.375,
    "A saddle at (0, 0), begun a millionth beside the ridge. Steps to the hollow, a height below -0.374.",
)
PLATEAU = Landscape(
    "plateau",
    lambda x, y: 1 - torch.exp(-(x * x + y * y) / 2),
    (3.4, 2.6),
    lambda x, y, f: f < 1e-3,
    (-3.6, 3.8, -3.0, 3.6),
    0.0,
    "A plateau round a hollow; at the start the slope is 0.0005. Steps to a height below 0.001.",
)
LANDSCAPES = (RAVINE, ROSENBROCK, SADDLE, PLATEAU)

RULES: Mapping[str, Callable[[float], Method]] = {
    "gradient descent": lambda lr: methods.sgd(lr, momentum=0.0),
    "momentum": lambda lr: methods.sgd(lr, momentum=0.9, nesterov=False),
    "Nesterov": lambda lr: methods.sgd(lr, momentum=0.9),
    "AdaGrad": lambda lr: methods.adagrad(lr),
    "RMSProp": lambda lr: methods.rmsprop(lr),
    "Adam": lambda lr: methods.adam(lr),
}
SCALED = ("AdaGrad", "RMSProp", "Adam")  # they divide by the size of the gradients they have seen
RATES = tuple(10 ** (e / 4) for e in range(-12, 5))
MOST = 2000  # steps


class Walkers(Objective):
    """Points on a landscape, each of which is to be as low as can be: terms of the parameters alone.

    A point that `leaves` has no further part in the sum, so that no gradient reaches it and it stays where it is.
    """

    def __init__(self, height: Height, start: Sequence[float], count: int) -> None:
        super().__init__()
        self.height = height
        self.at = nn.ParameterList(nn.Parameter(torch.tensor(start, dtype=torch.float64)) for _ in range(count))
        self.walking = list(range(count))

    def forward(self, turn: str, batch: Batch) -> Loss:
        """See `Objective.forward`."""
        points = torch.stack([self.at[i] for i in self.walking])  # (walkers, 2)
        return Loss({"height": Term(self.height(points[:, 0], points[:, 1]).sum(), "penalty")})


@dataclass(frozen=True)
class Path:
    """Where a walker has been, (steps + 1, 2), and whether it has arrived."""

    points: Tensor
    arrived: bool

    @property
    def steps(self) -> int:
        """How many it took."""
        return len(self.points) - 1


class Together(Method):
    """Lets walkers go with one rule at a rate each, all in one run, until they arrive or are lost: leave the window."""

    def __init__(self, landscape: Landscape, rates: Sequence[float]) -> None:
        self.landscape, self.rates = landscape, rates
        self.points = [[torch.tensor(landscape.start, dtype=torch.float64)] for _ in rates]
        self.arrived = [False for _ in rates]

    def pace(self) -> float:
        """See `sonde.methods.optimise.descend.Paces`."""
        return 1.0

    def paces(self, run: Run, turn: str) -> dict[str, float]:
        """See `sonde.methods.optimise.descend.Paces`: a walker's rate, since the rule's own is 1."""
        return {f"at.{i}": rate for i, rate in enumerate(self.rates)}

    def on(self, run: Run, event: Event) -> None:
        """See `Method.on`."""
        if not isinstance(event, Stepped):
            return
        walkers: Any = run.objective
        going = list(walkers.walking)
        at = torch.stack([walkers.at[i].detach() for i in going])  # (walkers, 2)
        heights = self.landscape.height(at[:, 0], at[:, 1]).tolist()
        left, right, bottom, top = self.landscape.window
        for i, (x, y), height, point in zip(going, at.tolist(), heights, at, strict=True):
            self.points[i].append(point)
            self.arrived[i] = self.landscape.arrived(x, y, height)
            if self.arrived[i] or not (left <= x <= right and bottom <= y <= top):
                walkers.walking.remove(i)
        if not walkers.walking:
            run.stop = "all have arrived or are lost"


def walked(landscape: Landscape, rule: Callable[[float], Method], rates: Sequence[float], steps: int) -> list[Path]:
    """The paths of a rule at each of the rates, at most so many steps long."""
    walkers = Walkers(landscape.height, landscape.start, len(rates))
    together = Together(landscape, rates)
    nothing = Rows(torch.zeros(1, 1), batch_size=1)  # a landscape reads no data
    fit(Run(walkers, [rule(1.0), together]), nothing, Budget(steps=steps))
    return [Path(torch.stack(p), a) for p, a in zip(together.points, together.arrived, strict=True)]


def quickest(
    landscape: Landscape, rule: Callable[[float], Method], rates: Sequence[float], steps: int
) -> tuple[float, Path]:
    """The rate with which a rule arrives in the fewest steps, and its path; where none arrives, the lowest end."""

    def score(path: Path) -> tuple[bool, float]:
        end = float(landscape.height(path.points[-1, 0], path.points[-1, 1]))
        return not path.arrived, path.steps if path.arrived else end if math.isfinite(end) else math.inf

    return min(zip(rates, walked(landscape, rule, rates, steps), strict=True), key=lambda pair: score(pair[1]))


# ---------------------------------------------------------------- saddles
def growth(lr: float, momentum: float = 0.0) -> float:
    """The factor by which a step takes y away from a saddle of curvature -1: the larger root z of a recurrence.

    y' = (1 + momentum + lr) y - momentum y_before, hence z^2 - (1 + momentum + lr) z + momentum = 0.
    """
    b = 1 + momentum + lr
    return (b + math.sqrt(b * b - 4 * momentum)) / 2


def escape(
    rule: Callable[[float], Method], lr: float, offset: float, out: float = 0.1, steps: int = 3000
) -> int | None:
    """Steps from (1, offset) until |y| is `out`, where the saddle is still straight; None if it takes more."""
    leaves = replace(SADDLE, start=(1.0, offset), arrived=lambda x, y, f: abs(y) >= out)
    (path,) = walked(leaves, rule, [lr], steps)
    return path.steps if path.arrived else None


def foreseen(lr: float, offset: float, momentum: float = 0.0, out: float = 0.1) -> float:
    """Steps until the growing mode alone is `out`; it begins as the offset's part along the larger root.

    With y_(-1) = y_0 = offset: y_k = A z^k + B w^k, A = offset (1 - w) / (z - w), w the smaller root.
    """
    z = growth(lr, momentum)
    w = momentum / z
    return math.log(out / (offset * (1 - w) / (z - w))) / math.log(z)


def saddles(lr: float = 0.01) -> Iterator[Finding]:
    """Steps away from a saddle by rule and by how near one begins, against the closed form."""
    offsets = (1e-3, 1e-6, 1e-9)
    found = {name: [escape(rule, lr, o) for o in offsets] for name, rule in RULES.items()}
    yield Table(
        "escape",
        f"Steps away from a saddle, to |y| = 0.1, by how far beside the ridge one begins; rate {lr:g} for every rule.",
        ("rule", *(f"{o:g}" for o in offsets), *(f"foreseen {o:g}" for o in offsets)),
        tuple(
            (
                name,
                *steps,
                *(
                    round(foreseen(lr, o, 0.9 if name == "momentum" else 0.0), 1)
                    if name in ("gradient descent", "momentum")
                    else None
                    for o in offsets
                ),
            )
            for name, steps in found.items()
        ),
    )
    settings = {"rate": lr, "offsets": list(offsets)}
    for name, momentum in (("gradient descent", 0.0), ("momentum", 0.9)):
        off = max(abs((s or math.inf) - foreseen(lr, o, momentum)) for s, o in zip(found[name], offsets, strict=True))
        text = f"descent/saddle: {name} off the closed form by"
        yield Check(measure=_exact(text, off, "steps", "linear recurrence at a saddle", settings), at_most=1.5)
    for name, steps in found.items():
        more = (steps[1] or math.inf) - (steps[0] or math.nan)
        measure = _exact(
            f"descent/saddle: {name}, steps more for a thousandth of the offset", more, "steps", SOURCES, settings
        )
        yield Check(measure=measure, at_most=2) if name in SCALED else Check(measure=measure, at_least=50)


# ---------------------------------------------------------------- drawing
def drawn(landscape: Landscape, paths: Mapping[str, tuple[float, Path]]) -> Figure:
    """The landscape's contours and each rule's path: on the left with the gradient as it is, on the right scaled."""
    drawing, axes = canvas(10, 5.4, columns=2)
    left, right, bottom, top = landscape.window
    x, y = torch.meshgrid(
        torch.linspace(left, right, 140, dtype=torch.float64),
        torch.linspace(bottom, top, 140, dtype=torch.float64),
        indexing="xy",
    )
    above = landscape.height(x, y) - landscape.lowest
    shown = above.clamp_min(1e-4).sqrt()  # closer contours near the ground, where rules spend their steps
    for ax, names in zip(axes, ([n for n in paths if n not in SCALED], list(SCALED)), strict=True):
        ax.grid(False)
        ax.imshow(shown, extent=landscape.window, origin="lower", aspect="auto", cmap="Blues", alpha=0.28)
        ax.contour(x.numpy(), y.numpy(), shown.numpy(), levels=16, colors="#9fb3c8", linewidths=0.5)
        for name, colour, wide in zip(names, COLOURS, (3.0, 2.0, 1.2), strict=False):  # what lies below shows
            lr, path = paths[name]
            points, steps = path.points, path.steps
            label = f"{name}: {steps} steps" if path.arrived else f"{name}: not in {steps} steps"
            ax.plot(points[:, 0], points[:, 1], "-", color=colour, linewidth=wide, label=f"{label}, rate {lr:.2g}")
            few = points[:: max(1, steps // 60)]
            ax.plot(few[:, 0], few[:, 1], "o", color=colour, markersize=1.6 + wide)
        ax.plot(*landscape.start, "o", color=INK, markersize=7, zorder=5)
        ax.set_xlim(left, right)
        ax.set_ylim(bottom, top)
    axes[0].set_title(f"{landscape.name.capitalize()}: the gradient as it is")
    axes[1].set_title("divided by the size of gradients seen")
    for ax in axes:
        legend(ax, "upper center")
        ax.get_legend().set_bbox_to_anchor((0.5, -0.12))  # below: above the landscape it would hide paths
    return Figure.of(
        landscape.name, landscape.caption + " A dot every so many steps; the black one is the start.", drawing
    )


SOURCES = "Dauphin et al., 2014; Du et al., 2017"


def _exact(name: str, value: float, unit: str, source: str, settings: Any = None) -> Measure:
    how = {"interval": "none: computed without randomness", **(settings or {})}
    return Measure(name, value, unit, 1, "neither", source, None, "none", how)


@experiment(
    chapter="Learning",
    claim="Momentum crosses ravines; dividing by the gradient's size leaves saddles and plateaus; no rule is best.",
    source="Polyak, 1964; Nesterov, 1983; Duchi et al., 2011; Kingma and Ba, 2015; Dauphin et al., 2014",
    seconds=35,
)
def descent_paths(lab: Lab) -> Iterator[Finding]:
    """Six rules on four landscapes, each at its best rate, and how many steps each takes."""
    steps: dict[str, dict[str, int | None]] = {}
    for landscape in LANDSCAPES:
        paths = {name: quickest(landscape, rule, RATES, MOST) for name, rule in RULES.items()}
        steps[landscape.name] = {n: p.steps if p.arrived else None for n, (_, p) in paths.items()}
        lab.say(f"{landscape.name}: " + ", ".join(f"{n} {s}" for n, s in steps[landscape.name].items()))
        yield drawn(landscape, paths)
    yield Table(
        "steps",
        f"Steps to the target, each rule at its quickest rate of seventeen; empty where none arrives within {MOST}.",
        ("landscape", *RULES),
        tuple((name, *found.values()) for name, found in steps.items()),
    )
    for name in ("ravine", "rosenbrock"):
        found = steps[name]
        for other in ("momentum", "Nesterov"):
            times = (found["gradient descent"] or MOST) / (found[other] or math.inf)
            text = f"descent/{name}: gradient descent over {other}"
            yield Check(measure=_exact(text, times, "times the steps", "Polyak, 1964; Nesterov, 1983"), at_least=2.0)
    yield from saddles()
    flat = steps["plateau"]
    slowest = max(flat[n] or math.inf for n in SCALED)
    times = (flat["gradient descent"] or MOST) / slowest
    yield _exact("descent/plateau: gradient descent at its best rate over the slowest scaled rule", times, "times", "")
    same = {n: walked(PLATEAU, rule, [0.1], MOST)[0] for n, rule in RULES.items()}
    plain, scaled = same["gradient descent"].steps, max(same[n].steps for n in ("RMSProp", "Adam"))
    measure = _exact(
        "descent/plateau: gradient descent over RMSProp and Adam, all at rate 0.1", plain / scaled, "times", ""
    )
    yield Check(measure=measure, at_least=10.0)
    best = {min((s, n) for n, s in found.items() if s)[1] for found in steps.values()}
    yield Check(
        measure=_exact("descent/rules that are best somewhere", len(best), "rules", "Wolpert and Macready, 1997"),
        at_least=2,
    )
