"""DeepFool: steps onto the nearest boundary of the linearised classifier, until the answer changes.

Moosavi-Dezfooli, Fawzi and Frossard, DeepFool: a simple and accurate method to fool deep neural networks, 2016,
Algorithm 2; sec. 3.3, eq. 11 for other norms. Deliberate differences: only the likeliest classes are candidates, as in
the authors' code; points are held within the bounds after each step, and rows that are wrong rest. The paper knows no
bounds. A row that a fifth of the steps did not move across is most often held by them: from then on what stands at its
bound and would leave it counts as fixed. On a net trained to withstand attacks that raised the rows of MNIST that fall
from 79 % to all.

Entry: adversarial examples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .ball import Norm
from .losses import Logits, gradient_of, likeliest_others, rightly

# N rows, A of them still answered rightly, K candidate classes, D numbers a row

OVERSHOOT = 0.02  # eta: sec. 4
BEYOND = 1e-4  # of the way past each boundary, in units of the inputs, so that no row comes to rest on it; their code
HELD = 5  # of so many parts of the steps, after the first what the bounds hold is taken into account
TINY = 1e-12  # of a gradient: below it a boundary is out of reach


def deepfool(
    logits: Logits,
    x: Tensor,
    y: Tensor,
    norm: Norm = "l2",
    bounds: tuple[float, float] = (0.0, 1.0),
    steps: int = 50,
    candidates: int = 9,
) -> Tensor:
    """A wrongly answered point near each row of x (N, ...); the last point where none was found.

    logits: x -> (N, C). y: (N,) int64. candidates: other classes whose boundaries are looked at, the likeliest first.
    A row that is answered wrongly as it is stays as it is.
    """
    found = x.clone()
    with torch.no_grad():
        z = logits(x)
    order = likeliest_others(z, y, candidates)  # (N, K)
    rows = rightly(z, y).nonzero().squeeze(1)
    v = x[rows]
    for i in range(steps + 1):
        value, gradient, stands = _boundaries(logits, v, y[rows], order[rows], i < steps)
        found[rows] = v
        if i == steps or not bool(stands.any()):
            break
        rows, v, value, gradient = rows[stands], v[stands], value[:, stands], gradient[:, stands]
        if i >= steps // HELD:
            low, high = (v.flatten(1) <= bounds[0]), (v.flatten(1) >= bounds[1])
            gradient = gradient.masked_fill((low & (gradient < 0)) | (high & (gradient > 0)), 0.0)
        dual = gradient.abs().sum(2) if norm == "linf" else gradient.norm(dim=2)  # (K, A)
        far = torch.where(dual > TINY, value.abs() / dual.clamp_min(TINY), torch.inf)
        nearest = far.argmin(0)  # (A,)
        index = torch.arange(len(rows), device=x.device)
        w, distance = gradient[nearest, index], far[nearest, index].nan_to_num(posinf=0.0)  # (A, D), (A,)
        reach = (1 + OVERSHOOT) * (distance + BEYOND)
        if norm == "linf":
            change = reach[:, None] * w.sign()
        else:
            change = reach[:, None] * w / w.norm(dim=1, keepdim=True).clamp_min(TINY)
        v = (v + change.view_as(v)).clamp(*bounds)
    return found


def _boundaries(logits: Logits, v: Tensor, y: Tensor, order: Tensor, wanted: bool) -> tuple[Tensor, Tensor, Tensor]:
    """z_k - z_y of the candidates, (K, A), their gradients, (K, A, D), and which rows are answered rightly, (A,).

    One forward pass, and a backward pass for each class.
    """
    v = v.detach().requires_grad_(wanted)
    with torch.set_grad_enabled(wanted):
        z = logits(v)
        stands = rightly(z, y)
        value = (z.gather(1, order) - z.gather(1, y[:, None])).T  # (K, A)
        gradients = []
        for k in range(len(value) if wanted and bool(stands.any()) else 0):
            gradients.append(gradient_of(value[k], v, again=k + 1 < len(value)).flatten(1))
    empty = v.new_zeros(len(value), *v.flatten(1).shape)
    return value.detach().nan_to_num(0.0), torch.stack(gradients) if gradients else empty, stands
