"""Backpropagation gives the exact gradient, for the price of a few evaluations, whatever the number of weights.

Rumelhart, Hinton and Williams, Learning representations by back-propagating errors, 1986: the error's derivative by a
unit's input follows from those of the units above it (eqs. 5 to 7), so that one pass down gives it by every weight.
Checked here by four witnesses: those equations written out; central differences, for every parameter of every net of
this package; and, where the net is an analytic function, the complex step f'(x) = Im f(x + ih) / h, which subtracts
nothing and so loses nothing (Squire and Trapp, Using complex variables to estimate derivatives of real functions, 1998;
Martins, Sturdza and Alonso, The complex-step derivative approximation, 2003). A difference of step h has an error of
order h or h^2 from the curve's bending, and of order 1/h from rounding: it can be neither small enough nor large
enough. What reverse mode costs: Baydin, Pearlmutter, Radul and Siskind, Automatic differentiation in machine learning:
a survey, 2018, section 3.2: a small multiple of the function, where differences need an evaluation a weight.

Measured, seed 0, 10 s on one core of a Xeon: the equations of 1986 equal autograd to 3e-16; over the 92 parameters of
nine nets the gradient differs from central differences by 2e-8 of its length at most; differences are right to 3e-8
(forward) and 1e-10 (central) at their best step, the complex step to 2e-16 with a step of 1e-20. A gradient costs 2.5
to 3.1 evaluations for 700 to 300,000 weights, where differences cost one a weight.

Entry: backpropagation; chain rule; reverse-mode autodiff; gradient descent.
"""

# N rows, P parameters

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn
from torch.func import functional_call

from sonde import nets
from sonde.core import Batch, Measure
from sonde.experiment import Check, Figure, Finding, Lab, Table, experiment
from sonde.nets.lecun1989 import LeCun1989
from sonde.objectives import Classify

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

RUMELHART, MARTINS = "Rumelhart, Hinton and Williams (1986)", "Martins, Sturdza and Alonso (2003)"
BAYDIN = "Baydin et al. (2018)"
Function = Callable[[Mapping[str, Tensor]], Tensor]
"""The loss as a function of parameters by name."""


# ---------------------------------------------------------------- the equations of 1986
def by_hand(weights: Sequence[Tensor], x: Tensor, d: Tensor) -> list[Tensor]:
    """The gradient of E = 1/2 sum (y - d)^2 by the weights of a net of logistic units, as the paper derives it.

    weights: (outputs, inputs + 1) of each layer, the last column the bias. x: (N, F), d: (N, T).

        eq. 5:  dE/dx_j = dE/dy_j y_j (1 - y_j)       x_j: what a unit sums up, y_j: what it answers
        eq. 6:  dE/dw_ji = dE/dx_j y_i
        eq. 7:  dE/dy_i = sum_j dE/dx_j w_ji
    """
    y = [x]
    for w in weights:
        y.append(torch.sigmoid(F.linear(y[-1], w[:, :-1], w[:, -1])))
    found = []
    by_answer = y[-1] - d  # eq. 4
    for w, below, above in zip(reversed(weights), reversed(y[:-1]), reversed(y[1:]), strict=True):
        by_sum = by_answer * above * (1 - above)
        found.append(by_sum.T @ F.pad(below, (0, 1), value=1.0))
        by_answer = by_sum @ w[:, :-1]
    return found[::-1]


def furthest_from_autograd(widths: Sequence[int], rows: int, seed: int) -> float:
    """The largest difference between those equations and autograd, relative to the largest number of the gradient."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    weights = [drawn(o, i + 1).requires_grad_() for i, o in zip(widths, widths[1:], strict=False)]
    x, d = drawn(rows, widths[0]), torch.sigmoid(drawn(rows, widths[-1]))
    y = x
    for w in weights:
        y = torch.sigmoid(F.linear(y, w[:, :-1], w[:, -1]))
    theirs = torch.autograd.grad((y - d).square().sum() / 2, weights)
    with torch.no_grad():
        ours = by_hand(weights, x, d)
    largest = max(float(g.abs().max()) for g in theirs)
    return max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True)) / largest


# ---------------------------------------------------------------- every net against differences
def examples() -> dict[str, tuple[nn.Module, Any]]:
    """A small one of every net whose gradient a difference can check, and rows for it, in float64."""

    def pictures(side: int) -> Tensor:
        return torch.rand(3, 1, side, side, dtype=torch.float64)

    columns = torch.rand(3, 6, dtype=torch.float64)
    table = {"numeric": torch.rand(3, 4, dtype=torch.float64), "categorical": torch.tensor([[1, 0], [2, 1], [0, 1]])}
    made: dict[str, tuple[nn.Module, Any]] = {
        "Linear": (nets.Linear(shape=(6,), outputs=3), columns),
        "MLP": (nets.MLP(shape=(6,), outputs=3, widths=(16, 16)), columns),
        "ProgressiveMLP": (nets.ProgressiveMLP(shape=(6,), outputs=3, widths=(8, 8), columns=2), columns),
        "LeCun1989": (LeCun1989(outputs=3), pictures(16)),
        "LeNet": (nets.LeNet(height=16, width=16, outputs=3), pictures(16)),
        "ConvNet": (nets.ConvNet(height=16, width=16, outputs=3, widths=(4, 8), hidden=16), pictures(16)),
        "ResNet": (nets.ResNet(channels=1, outputs=3, widths=(8, 16), fold=1), pictures(8)),
        "Tempered": (nets.Tempered(height=16, width=16, outputs=3), pictures(16)),
        "TabM": (nets.TabM(outputs=3, numeric=4, cardinalities=(3, 2), widths=(8,), members=3, dropout=0.0), table),
    }
    for net, _ in made.values():
        net.double()
    return made


def loss_of(net: nn.Module, x: Any, y: Tensor) -> tuple[Function, dict[str, Tensor]]:
    """Cross-entropy of a net on a batch as a function of its parameters, and its parameters."""
    objective = Classify(net)
    params = {k: p.detach().clone() for k, p in objective.named_parameters()}
    buffers = {k: b.clone() for k, b in objective.named_buffers()}

    def loss(at: Mapping[str, Tensor]) -> Tensor:
        moving = {k: b.clone() for k, b in buffers.items()}  # running statistics move in every evaluation
        found = functional_call(objective, {**moving, **at}, ("model", Batch(x, y))).total()
        return found  # type: ignore[no-any-return]

    return loss, params


def gradient(loss: Function, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The gradient by reverse mode."""
    leaves = {k: p.detach().clone().requires_grad_() for k, p in params.items()}
    found = torch.autograd.grad(loss(leaves), list(leaves.values()))
    return dict(zip(leaves, found, strict=True))


def furthest_from_differences(
    loss: Function, params: Mapping[str, Tensor], grads: Mapping[str, Tensor], seed: int, h: float = 1e-6
) -> float:
    """The largest error of a parameter's gradient along a direction, by a central difference, over its length.

    The direction lies between the gradient's own and a random one, so that a wrong length and a wrong place both show.
    h: near the third root of float64's rounding, where a central difference is best.
    """
    generator = torch.Generator().manual_seed(seed)
    worst = 0.0
    for name, p in params.items():
        g = grads[name]
        drawn = torch.randn(p.shape, dtype=p.dtype, generator=generator)
        v = g / g.norm().clamp_min(1e-300) + drawn / drawn.norm()
        v = v / v.norm()
        with torch.no_grad():
            high, low = (float(loss({**params, name: p + sign * h * v})) for sign in (1, -1))
        worst = max(worst, abs((high - low) / (2 * h) - float((g * v).sum())) / float(g.norm().clamp_min(1e-300)))
    return worst


# ---------------------------------------------------------------- the error by the step
def analytic(widths: Sequence[int], rows: int, seed: int) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """Half the squared error of a net of tanh units as a function of its P weights, real or complex; the weights."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(o, i) for i, o in zip(widths, widths[1:], strict=False)]
    start = torch.cat(
        [torch.randn(o * i, dtype=torch.float64, generator=generator) / math.sqrt(i) for o, i in shapes]
    )  # (P,)
    x = torch.randn(rows, widths[0], dtype=torch.float64, generator=generator)
    t = torch.randn(rows, widths[-1], dtype=torch.float64, generator=generator)

    def error(p: Tensor) -> Tensor:
        h = x.to(p.dtype)
        for k, (part, (o, i)) in enumerate(zip(p.split([o * i for o, i in shapes]), shapes, strict=True)):
            h = h @ part.view(o, i).T
            h = torch.tanh(h) if k < len(shapes) - 1 else h
        return ((h - t) ** 2).sum() / 2  # a square, not |.|^2: the function must stay analytic

    return error, start


WAYS = ("forward difference", "central difference", "complex step")


def estimate(f: Callable[[Tensor], Tensor], p: Tensor, i: int, h: float, way: str) -> float:
    """The derivative of f by p_i, in one of the `WAYS`, with step h."""
    e = torch.zeros_like(p)
    e[i] = 1.0
    if way == "complex step":
        return float(f(p + 1j * h * e).imag) / h
    if way == "central difference":
        return float(f(p + h * e) - f(p - h * e)) / (2 * h)
    return float(f(p + h * e) - f(p)) / h


def errors_by_step(steps: Sequence[float], places: int = 20, seed: int = 0) -> dict[str, list[float]]:
    """The root mean square error of each way at each step, over some of the weights, over the derivatives' own."""
    f, p = analytic((8, 16, 16, 2), rows=10, seed=seed)
    leaf = p.clone().requires_grad_()
    (exact,) = torch.autograd.grad(f(leaf), leaf)
    chosen = torch.randperm(len(p), generator=torch.Generator().manual_seed(seed))[:places].tolist()
    size = float(exact[chosen].square().mean().sqrt())
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for way in WAYS:
        for h in steps:
            wrong = [estimate(f, p, i, h, way) - float(exact[i]) for i in chosen]
            found[way].append(math.sqrt(sum(w * w for w in wrong) / places) / size)
    return found


def slope(steps: Sequence[float], errors: Sequence[float], between: tuple[float, float]) -> float:
    """The exponent of h in the error, by least squares on logarithms over the steps in a range."""
    used = [(math.log(h), math.log(e)) for h, e in zip(steps, errors, strict=True) if between[0] <= h <= between[1]]
    mean_h, mean_e = (sum(column) / len(used) for column in zip(*used, strict=True))
    return sum((h - mean_h) * (e - mean_e) for h, e in used) / sum((h - mean_h) ** 2 for h, _ in used)


# ---------------------------------------------------------------- what it costs
def seconds(do: Callable[[], object], repeats: int) -> float:
    """The median of the processor's time for one call."""
    do()
    taken = []
    for _ in range(repeats):
        begin = time.process_time()
        do()
        taken.append(time.process_time() - begin)
    return median(taken)


def costs(width: int, rows: int = 256, repeats: int = 15, places: int = 20) -> tuple[int, float, float]:
    """Of an MLP with two hidden layers: P, and what its gradient costs in evaluations, by reverse mode and differences.

    Forward differences take an evaluation a weight; `places` of them are timed, and the others taken to cost the same.
    """
    x, y = torch.rand(rows, 64), torch.arange(rows) % 10
    loss, params = loss_of(nets.MLP(shape=(64,), outputs=10, widths=(width, width)), x, y)
    name = max(params, key=lambda k: params[k].numel())

    def one_difference(i: int) -> Tensor:
        moved = params[name].clone()
        moved.view(-1)[i] += 1e-3
        return loss({**params, name: moved})

    with torch.no_grad():
        once = seconds(lambda: loss(params), repeats)
        some = seconds(lambda: [one_difference(i) for i in range(places)], max(3, repeats // 5)) / places
    reverse = seconds(lambda: gradient(loss, params), repeats)
    p = sum(q.numel() for q in params.values())
    return p, reverse / once, (1 + p * some / once)


# ---------------------------------------------------------------- figures
def _by_step(steps: Sequence[float], errors: Mapping[str, Sequence[float]]) -> Drawing:
    from sonde.drawing import MUTED, canvas, legend

    drawing, axes = canvas(7, 4.2)
    floor = 1e-17  # an error of exactly 0 has no place on a log scale
    for way, marker in zip(WAYS, "osD", strict=True):
        axes.plot(steps, [max(e, floor) for e in errors[way]], marker=marker, markersize=3.5, linewidth=1.5, label=way)
    axes.axhline(2.0**-52, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.text(max(steps), 1.6 * 2.0**-52, "float64's rounding ", color=MUTED, fontsize=9.5, ha="right")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(floor, 1e4)
    axes.set_xlabel("step h")
    axes.set_ylabel("error of the derivative, relative")
    legend(axes, "upper center", 3)
    return drawing


def _by_weights(found: Sequence[tuple[int, float, float]]) -> Drawing:
    from sonde.drawing import canvas, legend

    drawing, axes = canvas(7, 3.8)
    p = [row[0] for row in found]
    axes.plot(p, [row[2] for row in found], marker="s", markersize=5, linewidth=1.8, label="forward differences")
    axes.plot(p, [row[1] for row in found], marker="o", markersize=5, linewidth=1.8, label="backpropagation")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(0.8, None)
    axes.set_xlabel("weights")
    axes.set_ylabel("cost of a gradient, in evaluations")
    legend(axes, "upper left")
    return drawing


# ---------------------------------------------------------------- the experiment
@experiment(
    chapter="Learning",
    claim="Backpropagation gives the gradient to rounding, for a few evaluations' cost whatever the number of weights.",
    source=f"{RUMELHART}; Squire and Trapp (1998); {MARTINS}; {BAYDIN}",
    seconds=15,
)
def backpropagation(lab: Lab) -> Iterator[Finding]:
    """Gradients beside four other ways to them, and what each costs."""
    nothing = "none: the largest over all"
    apart = max(furthest_from_autograd((5, 8, 7, 3), rows=6, seed=lab.seed + i) for i in range(20))
    yield Check(
        measure=_measure("furthest_from_the_equations_of_1986", apart, 20, RUMELHART, nets=20, interval=nothing),
        at_most=1e-12,  # some hundred roundings of 1e-16
    )
    lab.say("every net beside central differences")
    torch.manual_seed(lab.seed)
    rows: list[tuple[str, int, int, float]] = []
    for name, (net, x) in examples().items():
        loss, params = loss_of(net, x, torch.tensor([0, 1, 2]))
        wrong = furthest_from_differences(loss, params, gradient(loss, params), lab.seed)
        rows.append((name, len(params), sum(p.numel() for p in params.values()), wrong))
    yield Table(
        "backpropagation-nets",
        "The gradient of each net by backpropagation beside central differences, float64: the largest error.",
        ("net", "parameters", "weights", "error"),
        tuple(rows),
    )
    yield Check(
        measure=_measure(
            "furthest_from_central_differences", max(r[3] for r in rows), sum(r[1] for r in rows), RUMELHART, step=1e-6,
            interval=nothing,
        ),
        at_most=1e-5,  # the difference's own rounding is 1e-10 of the loss; a gradient along small numbers has more
    )  # fmt: skip
    lab.say("errors by the step")
    yield from _steps(lab)
    lab.say("costs")
    found = [costs(width) for width in (8, 32, 128, 512)]
    told = {"rows": 256, "time": "of the processor, median of 15"}
    yield Check(
        measure=_measure("cost_in_evaluations", max(r[1] for r in found), len(found), BAYDIN, **told, interval=nothing),
        at_most=6.0,  # a few, and not more for more weights
    )
    yield Check(
        measure=_measure(
            "cost_of_differences_by_weights", slope([r[0] for r in found], [r[2] for r in found], (0, math.inf)),
            len(found), BAYDIN, **told, interval="none: an exponent fitted to four sizes",
        ),
        at_least=0.9,
        at_most=1.1,
    )  # fmt: skip
    yield Figure.of(
        "backpropagation-cost",
        "What a gradient costs, in evaluations of the loss: for differences one a weight, for backpropagation a few.",
        _by_weights(found),
    )


def _steps(lab: Lab) -> Iterator[Finding]:
    steps = [10.0 ** (-e / 2) for e in range(1, 41)]  # 0.3 down to 1e-20
    errors = errors_by_step(steps, seed=lab.seed)
    fit = "none: an exponent fitted to half decades"
    bends = {
        "forward difference": (1e-6, 1e-2, 1),
        "central difference": (1e-4, 1e-1, 2),
        "complex step": (1e-6, 1e-1, 2),
    }
    for way, (low, high, order) in bends.items():
        name = f"order_of_{way.replace(' ', '_')}"
        yield Check(
            measure=_measure(
                name, slope(steps, errors[way], (low, high)), 20, MARTINS, steps=(low, high), interval=fit
            ),
            at_least=order - 0.15,
            at_most=order + 0.15,
        )
    yield Check(
        measure=_measure(
            "order_of_rounding", slope(steps, errors["central difference"], (1e-13, 1e-7)), 20, MARTINS,
            steps=(1e-13, 1e-7), interval=fit,
        ),
        at_least=-1.25,
        at_most=-0.75,
    )  # fmt: skip
    least = {way: min(errors[way]) for way in WAYS}
    for way in WAYS[:2]:
        yield _measure(f"best_{way.replace(' ', '_')}", least[way], 20, MARTINS, interval="none: root mean square")
    yield Check(
        measure=_measure(
            "complex_step_of_1e-20", errors["complex step"][-1], 20, MARTINS, interval="none: root mean square"
        ),
        at_most=1e-14,  # a difference with this step has no right digit
    )
    yield Figure.of(
        "backpropagation-steps",
        "How wrong a derivative is by the step it is measured with: too long a step follows the curve's bend, too "
        "short a one drowns in rounding, and a step along the imaginary axis subtracts nothing.",
        _by_step(steps, errors),
    )


def _measure(name: str, value: float, n: int, source: str, **settings: object) -> Measure:
    return Measure(f"backpropagation/{name}", value, "1", n, "lower", source, None, "random", settings)
