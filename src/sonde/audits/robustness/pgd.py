"""Accuracy under projected gradient descent.

Madry, Makelov, Schmidt, Tsipras and Vladu, Towards deep learning models resistant to adversarial attacks, 2018, sec. 2.

Entry: adversarial examples.
"""

# N rows, C classes

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from sonde.core import Measure, SondeError

from ..quality.intervals import settings, wilson

SOURCE = "Madry et al., 2018, sec. 2"


def pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    radius: float,
    step: float,
    steps: int = 100,
    restarts: int = 10,
    bounds: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
    batch_size: int = 512,
    split: str = "test",
) -> Measure:
    """The share of rows answered rightly whatever this attack tries within an L-inf ball, with a Wilson interval.

    model: x (N, ...) -> logits (N, C); asked in evaluation mode, and left as it was. y: (N,) int64.
    radius, step: in the inputs' units. restarts: random starts in the ball; a row that was broken once is left out of
        later steps, so a weak model costs little. bounds: of the inputs; rows outside them are an error.

    An upper bound of the true robust accuracy: a stronger attack can only lower it. At radius 0 it is the accuracy.
    """
    low, high = bounds
    if not len(x):
        raise SondeError("no rows to attack", "give a split that has rows")
    if bool((x < low).any() | (x > high).any()):
        raise SondeError(f"some inputs lie outside [{low:g}, {high:g}]", "give the true bounds=(low, high)")
    if radius < 0 or step <= 0 and radius > 0 or steps < 1 or restarts < 1:
        raise SondeError("an attack needs a radius of 0 or more, a positive step, steps and restarts", "give these")
    generator = torch.Generator().manual_seed(seed)
    with _asked(model):
        stands = torch.cat(
            [
                _stands(model, xs, ys, radius, step, steps, restarts, bounds, generator)
                for xs, ys in zip(x.split(batch_size), y.split(batch_size), strict=True)
            ]
        )
    right, n = int(stands.sum()), len(stands)
    interval = wilson(right, n)
    how = {"norm": "linf", "radius": radius, "step": step, "steps": steps, "restarts": restarts, "seed": seed}
    return Measure(
        name="robustness/pgd",
        value=right / n,
        unit="1",
        n=n,
        better="higher",
        source=SOURCE,
        interval=interval,
        split=split,
        settings={**settings("wilson", interval), **how},
    )


def _stands(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    radius: float,
    step: float,
    steps: int,
    restarts: int,
    bounds: tuple[float, float],
    generator: torch.Generator,
) -> Tensor:
    """Whether each row is answered rightly at every point that was tried, (N,)."""
    with torch.no_grad():
        stands = model(x).argmax(1) == y
    least, most = (x - radius).clamp_min(bounds[0]), (x + radius).clamp_max(bounds[1])
    for _ in range(restarts if radius > 0 else 0):
        rows = stands.nonzero().squeeze(1)  # (A,): still active
        noise = torch.rand(x.shape, generator=generator).to(x)[rows]
        v = torch.lerp(x[rows] - radius, x[rows] + radius, noise).clamp(*bounds)
        for i in range(steps + 1):
            if not len(rows):
                return stands
            v.requires_grad_()
            logits = model(v)
            holds = logits.argmax(1) == y[rows]
            stands[rows[~holds]] = False
            if i == steps:
                break
            (up,) = torch.autograd.grad(F.cross_entropy(logits, y[rows], reduction="sum"), v)
            v = torch.add(v.detach(), up.sign_(), alpha=step)
            v = torch.minimum(torch.maximum(v, least[rows]), most[rows])
            if not bool(holds.all()):
                v, rows = v[holds], rows[holds]
    return stands


@contextmanager
def _asked(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, without gradients of its parameters, which an attack does not need."""
    modes = {m: m.training for m in model.modules()}
    wanted = {p: p.requires_grad for p in model.parameters()}
    model.eval()
    for p in wanted:
        p.requires_grad_(False)
    try:
        with torch.enable_grad():
            yield
    finally:
        for m, training in modes.items():
            m.training = training
        for p, asked in wanted.items():
            p.requires_grad_(asked)
