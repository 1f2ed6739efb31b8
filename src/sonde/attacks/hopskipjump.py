"""HopSkipJump: along the decision boundary to the nearest wrong answer, from decisions alone.

Chen, Jordan and Wainwright, HopSkipJumpAttack: a query-efficient decision-based attack, 2020, Algorithms 1 and 2: the
direction of the boundary is estimated from which side random neighbours fall on (eqs. 9 and 16), the step is halved
until it stays on the wrong side, and bisection leads back to the boundary.

Entry: adversarial examples.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .ball import Norm, spread, unit_length
from .losses import Logits, rightly

# N rows, A of them still attacked, B random neighbours of each, D numbers a row

FIRST_REACH = 0.1  # delta_1, of the range of the inputs; the authors' code
STARTS = 100  # random points that are tried for a first wrong answer
AT_ONCE = 1024  # points asked about in one forward pass
HALVINGS = 25  # of a step, before the row stays where it is

Wrong = Callable[[Tensor, Tensor], Tensor]


def hopskipjump(
    logits: Logits,
    x: Tensor,
    y: Tensor,
    norm: Norm = "l2",
    bounds: tuple[float, float] = (0.0, 1.0),
    steps: int = 50,
    neighbours: int = 100,
    most: int = 10_000,
    radius: float = 0.0,
) -> Tensor:
    """A wrongly answered point near each row of x (N, ...); the row itself where no random point is answered wrongly.

    logits: x -> (N, C), of which only the likeliest class is looked at. bounds: finite. neighbours: B_0, asked about in
    the first step; in step t B_0 sqrt(t), at most `most`. radius: a row rests as soon as its point is within it.
    """

    def wrong(v: Tensor, own: Tensor) -> Tensor:
        """Whether points (M, ...) are answered other than `own` (M,)."""
        with torch.no_grad():
            parts = [~rightly(logits(p), o) for p, o in zip(v.split(AT_ONCE), own.split(AT_ONCE), strict=True)]
        return torch.cat(parts)

    found = x.clone()
    if not len(x):
        return found
    d = x[0].numel()
    theta = d**-1.5 if norm == "l2" else d**-2.0  # sec. IV-B: the precision of the bisection
    rows = (~wrong(x, y)).nonzero().squeeze(1)
    start, begun = _begun(wrong, x[rows], y[rows], bounds)
    rows = rows[begun]
    v = _to_boundary(wrong, x[rows], y[rows], start[begun], norm, theta)
    found[rows] = v
    for t in range(1, steps + 1):
        distance = _length(v - x[rows], norm)
        going = distance > radius
        if not bool(going.all()):
            rows, v, distance = rows[going], v[going], distance[going]
        if not len(rows):
            break
        origin, own = x[rows], y[rows]
        reach = distance * theta * (math.sqrt(d) if norm == "l2" else d)  # delta_t
        if t == 1:
            reach = torch.full_like(reach, FIRST_REACH * (bounds[1] - bounds[0]))
        count = min(round(neighbours * math.sqrt(t)), most)
        direction = _direction(wrong, v, own, reach.clamp_min(1e-8), count, norm, bounds)
        jumped = _jumped(wrong, v, own, direction, distance / math.sqrt(t), bounds)
        v = _to_boundary(wrong, origin, own, jumped, norm, theta)
        nearer = _length(v - origin, norm) < _length(found[rows] - origin, norm)
        found[rows[nearer]] = v[nearer]
    return found


def _begun(wrong: Wrong, x: Tensor, y: Tensor, bounds: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """A random point that is answered wrongly for each row, and for which rows there is one, (A,)."""
    start, begun = x.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for _ in range(STARTS):
        left = (~begun).nonzero().squeeze(1)
        if not len(left):
            break
        tried = bounds[0] + (bounds[1] - bounds[0]) * torch.rand_like(x[left])
        hit = wrong(tried, y[left])
        start[left[hit]], begun[left[hit]] = tried[hit], True
    return start, begun


def _between(x: Tensor, v: Tensor, share: Tensor, norm: Norm) -> Tensor:
    """Of the way from x to the points v, a share (A,): straight for L2; for L-inf, v brought that near to x."""
    if norm == "l2":
        return torch.lerp(x, v, spread(share, x))
    reach = spread(share * _length(v - x, norm), x)
    return torch.minimum(torch.maximum(v, x - reach), x + reach)


def _to_boundary(wrong: Wrong, x: Tensor, y: Tensor, v: Tensor, norm: Norm, theta: float) -> Tensor:
    """Bisection between rows and their wrong points, up to a share theta of the way; what is left is still wrong."""
    low = torch.zeros(len(x), device=x.device, dtype=x.dtype)
    high = torch.ones_like(low)
    for _ in range(math.ceil(math.log2(1 / theta)) if len(x) else 0):
        middle = (low + high) / 2
        hit = wrong(_between(x, v, middle, norm), y)
        low, high = torch.where(hit, low, middle), torch.where(hit, middle, high)
    return torch.where(spread(high < 1, x), _between(x, v, high, norm), v)


def _direction(
    wrong: Wrong, v: Tensor, y: Tensor, reach: Tensor, count: int, norm: Norm, bounds: tuple[float, float]
) -> Tensor:
    """Where it gets more wrong, (A, ...), of length 1: eq. 16."""
    found = torch.empty_like(v)
    at_once = max(1, 16 * AT_ONCE // count)  # rows, so that the neighbours fit into memory
    for i in range(0, len(v), at_once):
        part, own, far = v[i : i + at_once], y[i : i + at_once], reach[i : i + at_once]
        a, shape = len(part), part.shape[1:]
        drawn = torch.randn(a * count, *shape, device=v.device, dtype=v.dtype)
        if norm == "linf":
            drawn.uniform_(-1, 1)
        far = spread(far.repeat_interleave(count), drawn)
        centre = part.repeat_interleave(count, 0)
        near = (centre + far * unit_length(drawn)).clamp(*bounds)
        side = torch.where(wrong(near, own.repeat_interleave(count)), 1.0, -1.0).to(v.dtype).view(a, count)  # phi
        mean = side.mean(1, keepdim=True)
        weight = torch.where(mean.abs() == 1, mean, side - mean)  # without a baseline where all fall on one side
        u = ((near - centre) / far).view(a, count, -1)
        found[i : i + at_once] = torch.einsum("ab,abd->ad", weight, u).view_as(part)
    return found.sign() if norm == "linf" else unit_length(found)


def _jumped(
    wrong: Wrong, v: Tensor, y: Tensor, direction: Tensor, length: Tensor, bounds: tuple[float, float]
) -> Tensor:
    """The step along the direction, halved for each row until its point is answered wrongly."""
    jumped, left = v.clone(), torch.arange(len(v), device=v.device)
    for _ in range(HALVINGS):
        tried = (v[left] + spread(length[left], v) * direction[left]).clamp(*bounds)
        hit = wrong(tried, y[left])
        jumped[left[hit]] = tried[hit]
        left = left[~hit]
        if not len(left):
            break
        length = length / 2
    return jumped


def _length(offset: Tensor, norm: Norm) -> Tensor:
    flat = offset.flatten(1)
    return flat.abs().amax(1) if norm == "linf" else flat.norm(dim=1)
