"""PGD: projected gradient ascent from random starts in the ball.

Madry, Makelov, Schmidt, Tsipras and Vladu, Towards deep learning models resistant to adversarial attacks, 2018, sec. 2.

Entry: adversarial examples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .apgd import LossOf
from .ball import Ball, Norm, Range
from .losses import Logits, cross_entropy, gradient_of, rightly

# N rows, A of them still answered rightly


def pgd(
    logits: Logits,
    x: Tensor,
    y: Tensor,
    radius: float,
    norm: Norm = "linf",
    bounds: tuple[float, float] = (0.0, 1.0),
    loss: LossOf = cross_entropy,
    step: float = 0.0,
    steps: int = 40,
    restarts: int = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Points within `radius` of x (N, ...), each answered wrongly if one was found; a row that was broken rests.

    logits: x -> (N, C). step: its length in the inputs' units; 0 is 2.5 radius / steps (the paper's appendix). A row
    that stands is returned as its last point; one that is answered wrongly as it is, unmoved.
    generator: of the starts for L-inf, one draw for all rows whoever still stands; torch's own if not given.
    """
    length = step if step > 0 else 2.5 * radius / steps
    found = x.clone()
    with torch.no_grad():
        rows = rightly(logits(x), y).nonzero().squeeze(1)  # (A,)
    for _ in range(restarts if radius > 0 else 0):
        ball = Ball(x[rows], radius, norm, Range(1.0, *bounds))
        if norm == "linf":
            noise = torch.rand(x.shape, generator=generator).to(x)[rows]
            v = torch.lerp(x[rows] - radius, x[rows] + radius, noise).clamp(*bounds)
        else:
            v = ball.start()
        for i in range(steps + 1):
            if not len(rows):
                return found
            v = v.detach().requires_grad_()
            with torch.enable_grad():
                z = logits(v)
                stands = rightly(z, y[rows])
                if i < steps:
                    gradient = gradient_of(loss(z, y[rows]), v)
            v = v.detach()
            found[rows] = v
            if i < steps:
                v = ball.step(v, gradient, length)
            if not bool(stands.all()):
                v, rows = v[stands], rows[stands]
                ball = Ball(x[rows], radius, norm, Range(1.0, *bounds))
    return found
