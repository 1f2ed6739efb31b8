"""The standard suite: four attacks that fail for different reasons, each on the rows that the earlier ones left.

Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks, 2020,
section 5 (AutoAttack's standard version): APGD on the cross-entropy, targeted APGD on DLR, targeted FAB, Square.

Entry: adversarial examples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from .apgd import apgd, apgd_t
from .ball import Norm
from .fab import fab_t
from .losses import Logits, rightly
from .square import square

# N rows, A of them still standing

Attack = Callable[[Tensor, Tensor], Tensor]
"""x (A, ...), y (A,) -> candidates (A, ...), within the radius."""

NAMES = ("apgd_ce", "apgd_t", "fab_t", "square")


def suite(
    logits: Logits,
    radius: float,
    norm: Norm = "linf",
    bounds: tuple[float, float] = (0.0, 1.0),
    steps: int = 100,
    targets: int = 9,
    queries: int = 5000,
) -> dict[str, Attack]:
    """The attacks by name, in their order."""
    return {
        "apgd_ce": lambda x, y: apgd(logits, x, y, radius, norm, bounds, steps=steps),
        "apgd_t": lambda x, y: apgd_t(logits, x, y, radius, norm, bounds, steps, targets),
        "fab_t": lambda x, y: fab_t(logits, x, y, radius, norm, bounds, steps, targets),
        "square": lambda x, y: square(logits, x, y, radius, norm, bounds, queries),
    }


def standing(
    logits: Logits,
    x: Tensor,
    y: Tensor,
    attacks: dict[str, Attack],
    radius: float,
    norm: Norm = "linf",
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """After each attack its name, which rows are still answered rightly (N,), and the worst points so far (N, ...).

    The first is "clean": the rows as they are. An attack that leaves the ball or the bounds is a RuntimeError: what it
    found would prove nothing.
    """
    worst = x.clone()
    with torch.no_grad():
        stands = rightly(logits(x), y)
    yield "clean", stands.clone(), worst
    for name, attack in attacks.items():
        rows = stands.nonzero().squeeze(1)
        if len(rows):
            tried = attack(x[rows], y[rows])
            check_inside(name, tried, x[rows], radius, norm, bounds)
            with torch.no_grad():
                right = rightly(logits(tried), y[rows])
            stands[rows] = right
            worst[rows[~right]] = tried[~right]
        yield name, stands.clone(), worst


def check_inside(
    name: str, v: Tensor, x: Tensor, radius: float, norm: Norm, bounds: tuple[float, float], slack: float = 1e-5
) -> None:
    """Raise RuntimeError where points (N, ...) lie outside the ball around x or outside the bounds."""
    offset = (v - x).flatten(1)
    length = offset.abs().amax(1) if norm == "linf" else offset.norm(dim=1)
    reach = slack * max(1.0, radius)
    if not bool(v.isfinite().all()) or float(length.max()) > radius + reach:
        raise RuntimeError(f"{name} left its ball: {float(length.max()):g} of {radius:g}")
    low, high = bounds
    edge = slack * max(1.0, abs(low) if math.isfinite(low) else 1.0, abs(high) if math.isfinite(high) else 1.0)
    if float(v.min()) < low - edge or float(v.max()) > high + edge:
        raise RuntimeError(f"{name} left the bounds of the inputs")
