"""Signs that attacks by gradient fail for a reason that is no robustness.

Athalye, Carlini and Wagner, Obfuscated gradients give a false sense of security, 2018, sec. 3.1; Carlini et al., On
evaluating adversarial robustness, 2019, sec. 5: one step must not beat many, nor attacks that ask for answers alone
those that see the gradient; with a large enough radius every row must fall. A sign is no proof, nor is its
absence.

Entry: adversarial examples; audits.
"""

# N rows, A of them answered rightly

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from sonde import attacks
from sonde.attacks import Ball, Range
from sonde.attacks.losses import margin
from sonde.core import Audit, Clock, Measure, SondeError, Subject, Table
from sonde.core.finding import Shown

from ..quality.intervals import left_out, wilson
from ._asking import LEAST, drawn
from ._attacking import check_agreement, classes_of, logits_of, not_attacked, range_of, right_by_logits, share

ATHALYE = "Athalye et al., 2018, sec. 3.1"
CHECKLIST = "Carlini et al., 2019, sec. 5"
LARGE = 0.5  # of the range of the inputs: with it any picture can be made grey
SIGN = 0.01  # share of rows whose interval must lie above it for a sign
STARTS = 2  # of the attack by many steps


class GradientMasking(Audit):
    """Signs that gradients mislead an attack.

    radius: of the ball (L-inf), as a share of the range of the inputs. rows: at most, drawn by `seed`. steps: of the
        gradient attack. queries, draws: of Square, and of random points, for each row.
    """

    cost = 2.0
    headline = "signs"

    def __init__(
        self,
        radius: float = 8 / 255,
        rows: int = 100,
        steps: int = 20,
        queries: int = 300,
        draws: int = 50,
        split: str = "test",
        seed: int = 0,
    ) -> None:
        if not 0 < radius < math.inf or min(rows, steps, queries, draws) < 1:
            raise SondeError(
                f"GradientMasking(radius={radius}, rows={rows}, steps={steps}, queries={queries}, draws={draws}) "
                "tries nothing",
                "choose a radius above 0, and at least one row, step, query and draw",
            )
        self.radius, self.rows, self.steps = radius, rows, steps
        self.queries, self.draws, self.split, self.seed = queries, draws, split, seed

    def refuses(self, subject: Subject) -> str:
        """See `Audit.refuses`."""
        return not_attacked(subject)

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        """See `Audit.run`."""
        logits, (bounds, unit) = logits_of(subject), range_of(subject)
        rows = drawn(subject, self.split, self.rows, self.seed)
        if clock.left < 5:
            rows = rows[: min(len(rows), LEAST)]
        check_agreement(subject, rows)
        radius = self.radius * unit
        right = right_by_logits(subject, rows.x, classes_of(rows)).nonzero().squeeze(1).to(rows.x.device)
        x, y = rows.x[right], classes_of(rows)[right]
        if not len(x):
            for name in MEASURES:
                yield left_out(name, "1", 0, "lower", CHECKLIST, self.split, "no row is answered rightly")
            return

        def falls(v: Tensor) -> Tensor:
            return ~right_by_logits(subject, v, y)

        z = torch.zeros(len(x), dtype=torch.bool)
        many = falls(attacks.apgd(logits, x, y, radius, "linf", bounds, steps=self.steps))
        for _ in range(STARTS - 1):
            left = (~many).nonzero().squeeze(1).to(x.device)
            v = x.clone()
            v[left] = attacks.pgd(logits, x[left], y[left], radius, "linf", bounds, steps=self.steps)
            many |= falls(v)
        clock.at(0.3)
        one = falls(attacks.fgsm(logits, x, y, radius, "linf", bounds))
        blind = z.clone()
        left = (~many).nonzero().squeeze(1).to(x.device)
        v = x.clone()
        v[left] = attacks.square(logits, x[left], y[left], radius, "linf", bounds, self.queries)
        blind |= falls(v)
        clock.at(0.6)
        ball = Ball(x[left], radius, "linf", Range(1.0, *bounds))
        chance = z.clone()
        for _ in range(self.draws if len(left) else 0):
            v = x.clone()
            corner = ball.centre + radius * torch.randint(0, 2, ball.centre.shape, device=x.device).to(x).mul_(2).sub_(
                1
            )
            v[left] = ball.project(corner)
            chance[left.cpu()] |= ~right_by_logits(subject, v[left], y[left])
        clock.at(0.8)
        large = falls(attacks.apgd(logits, x, y, LARGE * unit, "linf", bounds, steps=self.steps))
        blank = without_gradient(logits, x, y)
        counts = {
            "one_step_only_share": one & ~many,
            "black_box_only_share": blind,
            "random_only_share": chance,
            "standing_at_large_radius_share": ~large,
            "without_gradient_share": blank,
        }
        n = len(x)
        lines: list[tuple[str | float | int | None, ...]] = []
        signs = 0
        for name, (words, source, value) in WHAT.items():
            count = int(counts[name].sum())
            at = LARGE * unit if name.startswith("standing") else radius
            how = {"norm": "linf", "radius": at, "steps": self.steps, "starts": STARTS, "queries": self.queries}
            yield share(f"robustness/masking/{name}", count, n, "lower", source, self.split, how | {"seed": self.seed})
            ends = wilson(count, n)
            sign = ends is not None and ends[0] > SIGN
            signs += sign
            lines.append((words, count, round(count / n, 4), "yes: " + value if sign else "no"))
        yield Measure(
            "robustness/masking/signs", float(signs), "of 5", n, "lower", CHECKLIST, None, self.split,
            {"sign": f"a share whose 95 % interval lies above {SIGN}", "interval": "none: a count of findings"},
        )  # fmt: skip
        caption = f"What gradients missed, on {n} rows answered rightly, within {radius:.4g} (L-inf)."
        yield Table("gradient_masking", caption, ("rows that", "rows", "share", "a sign of masking"), tuple(lines))


WHAT = {
    "one_step_only_share": (
        "fall to one step, but not to many", CHECKLIST, "many steps are misled; try other losses and step sizes"
    ),
    "black_box_only_share": (
        "fall to Square without gradients, but not to gradients", ATHALYE, "attack through a smooth stand-in (BPDA)"
    ),
    "random_only_share": (
        "fall to random points, but not to gradients", ATHALYE, "gradients point nowhere"
    ),
    "standing_at_large_radius_share": (
        "stand when half of the range is allowed", ATHALYE, "the attack fails; no picture can stand that"
    ),
    "without_gradient_share": (
        "have a gradient of zero, or none that is finite", ATHALYE, "attack without gradients, or through a stand-in"
    ),
}  # fmt: skip
"""What each share says in words, its source, and what to do where it is a sign."""

MEASURES = tuple(f"robustness/masking/{name}" for name in (*WHAT, "signs"))


def without_gradient(logits: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Which rows' margin has a gradient of zero, or one that is not finite; (N,)."""
    v = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        value = margin(logits(v), y).sum()
        g = torch.autograd.grad(value, v, allow_unused=True)[0] if value.requires_grad else None
    flat = torch.zeros_like(x).flatten(1) if g is None else g.flatten(1)
    return ((flat == 0).all(1) | ~flat.isfinite().all(1)).cpu()
