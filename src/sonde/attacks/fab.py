"""FAB: the smallest change that crosses a decision boundary, by projections onto its linearisation.

Croce and Hein, Minimally distorted adversarial examples with a fast adaptive boundary attack, 2020, Algorithm 1, in its
targeted form (Croce and Hein, Reliable evaluation ..., 2020, sec. 4.2): one boundary at a time, one gradient a step.

The projection onto a hyperplane within the box of the inputs has a closed form by sorting (sec. 2.2). Here it is found
by Newton's method on the length of the change: what a change of length r can gain is a concave, piecewise linear
function of r, on which Newton's method from below ends at the exact root after a few steps, without sorting.

Entry: adversarial examples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .ball import Norm, spread
from .losses import Logits, likeliest_others, margin

# N rows, A of them still attacked, D numbers a row

OVERSHOOT = 1.05  # eta: beyond the linearised boundary; sec. 3
BIAS = 0.1  # alpha_max: how much the step is drawn towards the original; sec. 3
BACK = 0.9  # beta: how far a success stays from the original; sec. 3
NEWTON = 50  # each step fixes at least one more number at its bound; in practice five to ten do


def fab_t(
    logits: Logits,
    x: Tensor,
    y: Tensor,
    radius: float,
    norm: Norm = "linf",
    bounds: tuple[float, float] = (0.0, 1.0),
    steps: int = 100,
    targets: int = 9,
) -> Tensor:
    """The nearest wrongly answered point found for each row of x (N, ...), against each likely class in turn.

    A row is done when its point lies within `radius`, and returned unchanged when none does; radius 0 looks for the
    smallest change of all, however large.
    """
    found = x.clone()
    nearest = torch.full((len(x),), torch.inf, device=x.device, dtype=x.dtype)
    with torch.no_grad():
        z = logits(x)
    nearest[z.argmax(1) != y] = 0.0
    order = likeliest_others(z, y, targets)  # (N, targets)
    for t in range(order.shape[1]):
        rows = (nearest > radius).nonzero().squeeze(1)
        if not len(rows):
            break
        point, length = _towards(logits, x[rows], y[rows], order[rows, t], nearest[rows], radius, norm, bounds, steps)
        closer = length < nearest[rows]
        found[rows[closer]], nearest[rows[closer]] = point[closer], length[closer]
    return torch.where(spread(nearest <= radius, x), found, x) if radius > 0 else found


def _towards(
    logits: Logits,
    x: Tensor,
    y: Tensor,
    target: Tensor,
    nearest: Tensor,
    radius: float,
    norm: Norm,
    bounds: tuple[float, float],
    steps: int,
) -> tuple[Tensor, Tensor]:
    """The nearest wrong point across one boundary, and its distance; only distances below `nearest` count."""
    low, high = bounds
    best, length = x.clone(), nearest.clone()
    rows = torch.arange(len(x), device=x.device)
    v = x.clone()
    for _ in range(steps):
        origin = x[rows]
        value, w = _boundary(logits, v, y[rows], target[rows])  # the boundary near v: value + w . (u - v) = 0
        v_flat, x_flat, w_flat = v.flatten(1), origin.flatten(1), w.flatten(1)
        both = project(
            torch.cat([v_flat, x_flat]),
            w_flat.repeat(2, 1),
            torch.cat([value, value + (w_flat * (x_flat - v_flat)).sum(1)]),
            norm,
            low,
            high,
        )
        from_v, from_x = both.chunk(2)
        far_v, far_x = _length(from_v, norm).clamp_min(1e-8), _length(from_x, norm).clamp_min(1e-8)
        alpha = (far_v / (far_v + far_x)).clamp(0.0, BIAS)[:, None]
        moved = (v_flat + OVERSHOOT * from_v) * (1 - alpha) + (x_flat + OVERSHOOT * from_x) * alpha
        v = moved.clamp(low, high).view_as(v)
        with torch.no_grad():
            wrong = logits(v).argmax(1) != y[rows]
        if bool(wrong.any()):
            offset = (v - origin)[wrong]
            reached = _length(offset.flatten(1), norm)
            closer = reached < length[rows[wrong]]
            hit = rows[wrong][closer]
            best[hit], length[hit] = v[wrong][closer], reached[closer]
            v[wrong] = origin[wrong] + BACK * offset
        going = length[rows] > radius
        if not bool(going.all()):
            rows, v = rows[going], v[going]
            if not len(rows):
                break
    return best, length


def _boundary(logits: Logits, v: Tensor, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """z_target - z_y at v, (A,), negative where the answer stands, and its gradient."""
    v = v.detach().requires_grad_()
    with torch.enable_grad():
        value = margin(logits(v), y, target)
        (gradient,) = torch.autograd.grad(value.sum(), v)
    return value.detach(), gradient


def project(u: Tensor, w: Tensor, value: Tensor, norm: Norm, low: float, high: float) -> Tensor:
    """The smallest d (A, D) with value + w . d = 0 and u + d in the box; as near to 0 as the box allows otherwise.

    u, w: (A, D); value: (A,). For L-inf each number moves by min(r, its room); for L2 by min(r |w_i|, its room).
    """
    sign = -torch.sign(value)[:, None]  # w . d must have this sign
    gain = w * sign  # (A, D)
    room = torch.where(gain > 0, high - u, u - low)  # (A, D)
    weight = gain.abs()
    room = torch.where(weight > 0, room, 0.0).clamp_min(0.0)
    speed = torch.ones_like(weight) if norm == "linf" else weight  # by which a number moves for each unit of r
    full = weight * room  # what a number gains at its bound
    rate = weight * speed  # what it gains for each unit of r until there
    needed = value.abs()
    r = needed / rate.sum(1).clamp_min(torch.finfo(u.dtype).tiny)
    for _ in range(NEWTON):
        bound = room <= r[:, None] * speed  # numbers that are at their bounds
        left = needed - torch.where(bound, full, 0.0).sum(1)
        free = torch.where(bound, 0.0, rate).sum(1)
        new = torch.where(free > 0, left / free.clamp_min(torch.finfo(u.dtype).tiny), torch.inf)
        # Past the last bend nothing more can be gained: all numbers stand at their bounds.
        grown = torch.maximum(r, new)
        done = grown <= r * (1 + 1e-6)
        r = grown
        if bool((done | r.isinf()).all()):
            break
    step = torch.where(weight > 0, torch.minimum(r[:, None] * speed, room), 0.0)
    return step * torch.sign(gain)


def _length(offset: Tensor, norm: Norm) -> Tensor:
    flat = offset.flatten(1)
    return flat.abs().amax(1) if norm == "linf" else flat.norm(dim=1)
