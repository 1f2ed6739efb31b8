"""Square attack: random search with square patches of the largest change, asking for logits alone.

Andriushchenko, Croce, Flammarion and Hein, Square attack: a query-efficient black-box adversarial attack via random
search, 2020, Algorithm 1 with the sampling of Algorithm 2 (L-inf) or 3 (L2). It needs no gradient, so it also sees
through gradients that mislead.

Entry: adversarial examples.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .ball import Norm, unit_length
from .losses import Logits, margin

# N rows, A of them still attacked, C channels, H height, W width, S side of a square

SHARE = {"linf": 0.8, "l2": 0.1}  # p: of the pixels in the first square; sec. 5
HALVED_AT = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10,000 queries: where p is halved; sec. 5
TILES = 5  # of the first change for L2, along the height; the authors' code

Sampled = Callable[[Tensor, Tensor, int], Tensor]


def square(
    logits: Logits,
    x: Tensor,
    y: Tensor,
    radius: float,
    norm: Norm = "linf",
    bounds: tuple[float, float] = (0.0, 1.0),
    queries: int = 5000,
) -> Tensor:
    """Points within `radius` of the images x (N, C, H, W), each answered wrongly if one was found.

    logits: x -> (N, C'); never differentiated. queries: evaluations a row, at most; the sizes of the squares are
    planned for them.
    """
    found = x.clone()
    if radius <= 0 or not len(x):
        return found
    rows = torch.arange(len(x), device=x.device)
    v = _stripes(x, radius).clamp_(*bounds) if norm == "linf" else _tiles(x, radius).clamp_(*bounds)
    origin = x
    value = _asked(logits, v, y)
    for i in range(queries):
        wrong = value > 0
        if bool(wrong.any()):
            found[rows[wrong]] = v[wrong]
            kept = ~wrong
            rows, v, value, origin = rows[kept], v[kept], value[kept], origin[kept]
            if not len(rows):
                return found
        if norm == "linf":
            # Written into v, and taken back where it did not help: squares are small, images large.
            inside, before, after = _recoloured(v, origin, radius, bounds, _side(i, queries, norm, x))
            flat = v.flatten(2)
            changed = (after != before).flatten(1).any(1)  # a square that stands at that end costs no question
            flat.scatter_(2, inside, after)
            answer = _asked_of(changed, logits, v, y[rows], value)
            better = answer > value
            flat.scatter_(2, inside, torch.where(better[:, None, None], after, before))
        else:
            tried = _moved(v, origin, radius, _side(i, queries, norm, x)).clamp_(*bounds)
            answer = _asked(logits, tried, y[rows])
            better = answer > value
            v[better] = tried[better]
        value = torch.where(better, answer, value)
    found[rows] = v
    return found


def _asked(logits: Logits, v: Tensor, y: Tensor) -> Tensor:
    """The margin of the wrong answer, (A,), positive for one; highest where the answer is not a number."""
    with torch.no_grad():
        return margin(logits(v), y).nan_to_num(torch.inf)


def _asked_of(changed: Tensor, logits: Logits, v: Tensor, y: Tensor, value: Tensor) -> Tensor:
    """The margin of the rows that `changed` (A,); `value` (A,) for the others."""
    if bool(changed.all()):
        return _asked(logits, v, y)
    answer = value.clone()
    if bool(changed.any()):
        answer[changed] = _asked(logits, v[changed], y[changed])
    return answer


def _side(query: int, queries: int, norm: Norm, x: Tensor) -> int:
    """The side of the square after so many of the queries."""
    h, w = x.shape[2:]
    at = query * 10_000 // queries
    share = SHARE[norm] / 2 ** sum(at > edge for edge in HALVED_AT)
    side = round(math.sqrt(share * h * w))
    if norm == "l2":
        side = max(3, side) | 1  # odd: sec. 3.4
    return max(1, min(side, h, w))


def _window(x: Tensor, side: int) -> Tensor:
    """A random square of each image, as the numbers of its pixels: (A, C, S * S)."""
    a, c, h, w = x.shape
    top = torch.randint(0, h - side + 1, (a, 1, 1), device=x.device)
    left = torch.randint(0, w - side + 1, (a, 1, 1), device=x.device)
    step = torch.arange(side, device=x.device)
    pixels = (top + step[:, None]) * w + left + step  # (A, S, S)
    return pixels.view(a, 1, side * side).expand(-1, c, -1)


def _signs(*shape: int, like: Tensor) -> Tensor:
    return torch.randint(0, 2, shape, device=like.device).to(like) * 2 - 1


def _stripes(x: Tensor, radius: float) -> Tensor:
    """Vertical stripes of the largest change: sec. 3.3."""
    n, c, _, w = x.shape
    return x + radius * _signs(n, c, 1, w, like=x)


def _recoloured(
    v: Tensor, x: Tensor, radius: float, bounds: tuple[float, float], side: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Algorithm 2: a square, what it holds, and what it holds when each channel is moved to one end of the ball."""
    inside = _window(v, side)
    before, centre = v.flatten(2).gather(2, inside), x.flatten(2).gather(2, inside)
    after = (centre + radius * _signs(*v.shape[:2], 1, like=v)).clamp_(*bounds)
    return inside, before, after


def _pyramid(height: int, width: int, like: Tensor) -> Tensor:
    """eta, eq. 2: falls from the centre outwards in rectangles; (height, width)."""
    n = max(height, width) // 2
    down = (torch.arange(height, device=like.device) - height // 2).abs()
    across = (torch.arange(width, device=like.device) - width // 2).abs()
    ring = torch.maximum(down[:, None], across)  # how far from the centre
    inverse = 1 / torch.arange(1, n + 2, device=like.device, dtype=like.dtype).square()  # 1 / j^2
    return inverse.flip(0).cumsum(0).flip(0)[ring]


def _bump(side: int, like: Tensor) -> Tensor:
    """eta of a square: a pyramid up beside a pyramid down, of length 1, lying or standing by chance; (S, S)."""
    if side == 1:
        return like.new_ones(1, 1)
    half = side // 2
    both = torch.cat([_pyramid(half, side, like), -_pyramid(side - half, side, like)])
    both = both / both.norm()
    return both.T if bool(torch.rand(()) < 0.5) else both


def _tiles(x: Tensor, radius: float) -> Tensor:
    """A grid of bumps of random signs, of length `radius` together: sec. 3.4."""
    n, c, h, w = x.shape
    side = max(1, min(h, w) // TILES)
    change = torch.zeros_like(x)
    for top in range((h % side) // 2, h - side + 1, side):
        for left in range((w % side) // 2, w - side + 1, side):
            drawn = _bump(side, x) * _signs(n, c, 1, 1, like=x)
            change[:, :, top : top + side, left : left + side] = drawn
    return x + radius * unit_length(change)


def _moved(v: Tensor, x: Tensor, radius: float, side: int) -> Tensor:
    """Algorithm 3: the change of one square is given to another, which gains a bump; the length stays `radius`."""
    a, c = v.shape[:2]
    change = (v - x).flatten(2)  # (A, C, H * W)
    left = (radius**2 - change.square().sum((1, 2))).clamp_min(0)  # of the squared length: some of it was cut off
    to, fro = _window(v, side), _window(v, side)
    old = change.gather(2, to)  # (A, C, S * S)
    emptied = change.scatter(2, fro, 0.0).scatter(2, to, 0.0)
    freed = change.square().sum(2) - emptied.square().sum(2)  # of both squares, (A, C)
    new = _bump(side, v).flatten() * _signs(a, c, 1, like=v) + old / old.norm(dim=2, keepdim=True).clamp_min(1e-12)
    budget = (left[:, None] / c + freed.clamp_min(0)).sqrt()
    new = new / new.norm(dim=2, keepdim=True).clamp_min(1e-12) * budget[:, :, None]
    return x + radius * unit_length(emptied.scatter(2, to, new)).view_as(x)
