"""Carlini and Wagner's L2 attack: the change and the margin minimised together, their balance found by bisection.

Carlini and Wagner, Towards evaluating the robustness of neural networks, 2017, secs. V and VI-A: the objective f_6, the
change of variables by tanh, Adam, and binary search for the constant c of each row.

Entry: adversarial examples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .ball import spread
from .losses import Logits, gradient_of, margin

# N rows, A of them still searched for

INSIDE = 1 - 1e-6  # so that the inverse of tanh is finite
BETAS, EPS = (0.9, 0.999), 1e-8  # Adam's
WORTH = 0.7  # share of rows: with fewer a forward pass more, and a backward pass over those alone, costs less
PATIENCE = 10  # a row whose objective has not fallen by 0.01 % in a tenth of the steps rests


def carlini_wagner(
    logits: Logits,
    x: Tensor,
    y: Tensor,
    bounds: tuple[float, float] = (0.0, 1.0),
    steps: int = 1000,
    searches: int = 9,
    rate: float = 0.01,
    constant: float = 1e-3,
    confidence: float = 0.0,
) -> Tensor:
    """The wrongly answered point of the smallest L2 change that was found for each row; the row where none was.

        minimise  || v - x ||^2 + c max(z_y - max_{i != y} z_i, -kappa),   v = low + (high - low) (tanh(w) + 1) / 2

    logits: x -> (N, C). y: (N,) int64. bounds: finite. steps: of Adam with `rate`, for each of the `searches` values
    of c, of which `constant` is the first. confidence: kappa, by how much a wrong logit must lead.
    """
    low, high = bounds
    mean, half = (low + high) / 2, (high - low) / 2
    found, shortest = x.clone(), torch.full((len(x),), torch.inf, device=x.device, dtype=x.dtype)
    with torch.no_grad():
        shortest[margin(logits(x), y) > confidence] = 0.0
    todo = (shortest > 0).nonzero().squeeze(1)
    least, most = torch.zeros_like(shortest), torch.full_like(shortest, torch.inf)  # of c
    c = torch.full_like(shortest, constant)
    for _ in range(searches):
        if not len(todo):
            break
        point, length = _minimised(logits, x[todo], y[todo], c[todo], mean, half, steps, rate, confidence)
        hit = length.isfinite()
        closer = length < shortest[todo]
        found[todo[closer]], shortest[todo[closer]] = point[closer], length[closer]
        most[todo] = torch.where(hit, c[todo], most[todo])
        least[todo] = torch.where(hit, least[todo], c[todo])
        c = torch.where(most.isinf(), 10 * c, (least + most) / 2)
    return found


def _minimised(
    logits: Logits,
    x: Tensor,
    y: Tensor,
    c: Tensor,
    mean: float,
    half: float,
    steps: int,
    rate: float,
    confidence: float,
) -> tuple[Tensor, Tensor]:
    """For each row's c, (N,): the nearest wrong point on Adam's way, and its distance; inf where there was none."""
    best, length = x.clone(), torch.full((len(x),), torch.inf, device=x.device, dtype=x.dtype)
    rows = torch.arange(len(x), device=x.device)
    w = ((x - mean) / half * INSIDE).clamp(-INSIDE, INSIDE).atanh()
    first, second = torch.zeros_like(w), torch.zeros_like(w)  # Adam's moments
    lowest = torch.full_like(length, torch.inf)  # the objective at the last look
    origin, own, weight = x, y, c
    patience = max(1, steps // PATIENCE)
    one = w.new_ones(())
    short = 1.0  # the share of rows whose wrong logit did not lead by enough in the last step
    for i in range(steps):
        t = w.tanh()
        v = torch.add(t * half, mean)
        offset = v - origin
        squared = offset.flatten(1).square().sum(1)
        lead, slope, short = _lead(logits, v, own, confidence, short)
        reached = squared.sqrt()
        hit = (lead > confidence) & (reached < length[rows])
        if bool(hit.any()):
            best[rows[hit]], length[rows[hit]] = v[hit], reached[hit]
        # The gradient with respect to w less a factor of 2 half, which Adam does not see but for its epsilon.
        if slope is not None:
            offset.sub_(slope.mul_(spread(weight / 2, v)))
        g = offset.mul_(torch.addcmul(one, t, t, value=-1))
        first.lerp_(g, 1 - BETAS[0])
        second.mul_(BETAS[1]).addcmul_(g, g, value=1 - BETAS[1])
        unbiased = (1 - BETAS[1] ** (i + 1)) ** 0.5
        scale = second.sqrt().add_(EPS / (2 * half) * unbiased)
        w.addcdiv_(first, scale, value=-rate * unbiased / (1 - BETAS[0] ** (i + 1)))
        if (i + 1) % patience == 0:
            now = squared + weight * (-lead).clamp_min(-confidence)
            going = now <= 0.9999 * lowest
            lowest = torch.minimum(lowest, now)
            if not bool(going.all()):
                kept = (rows, w, first, second, lowest, origin, own, weight)
                rows, w, first, second, lowest, origin, own, weight = (k[going] for k in kept)
                if not len(rows):
                    break
    return best, length


def _lead(logits: Logits, v: Tensor, y: Tensor, confidence: float, short: float) -> tuple[Tensor, Tensor | None, float]:
    """By how much a wrong logit leads, (A,), its gradient where that is not enough, else 0, and the share of such rows.

    None in place of the gradient where every row's lead is enough. A row whose lead is enough needs no backward pass.
    If that was so of many in the last step, a forward pass first finds out which.
    """
    slope = None
    if short > WORTH:
        u = v.requires_grad_()
        with torch.enable_grad():
            lead = margin(logits(u), y)
        needed = lead.detach() <= confidence
        if bool(needed.any()):
            slope = gradient_of(lead, u).mul_(spread(needed.to(v.dtype), v))
        v.requires_grad_(False)
        return lead.detach(), slope, float(needed.float().mean())
    with torch.no_grad():
        lead = margin(logits(v), y)
    needed = lead <= confidence
    if bool(needed.any()):
        u = v[needed].requires_grad_()
        slope = torch.zeros_like(v)
        with torch.enable_grad():
            slope[needed] = gradient_of(margin(logits(u), y[needed]), u)
    return lead, slope, float(needed.float().mean())
