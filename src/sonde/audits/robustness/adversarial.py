"""Accuracy under attack: four attacks that fail for different reasons, and how far the nearest wrong answer is.

Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks, 2020
(AutoAttack's standard version, see `sonde.attacks.standard`); Croce and Hein, Minimally distorted adversarial examples
with a fast adaptive boundary attack, 2020 (the smallest change). All are upper bounds: another attack may find more.

Entry: adversarial examples; audits.
"""

# N rows, R radii, C classes

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from sonde import attacks
from sonde.attacks import Norm
from sonde.core import Audit, Batch, Clock, Figure, Measure, SondeError, Subject, Table
from sonde.core.finding import Shown

from ..quality.intervals import left_out
from ._asking import affordable, drawn
from ._attacking import (
    DISAGREES,
    check_agreement,
    classes_of,
    logits_of,
    not_attacked,
    range_of,
    right_by_logits,
    share,
)
from ._figures import accuracy_over_radius, attacked_pictures

SUITE = "Croce and Hein, 2020 (Reliable evaluation), sec. 5"
SMALLEST = "Croce and Hein, 2020 (FAB), sec. 3"
MULTIPLES = (1 / 4, 1 / 2, 1, 2, 4, 8, 16)  # of the radius, in the curve
CURVE_ROWS, CURVE_STEPS = 100, 20
FAR_ROWS, FAR_STEPS, FAR_TARGETS = 100, 20, 2
SPOKEN = {
    "clean": "none",
    "apgd_ce": "APGD, cross-entropy",
    "apgd_t": "APGD, targeted DLR",
    "fab_t": "FAB, targeted",
    "square": "Square, without gradients",
}
FIRST, LEAST = 16, 8  # rows of the first block under a time budget, and of the smallest
SUITE_SHARE = 0.7  # of the time: for the suite, the rest for the curve and the distances


class Adversarial(Audit):
    """Accuracy under attack, and how small a change is enough.

    radius: of the ball around each row, as a share of the range of the inputs. norm: "linf" bounds each number's
        change, "l2" the length of the whole row's (0.5 is usual then).
    rows: of the split at most, drawn by `seed`; fewer if time runs out. steps, queries: of the gradient attacks, and of
        Square. targets: other classes that are tried for, the likeliest first. AutoAttack's own are 100 steps, 9
        targets and 5000 queries, at about ten times the cost.
    """

    cost = 6.0

    def __init__(
        self,
        radius: float = 8 / 255,
        norm: Norm = "linf",
        rows: int = 200,
        steps: int = 50,
        targets: int = 3,
        queries: int = 500,
        split: str = "test",
        seed: int = 0,
    ) -> None:
        if not 0 < radius < math.inf or min(rows, steps, targets, queries) < 1 or norm not in ("linf", "l2"):
            raise SondeError(
                f"Adversarial(radius={radius}, norm={norm!r}, rows={rows}, steps={steps}, targets={targets}, "
                f"queries={queries}) attacks nothing",
                'choose a radius above 0, norm "linf" or "l2", and at least one row, step, target and query',
            )
        self.radius, self.norm, self.rows, self.steps = radius, norm, rows, steps
        self.targets, self.queries, self.split, self.seed = targets, queries, split, seed

    def refuses(self, subject: Subject) -> str:
        """See `Audit.refuses`."""
        return not_attacked(subject)

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        """See `Audit.run`."""
        rows = drawn(subject, self.split, self.rows, self.seed)
        check_agreement(subject, rows)
        self._check_without_radius(subject, rows)
        stands, worst = self._suite(subject, rows, clock)
        n = len(worst)
        rows = rows[:n]
        left = stands[-1][1]
        counts = [(name, int(kept.sum())) for name, kept in stands]
        clean = counts[0][1]
        how = self._how(subject) | {"clean": clean / n}
        yield share("robustness/standard_accuracy", counts[-1][1], n, "higher", SUITE, self.split, how)
        yield _by_attack(counts, n, self._described(subject))
        if bool((stands[0][1] & ~left).any()):
            yield attacked_pictures(subject, rows, worst, stands[0][1] & ~left)
        clock.at(SUITE_SHARE)
        # Passes for a row, a gradient counted as two: twice as many where as much is still to come.
        few = affordable(subject, rows[: min(n, CURVE_ROWS)], 2 * len(MULTIPLES) * (3 * CURVE_STEPS + 5), clock)
        yield self._curve(subject, few, counts[-1][1] / n)
        clock.at((1 + SUITE_SHARE) / 2)
        for share_of, norm in ((2, "linf"), (1, "l2")):
            if clock.left <= 0:
                return
            few = affordable(subject, rows[: min(n, FAR_ROWS)], share_of * 4 * FAR_STEPS * FAR_TARGETS, clock)
            yield self._smallest(subject, few, norm)  # type: ignore[arg-type]

    def _how(self, subject: Subject) -> dict[str, Any]:
        """The settings that define the number, in the inputs' own units."""
        radius = self.radius * range_of(subject)[1]
        how = {"norm": self.norm, "radius": radius, "steps": self.steps, "targets": self.targets}
        return {**how, "queries": self.queries, "seed": self.seed}

    def _described(self, subject: Subject) -> str:
        radius = self.radius * range_of(subject)[1]
        return f"within {radius:.4g} of each row ({ {'linf': 'L-inf', 'l2': 'L2'}[self.norm] })"

    def _check_without_radius(self, subject: Subject, rows: Batch) -> None:
        """Without a radius every attack must return the rows, and the accuracy must be the clean one."""
        few = rows[: min(len(rows), 8)]
        logits, (bounds, _) = logits_of(subject), range_of(subject)
        x, y = few.x, classes_of(few)
        for name, attack in attacks.suite(logits, 0.0, self.norm, bounds, 2, 2, 2).items():
            if not torch.equal(attack(x, y), x):
                raise RuntimeError(f"{name} moves rows in a ball of radius 0")

    def _suite(self, subject: Subject, rows: Batch, clock: Clock) -> tuple[list[tuple[str, Tensor]], Tensor]:
        """After each attack which rows still stand, (N,), and the worst points, (N, ...); as far as time allows.

        Every point that was found is asked about again, in one forward pass over all rows.
        """
        logits, (bounds, unit) = logits_of(subject), range_of(subject)
        radius = self.radius * unit
        suite = attacks.suite(logits, radius, self.norm, bounds, self.steps, self.targets, self.queries)
        limited = clock.left < math.inf
        available = SUITE_SHARE * clock.left
        started, size, begin = time.monotonic(), FIRST if limited else subject.rows_at_once, 0
        stands: dict[str, list[Tensor]] = {}
        worst: list[Tensor] = []
        while begin < len(rows):
            block = rows[begin : begin + size]
            for name, kept, points in attacks.standing(
                logits, block.x, classes_of(block), suite, radius, self.norm, bounds
            ):
                stands.setdefault(name, []).append(kept.cpu())
                last = points
            worst.append(last)
            begin += len(block)
            clock.at(SUITE_SHARE * begin / len(rows))
            if limited:
                spent = time.monotonic() - started
                size = min(subject.rows_at_once, 4 * size, int(0.8 * (available - spent) / (spent / begin)))
                if size < LEAST:
                    break
        found, points = [(name, torch.cat(parts)) for name, parts in stands.items()], torch.cat(worst)
        asked = rows[: len(points)]
        attacks.check_inside("the suite", points, asked.x, radius, self.norm, bounds)
        again = right_by_logits(subject, points, classes_of(asked))
        revived = int((again & ~found[-1][1]).sum())
        if revived > max(1, DISAGREES * len(points)):
            raise SondeError(
                f"{revived} of {len(points)} attacked rows are answered rightly when they are asked about again",
                "make the model deterministic, and its answer to a row independent of the rows beside it",
            )
        return found, points

    def _curve(self, subject: Subject, rows: Batch, standard: float) -> Figure:
        """The accuracy over the radius: one step, and many steps; what fell in a ball falls in every larger one."""
        logits, (bounds, unit) = logits_of(subject), range_of(subject)
        x, y = rows.x, classes_of(rows)
        clean = right_by_logits(subject, x, y)
        left = clean.nonzero().squeeze(1)
        radii, one, many = [m * self.radius * unit for m in MULTIPLES], [], []
        for radius in radii:
            v = attacks.fgsm(logits, x, y, radius, self.norm, bounds)
            one.append(int((right_by_logits(subject, v, y) & clean).sum()))
            if len(left):
                v = attacks.apgd(logits, x[left], y[left], radius, self.norm, bounds, steps=CURVE_STEPS)
                left = left[right_by_logits(subject, v, y[left])]
            many.append(len(left))
        lines = {"one step (FGSM)": one, f"{CURVE_STEPS} steps (APGD)": many}
        at = (self.radius * unit, standard)
        return accuracy_over_radius(radii, lines, int(clean.sum()), len(rows), at, self.norm)

    def _smallest(self, subject: Subject, rows: Batch, norm: Norm) -> Measure:
        """The median over rows answered rightly of how far the nearest wrong answer is."""
        logits, (bounds, _) = logits_of(subject), range_of(subject)
        name = f"robustness/{norm}/median_distance"
        y = classes_of(rows)
        right = right_by_logits(subject, rows.x, y).nonzero().squeeze(1).to(y.device)
        how = {"norm": norm, "steps": FAR_STEPS, "targets": FAR_TARGETS, "seed": self.seed}
        unit = "units of the inputs"
        if not len(right):
            return left_out(name, unit, 0, "higher", SMALLEST, self.split, "no row is answered rightly")
        _, far = attacks.fab(logits, rows.x[right], y[right], norm, bounds, FAR_STEPS, FAR_TARGETS)
        ordered = far.double().sort().values.tolist()
        value = _middle(ordered)
        n = len(ordered)
        if not math.isfinite(value):
            why = "for most rows no wrong answer was found at any distance"
            return left_out(name, unit, n, "higher", SMALLEST, self.split, why)
        ends = _ranks(n)
        interval = None if ends is None else (ordered[ends[0]], ordered[ends[1]])
        if interval is not None and not math.isfinite(interval[1]):
            interval = None
        made = "order statistics of the binomial distribution (Conover, 1999, sec. 3.2)"
        made = made if interval is not None else "none: too few rows, or too many on which nothing was found"
        return Measure(name, value, unit, n, "higher", SMALLEST, interval, self.split, {"interval": made, **how})


def _by_attack(counts: list[tuple[str, int]], n: int, where: str) -> Table:
    """How many rows each attack left."""
    rows: list[tuple[str | float | int | None, ...]] = []
    before = counts[0][1]
    for name, kept in counts:
        rows.append((SPOKEN[name], before - kept, kept, round(kept / n, 4)))
        before = kept
    caption = f"{n} rows, {where}; each attack has the rows that are still answered rightly."
    return Table("attacks", caption, ("attack", "falls", "still right", "accuracy"), tuple(rows))


def _middle(ordered: list[float]) -> float:
    n = len(ordered)
    return ordered[n // 2] if n % 2 else (ordered[n // 2 - 1] + ordered[n // 2]) / 2


def _ranks(n: int) -> tuple[int, int] | None:
    """The places in order, from 0, that hold a median between them with at least 95 %; None for too few rows.

    >>> _ranks(5), _ranks(6), _ranks(100)
    (None, (0, 5), (39, 60))
    """
    below, k = 0.5**n, 0  # P(X <= k - 1) must be at most 0.025; X binomial (n, 1/2)
    term = below
    while below <= 0.025:
        k += 1
        term *= (n - k + 1) / k
        below += term
    return None if k == 0 else (k - 1, n - k)
