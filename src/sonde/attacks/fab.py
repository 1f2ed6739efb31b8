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
from .losses import Logits, gradient_of, likeliest_others, margin, rightly

# N rows, A of them still attacked, D numbers a row

OVERSHOOT = 1.05  # eta: beyond the linearised boundary; sec. 3
BIAS = 0.1  # alpha_max: how much the step is drawn towards the original; sec. 3
BACK = 0.9  # beta: how far a success stays from the original; sec. 3
HALVINGS = 16  # of the way to a point, in the final search: to 2e-5 of its length
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

    A row is done when its point lies within `radius`, and returned unchanged when none does.
    """
    if radius <= 0:
        return x.clone()
    found, nearest = _nearest(logits, x, y, radius, norm, bounds, steps, targets)
    return torch.where(spread(nearest <= radius, x), found, x)


def fab(
    logits: Logits,
    x: Tensor,
    y: Tensor,
    norm: Norm = "linf",
    bounds: tuple[float, float] = (0.0, 1.0),
    steps: int = 100,
    targets: int = 9,
) -> tuple[Tensor, Tensor]:
    """The nearest wrongly answered points of all, (N, ...), and how far they are, (N,): inf where none was found.

    A row that is answered wrongly as it is stays as it is, at 0.
    """
    found, nearest = _nearest(logits, x, y, 0.0, norm, bounds, steps, targets)
    found = _nearer(logits, x, y, found)
    return found, torch.where(nearest.isfinite(), _length(found - x, norm), nearest)


def _nearest(
    logits: Logits,
    x: Tensor,
    y: Tensor,
    radius: float,
    norm: Norm,
    bounds: tuple[float, float],
    steps: int,
    targets: int,
) -> tuple[Tensor, Tensor]:
    """Against each likely class in turn, until a point lies within the radius."""
    found = x.clone()
    nearest = torch.full((len(x),), torch.inf, device=x.device, dtype=x.dtype)
    with torch.no_grad():
        z = logits(x)
    nearest[~rightly(z, y)] = 0.0
    order = likeliest_others(z, y, targets)  # (N, targets)
    for t in range(order.shape[1]):
        rows = (nearest > radius).nonzero().squeeze(1)
        if not len(rows):
            break
        point, length = _towards(logits, x[rows], y[rows], order[rows, t], nearest[rows], radius, norm, bounds, steps)
        closer = length < nearest[rows]
        found[rows[closer]], nearest[rows[closer]] = point[closer], length[closer]
    return found, nearest


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
            wrong = ~rightly(logits(v), y[rows])
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


def _nearer(logits: Logits, x: Tensor, y: Tensor, found: Tensor) -> Tensor:
    """The final search (sec. 3): where the way from each row to its wrong point crosses the boundary, (N, ...)."""
    right = torch.zeros(len(x), device=x.device, dtype=x.dtype)  # how much of the way is still answered rightly
    wrong = torch.ones_like(right)
    for _ in range(HALVINGS):
        middle = (right + wrong) / 2
        with torch.no_grad():
            crossed = ~rightly(logits(torch.lerp(x, found, spread(middle, x))), y)
        right, wrong = torch.where(crossed, right, middle), torch.where(crossed, middle, wrong)
    return torch.lerp(x, found, spread(wrong, x))


def _boundary(logits: Logits, v: Tensor, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """z_target - z_y at v, (A,), negative where the answer stands, and its gradient."""
    v = v.detach().requires_grad_()
    with torch.enable_grad():
        value = margin(logits(v), y, target)
        gradient = gradient_of(value, v)
    return value.detach().nan_to_num(0.0), gradient  # not finite: nowhere to go


def project(u: Tensor, w: Tensor, value: Tensor, norm: Norm, low: float, high: float) -> Tensor:
    """The smallest d (A, D) with value + w . d = 0 and u + d in the box; as near to 0 as the box allows otherwise.

    u, w: (A, D); value: (A,). For L-inf each number moves by min(r, its room); for L2 by min(r |w_i|, its room).
    """
    # Masks are multiplied in, as torch.where costs several times as much: this is most of the attack's time.
    weight = w.abs()
    tiny = torch.finfo(u.dtype).tiny
    upward = torch.copysign(torch.ones((), device=u.device, dtype=u.dtype), w).mul_(torch.sign(-value)[:, None])
    room = torch.maximum((high - u).mul_(upward), (low - u).mul_(upward)).clamp_min_(0)  # until its bound
    if norm == "linf":
        bend, rate = room, weight
    else:
        bend, rate = room.div_(weight.clamp_min(tiny**0.5)), weight * weight
    # A change of length r gains sum(rate min(r, bend)): up to its bend each number gains `rate` for a unit of r.
    needed = value.abs()
    r, short = torch.zeros_like(needed), needed
    for _ in range(NEWTON):
        slope = (bend > r[:, None]).to(u.dtype).mul_(rate).sum(1)
        # Past the last bend nothing more can be gained: all numbers stand at their bounds.
        beyond = torch.where(short > 1e-6 * needed, torch.inf, 0.0)
        more = torch.where(slope > 0, short.clamp_min(0) / slope.clamp_min(tiny), beyond)
        r = r + more
        if bool(((more <= 1e-6 * r) | r.isinf()).all()):
            break
        short = needed - torch.minimum(bend, r[:, None]).mul_(rate).sum(1)
    r = r.masked_fill(~(weight.amax(1) > 0), 0.0)  # without a gradient nothing helps, and a bound may be infinite
    step = torch.minimum(bend, r[:, None]).mul_(upward)
    return step.mul_((weight > 0).to(u.dtype) if norm == "linf" else weight)


def _length(offset: Tensor, norm: Norm) -> Tensor:
    flat = offset.flatten(1)
    return flat.abs().amax(1) if norm == "linf" else flat.norm(dim=1)
