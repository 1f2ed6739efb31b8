"""Accuracy under projected gradient descent.

Madry, Makelov, Schmidt, Tsipras and Vladu, Towards deep learning models resistant to adversarial attacks, 2018, sec. 2.

Entry: adversarial examples.
"""

# N rows, C classes

from __future__ import annotations

import torch
from torch import Tensor, nn

from sonde import attacks
from sonde.core import Measure, SondeError, unchanged

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
    stands = torch.empty(len(x), dtype=torch.bool)
    with unchanged(model):
        for i in range(0, len(x), batch_size):
            xs, ys = x[i : i + batch_size], y[i : i + batch_size]
            v = attacks.pgd(
                model, xs, ys, radius, "linf", bounds, step=step, steps=steps, restarts=restarts, generator=generator
            )
            with torch.no_grad():
                stands[i : i + batch_size] = (model(v).argmax(1) == ys).cpu()
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
