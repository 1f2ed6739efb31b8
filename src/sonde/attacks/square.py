"""Square attack: random search with square patches of the largest change, asking for logits alone.

Andriushchenko, Croce, Flammarion and Hein, Square attack: a query-efficient black-box adversarial attack via random
search, 2020, Algorithms 1 and 2 (L-inf). It needs no gradient, so it also sees through gradients that mislead.

Entry: adversarial examples.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .ball import spread
from .losses import Logits, margin

# N rows, A of them still attacked, C channels, H height, W width

SHARE = 0.8  # p: of the pixels in the first square; sec. 5
HALVED_AT = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10,000 queries: where p is halved; sec. 5


def square(
    logits: Logits,
    x: Tensor,
    y: Tensor,
    radius: float,
    bounds: tuple[float, float] = (0.0, 1.0),
    queries: int = 5000,
) -> Tensor:
    """Points within `radius` (L-inf) of the images x (N, C, H, W), each answered wrongly if one was found.

    logits: x -> (N, C'); never differentiated. queries: evaluations a row, at most; the sizes of the squares are
    planned for them.
    """
    n, c, h, w = x.shape
    found = x.clone()
    if radius <= 0 or not n:
        return found
    low, high = (x - radius).clamp_min(bounds[0]), (x + radius).clamp_max(bounds[1])
    rows = torch.arange(n, device=x.device)
    best = (x + radius * _signs(n, c, 1, w, like=x)).clamp(low, high)  # vertical stripes: sec. 3.3
    value = _asked(logits, best, y)
    across, down = torch.arange(w, device=x.device), torch.arange(h, device=x.device)
    for i in range(queries):
        wrong = value > 0
        if bool(wrong.any()):
            found[rows[wrong]] = best[wrong]
            kept = ~wrong
            rows, best, value, low, high = rows[kept], best[kept], value[kept], low[kept], high[kept]
        a = len(rows)
        if not a:
            return found
        side = max(1, min(round(math.sqrt(_share(i, queries) * h * w)), min(h, w)))
        top = torch.randint(0, h - side + 1, (a, 1), device=x.device)
        left = torch.randint(0, w - side + 1, (a, 1), device=x.device)
        inside_rows = (down >= top) & (down < top + side)  # (A, H)
        inside_columns = (across >= left) & (across < left + side)  # (A, W)
        inside = (inside_rows[:, :, None] & inside_columns[:, None, :])[:, None]  # (A, 1, H, W)
        drawn = _signs(a, c, 1, 1, like=x) > 0
        tried = torch.where(inside, torch.where(drawn, high, low), best)
        answer = _asked(logits, tried, y[rows])
        better = answer > value
        best = torch.where(spread(better, best), tried, best)
        value = torch.where(better, answer, value)
    found[rows] = best
    return found


def _asked(logits: Logits, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return margin(logits(x), y)


def _share(query: int, queries: int) -> float:
    """p after so many of the queries."""
    at = query * 10_000 // queries
    return SHARE / 2 ** sum(at > edge for edge in HALVED_AT)


def _signs(*shape: int, like: Tensor) -> Tensor:
    return torch.randint(0, 2, shape, device=like.device).to(like) * 2 - 1
