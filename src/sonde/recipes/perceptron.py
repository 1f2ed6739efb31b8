"""Rosenblatt's perceptron: it separates what a plane separates, within a bound, and turns in circles on XOR.

The rule, after each row x with its answer y in {-1, 1}, with x extended by a constant 1 for the bias:

    if y w.x <= 0:  w <- w + y x

Rosenblatt, The perceptron: a probabilistic model for information storage and organization in the brain, 1958 (the
rule, for what later books call its response unit). Novikoff, On convergence proofs on perceptrons, 1962: rows no
longer than R which some plane through the origin separates with margin g cost at most (R/g)^2 mistakes, in whatever
order they come. The g here is the largest there is, from the least-distance programme that a hard-margin support
vector machine solves (Lawson and Hanson, Solving least squares problems, 1974, chapter 23). Minsky and Papert,
Perceptrons, 1969: no plane separates XOR. Cover, Geometrical and statistical properties of systems of linear
inequalities, 1965, theorem 1: lines split four points, no three of which lie on a line, in 14 of the 16 ways.

Measured, seed 0, 6 s on one core of a Xeon: the weights equal scikit-learn's after each of 300 rows, to the bit; 1000
of 1000 sets were separated within the bound (95 % interval of the share 0.996 to 1), half of them with less than 11.4 %
(10.9 to 11.9) of the mistakes it allows; 30 rows at right angles cost exactly the 30 it allows. On XOR, from weights 0
and in each of the 24 orders of its rows, every pass has four mistakes and ends where it began; the best line has three
of the four rows right.

Entry: artificial neuron; perceptron; perceptron learning rule; XOR limit.
"""

# S data sets side by side, N rows, F numbers a row (one of them the constant 1)

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sonde.core import Measure
from sonde.experiment import Check, Figure, Finding, Lab, experiment

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

ROSENBLATT, NOVIKOFF, MINSKY = "Rosenblatt (1958)", "Novikoff (1962)", "Minsky and Papert (1969)"
XOR_X = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))
XOR_Y = (-1.0, 1.0, 1.0, -1.0)


# ---------------------------------------------------------------- the rule
def presented(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Show row after row to a perceptron that starts at 0, for ever: its weights after each, and whether it was wrong.

    x: (..., N, F), the constant 1 among the F. y: (..., N), of -1 and 1. Leading dimensions are data sets side by side,
    each with a perceptron of its own. Yields w: (..., F), and wrong: (...), bool. Where w.x = 0 the answer is wrong.
    """
    w = torch.zeros_like(x[..., 0, :])  # (..., F)
    for i in itertools.cycle(range(x.shape[-2])):
        row, answer = x[..., i, :], y[..., i]
        wrong = answer * (w * row).sum(-1) <= 0  # (...)
        w = w + (wrong * answer)[..., None] * row
        yield w, wrong


def with_bias(x: Tensor) -> Tensor:
    """(..., N, F - 1) rows to (..., N, F): a 1 at the end of each, whose weight is the bias."""
    return torch.cat([x, torch.ones_like(x[..., :1])], -1)


@dataclass(frozen=True, slots=True)
class Learned:
    """weights: (..., F), the last. mistakes: (...), until then. separated: (...), whether a pass went without any."""

    weights: Tensor
    mistakes: Tensor
    separated: Tensor


def learn(x: Tensor, y: Tensor, passes: int) -> Learned:
    """The perceptron after so many passes over the rows, fewer if all sets are separated before. See `presented`."""
    n = x.shape[-2]
    mistakes = torch.zeros(x.shape[:-2], dtype=torch.int64)
    shown = presented(x, y)
    for _ in range(passes):
        before = mistakes.clone()
        for w, wrong in itertools.islice(shown, n):  # noqa: B007 - read after the loop
            mistakes += wrong
        if torch.equal(before, mistakes):
            break
    return Learned(w, mistakes, mistakes == before)


# ---------------------------------------------------------------- the bound
def widest_margin(x: Tensor, y: Tensor) -> float:
    """The largest g > 0 such that y_i w.x_i >= g for all rows and some w of length 1; 0 if no plane separates them.

    x: (N, F), y: (N,). The shortest w with y_i w.x_i >= 1 has length 1/g; Lawson and Hanson (1974, chapter 23) find it
    by non-negative least squares: with E = [ (y x)^T ; 1 ] and f = (0, ..., 0, 1), the residual r of the best u >= 0
    gives w = -r_1..F / r_(F+1). Exact to rounding, since it ends in a solved linear system.
    """
    import numpy as np
    from scipy.optimize import nnls

    signed = (y[:, None] * x).double().numpy()  # (N, F)
    e = np.vstack([signed.T, np.ones(len(signed))])  # (F + 1, N)
    f = np.zeros(len(e))
    f[-1] = 1.0
    u, distance = nnls(e, f, maxiter=50 * len(signed))
    if distance < 1e-9:  # the origin lies among the rows' mixtures: nothing is separated
        return 0.0
    r = e @ u - f
    w = -r[:-1] / r[-1]
    return float((signed @ w).min() / np.linalg.norm(w))


def separable_sets(sets: int, rows: int, least: float, seed: int) -> tuple[Tensor, Tensor]:
    """Random sets that a random plane separates: x (S, N, F) with the constant 1, and y (S, N).

    Set s has 2 to 20 columns of standard normals (the rest are 0) and keeps rows at a distance of at least a margin of
    its own from the plane, drawn between `least` and 100 times as much on a log scale.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.zeros(sets, rows, 20, dtype=torch.float64)
    y = torch.zeros(sets, rows, dtype=torch.float64)
    for s in range(sets):
        columns = 2 + int(torch.randint(19, (), generator=generator))
        margin = least * 100 ** float(torch.rand((), generator=generator))
        normal = torch.randn(columns + 1, dtype=torch.float64, generator=generator)
        normal /= normal[:-1].norm()
        found = torch.zeros(0, columns, dtype=torch.float64)
        while len(found) < rows:
            drawn = torch.randn(rows, columns, dtype=torch.float64, generator=generator)
            found = torch.cat([found, drawn[(with_bias(drawn) @ normal).abs() >= margin]])
        x[s, :, :columns], y[s] = found[:rows], (with_bias(found[:rows]) @ normal).sign()
    return with_bias(x), y


def mistakes_and_bounds(x: Tensor, y: Tensor, passes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of S sets, (S,) each: the mistakes made, Novikoff's bound on them, and whether all rows ended on their side."""
    learned = learn(x, y, passes)
    longest = x.norm(dim=-1).amax(-1)  # R, (S,)
    margins = torch.tensor([widest_margin(a, b) for a, b in zip(x, y, strict=True)], dtype=torch.float64)
    return learned.mistakes, (longest / margins) ** 2, learned.separated


# ---------------------------------------------------------------- beside scikit-learn
def furthest_from_sklearn(x: Tensor, y: Tensor, passes: int) -> float:
    """The largest difference of a weight from scikit-learn's `Perceptron` after any row: x (N, F), no constant among F.

    Both start at 0, take steps of 1 and read the rows in their order.
    """
    from sklearn.linear_model import Perceptron

    theirs = Perceptron(shuffle=False, eta0=1.0, penalty=None, max_iter=1, tol=None)
    furthest = 0.0
    shown = presented(with_bias(x), y)
    for i in itertools.islice(itertools.cycle(range(len(x))), passes * len(x)):
        theirs.partial_fit(x[i : i + 1].numpy(), y[i : i + 1].numpy(), classes=[-1.0, 1.0])
        w, _ = next(shown)
        furthest = max(furthest, float(abs(w[:-1].numpy() - theirs.coef_[0]).max()), abs(w[-1] - theirs.intercept_[0]))
    return float(furthest)


# ---------------------------------------------------------------- XOR
def separable(x: Tensor, y: Tensor) -> bool:
    """Whether a plane has all rows strictly on their sides, by a linear programme: y_i w.x_i >= 1 has a solution."""
    from scipy.optimize import linprog

    signed = (y[:, None] * x).double().numpy()
    found = linprog([0.0] * x.shape[1], A_ub=-signed, b_ub=[-1.0] * len(x), bounds=[(None, None)] * x.shape[1])
    return bool(found.status == 0)  # 2: infeasible


def splits_of_corners() -> list[tuple[float, ...]]:
    """The answers to the four corners of a square that some line gives."""
    x = with_bias(torch.tensor(XOR_X, dtype=torch.float64))
    every = itertools.product((-1.0, 1.0), repeat=4)
    return [y for y in every if separable(x, torch.tensor(y, dtype=torch.float64))]


@dataclass(frozen=True, slots=True)
class Circle:
    """Weights that came back. start: passes before the first of the repeated ones. passes: of one round.

    weights: (T, 3), after every row until the end of the first round. wrong: (T,).
    """

    start: int
    passes: int
    weights: Tensor
    wrong: Tensor


def circle(x: Tensor, y: Tensor, most: int) -> Circle | None:
    """The round in which the perceptron's weights turn, from when a pass begins where an earlier one did.

    A pass is a function of the weights it begins with, so weights that come back once come back for ever. None if they
    do not within `most` passes, or if a pass goes without a mistake.
    """
    n = x.shape[0]
    shown = list(itertools.islice(presented(x, y), most * n))
    weights = torch.stack([w for w, _ in shown])  # (most N, F)
    wrong = torch.stack([w for _, w in shown])
    begins = [torch.zeros_like(weights[0]), *weights[n - 1 :: n]]
    for end in range(1, len(begins)):
        for start in range(end):
            if torch.equal(begins[start], begins[end]):
                if not wrong[start * n : end * n].any():
                    return None
                return Circle(start, end - start, weights[: end * n], wrong[: end * n])
    return None


def xor_rounds(most: int = 100) -> list[Circle | None]:
    """Where the perceptron's weights turn on XOR, for each of the 24 orders of its rows."""
    x, y = with_bias(torch.tensor(XOR_X, dtype=torch.float64)), torch.tensor(XOR_Y, dtype=torch.float64)
    return [circle(x[list(order)], y[list(order)], most) for order in itertools.permutations(range(4))]


# ---------------------------------------------------------------- figures
def _moving_line(x: Tensor, y: Tensor, passes: int) -> Drawing:
    from sonde.drawing import COLOURS, INK, MUTED, canvas

    shown = itertools.islice(presented(with_bias(x), y), passes * len(x))
    lines = [w for w, wrong in shown if wrong]
    drawing, axes = canvas(7, 4.6)
    for side, colour, marker, label in ((1.0, COLOURS[0], "o", "y = 1"), (-1.0, COLOURS[1], "s", "y = -1")):
        of = x[y == side]
        axes.scatter(of[:, 0], of[:, 1], s=24, color=colour, marker=marker, label=label, zorder=3, linewidths=0)
    wide = 1.15 * float(x.abs().max())
    along = torch.tensor([-4 * wide, 4 * wide], dtype=torch.float64)
    for k, w in enumerate(lines):
        normal = w[:2] / w[:2].norm().clamp_min(1e-12)
        foot, way = -w[2] / w[:2].norm().clamp_min(1e-12) * normal, torch.stack([-normal[1], normal[0]])
        points = foot[:, None] + way[:, None] * along  # (2, 2)
        last = k == len(lines) - 1
        axes.plot(
            points[0],
            points[1],
            color=INK if last else MUTED,
            linewidth=2.0 if last else 0.9,
            alpha=1.0 if last else 0.15 + 0.5 * k / len(lines),
            label=f"after mistake {len(lines)}, the last" if last else "after an earlier mistake" if k == 0 else None,
            zorder=2,
        )
    axes.set_xlim(-wide, wide)
    axes.set_ylim(-wide, wide)
    axes.set_aspect("equal")
    axes.set_xlabel("x₁")
    axes.set_ylabel("x₂")
    axes.legend(
        loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, labelcolor=INK, prop={"size": 9.5}
    )  # beside the rows, which fill the square
    return drawing


def _mistakes_by_bound(mistakes: Tensor, bounds: Tensor) -> Drawing:
    from sonde.drawing import COLOURS, INK, MUTED, canvas

    drawing, axes = canvas(7, 4.2)
    axes.scatter(bounds, mistakes, s=9, color=COLOURS[0], alpha=0.45, linewidths=0, zorder=3)
    ends = (0.7, 1.4 * float(bounds.max()))
    axes.plot(ends, ends, color=INK, linewidth=1.2)
    axes.set_xscale("log")
    axes.set_yscale("log")
    middle = math.sqrt(ends[0] * ends[1])
    axes.text(
        middle, 1.25 * middle, "mistakes = (R/g)²: no set may lie above", color=MUTED, fontsize=9.5, ha="center",
        va="bottom", rotation=math.degrees(math.atan(3.5 / 6.1)), rotation_mode="anchor",
    )  # fmt: skip
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.set_xlabel("Novikoff's bound (R/g)², from the widest margin")
    axes.set_ylabel("mistakes until separated")
    return drawing


def _turning(found: Circle) -> Drawing:
    from sonde.drawing import COLOURS, MUTED, canvas

    drawing, axes = canvas(7, 4.2, rows=3)
    again = found.weights[found.start * 4 :]
    shown = torch.cat([torch.zeros(1, 3, dtype=torch.float64), found.weights, again, again])
    for column, (name, one) in enumerate(zip(("w₁", "w₂", "bias"), axes, strict=True)):
        one.plot(shown[:, column], color=COLOURS[column], drawstyle="steps-post", linewidth=1.8)
        for k in range(found.start, found.start + 3 * found.passes + 1, found.passes):
            one.axvline(4 * k, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        one.set_xlim(0, len(shown) - 1)
        one.set_ylim(float(shown.min()) - 0.3, float(shown.max()) + 0.3)
        one.set_ylabel(name)
        one.set_xticks(range(0, len(shown), 4))
        if column < 2:
            one.tick_params(labelbottom=False)
    axes[2].set_xlabel("rows shown, four a pass; dashed: the weights are where they were")
    return drawing


# ---------------------------------------------------------------- the experiment
@experiment(
    chapter="Roots",
    claim="A perceptron separates what a plane separates, within Novikoff's bound, and never learns XOR.",
    source=f"{ROSENBLATT}; {NOVIKOFF}; {MINSKY}; Cover (1965)",
    seconds=10,
)
def perceptron(lab: Lab) -> Iterator[Finding]:
    """The rule beside scikit-learn's, its mistakes beside their bound, and what it does on XOR."""
    lab.say("beside scikit-learn")
    x, y = separable_sets(sets=1, rows=60, least=0.05, seed=lab.seed)
    apart = furthest_from_sklearn(x[0, :, :-1], y[0], passes=5)
    yield Check(
        measure=Measure(
            "perceptron/furthest_from_sklearn", apart, "1", 300, "lower", ROSENBLATT, split="random",
            settings={"rows shown": 300, "interval": "none: the largest difference after any of the rows"},
        ),
        at_most=1e-9,  # sums of some hundred numbers near 1, in another order
    )  # fmt: skip
    lab.say("mistakes and their bound on 1000 sets")
    yield from _bound(lab, sets=1000)
    lab.say("XOR")
    yield from _xor()


def _bound(lab: Lab, sets: int, rows: int = 50) -> Iterator[Finding]:
    from sonde.audits.quality.intervals import HOW, wilson

    x, y = separable_sets(sets, rows, least=0.01, seed=lab.seed + 1)
    mistakes, bounds, separated = mistakes_and_bounds(x, y, passes=20_000)
    used = mistakes / bounds
    told = {"sets": sets, "rows": rows, "columns": "2 to 20", "margin": "0.01 to 1 of a column's deviation"}
    within = int((separated & (mistakes <= bounds)).sum())
    yield Check(
        measure=Measure(
            "perceptron/separated_within_bound", within / sets, "1", sets, "higher", NOVIKOFF, wilson(within, sets),
            "random", {**told, "interval": HOW["wilson"]},
        ),
        at_least=1.0,
    )  # fmt: skip
    yield Measure(
        "perceptron/median_share_of_bound", float(used.median()), "1", sets, "neither", NOVIKOFF,
        _of_median(used), "random", {**told, "interval": "order statistics of the median"},
    )  # fmt: skip
    right = torch.eye(30, dtype=torch.float64)[None]
    some, most, _ = mistakes_and_bounds(right, torch.ones(1, 30, dtype=torch.float64), passes=3)
    yield Check(
        measure=Measure(
            "perceptron/share_of_bound_at_right_angles", float(some / most), "1", 1, "neither", NOVIKOFF,
            split="constructed", settings={"rows": "30 at right angles", "interval": "none: nothing is drawn"},
        ),
        at_least=1 - 1e-9,
        at_most=1 + 1e-9,
    )  # fmt: skip
    plane = torch.Generator().manual_seed(lab.seed + 3)
    flat = torch.randn(400, 2, dtype=torch.float64, generator=plane)
    side = flat @ torch.tensor([0.8, -0.6], dtype=torch.float64) + 0.3
    kept = side.abs() > 0.12
    flat, side = flat[kept][:60], side[kept][:60]
    yield Figure.of(
        "perceptron-line",
        "The separating line after each mistake, on 60 rows: every mistake turns it towards the row it was made on, "
        "and after the last one all rows are on their side.",
        _moving_line(flat, side.sign(), passes=60),
    )
    yield Figure.of(
        "perceptron-bound",
        f"Mistakes until all rows are on their side, against Novikoff's bound, on {sets} random separable sets.",
        _mistakes_by_bound(mistakes, bounds),
    )


def _of_median(values: Tensor) -> tuple[float, float]:
    """The 95 % interval of a median by order statistics, from the binomial's normal approximation."""
    n, ordered = len(values), values.sort().values
    half = 1.96 * math.sqrt(n) / 2
    return float(ordered[max(0, math.floor(n / 2 - half) - 1)]), float(ordered[min(n - 1, math.ceil(n / 2 + half))])


def _xor() -> Iterator[Finding]:
    exact = {"interval": "none: every case is counted"}
    given = splits_of_corners()
    yield Check(
        measure=Measure(
            "perceptron/ways_a_line_splits_four_corners", len(given), "ways", 16, "neither", "Cover (1965), theorem 1",
            split="all 16", settings=exact,
        ),
        at_least=14,
        at_most=14,
        published=14,
        published_in="Cover (1965), theorem 1: 2 (C(3,0) + C(3,1) + C(3,2))",
    )  # fmt: skip
    best = max(sum(a == b for a, b in zip(y, XOR_Y, strict=True)) / 4 for y in given)
    yield Check(
        measure=Measure(
            "perceptron/best_line_on_xor", best, "1", 4, "higher", MINSKY, split="all 4",
            settings=exact,
        ),
        at_least=0.75,
        at_most=0.75,
    )  # fmt: skip
    rounds = xor_rounds()
    turned = [found for found in rounds if found is not None]
    least = min((int(c.wrong[c.start * 4 :].view(-1, 4).sum(1).min()) for c in turned), default=0)
    yield Check(
        measure=Measure(
            "perceptron/orders_of_xor_that_come_back", len(turned), "orders", len(rounds), "neither", MINSKY,
            split="all 24", settings=exact,
        ),
        at_least=24,
    )  # fmt: skip
    yield Check(
        measure=Measure(
            "perceptron/least_mistakes_a_pass_on_xor", least, "mistakes", sum(c.passes for c in turned), "neither",
            MINSKY, split="all 24 orders", settings=exact,
        ),
        at_least=1,
    )  # fmt: skip
    if turned:
        longest = max(turned, key=lambda c: c.passes)
        yield Figure.of(
            "perceptron-xor",
            "The weights on XOR, shown with the first of its 24 orders of rows whose round is longest "
            f"(passes of a round: {longest.passes}): they come back to where they were, so they will do so for ever.",
            _turning(longest),
        )
