"""Auto-PGD: projected gradient ascent that sets its own step size.

Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks, 2020,
Algorithm 1 and section 3. A row that is answered wrongly leaves the attack at once: nothing more can be learned of it.

Entry: adversarial examples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .ball import Ball, Norm, Range, spread, unit_length
from .losses import Logits, cross_entropy, dlr, gradient_of, likeliest_others, rightly

# N rows, A of them still attacked, C classes

MOMENTUM = 0.75  # alpha: sec. 3.1
RISES = 0.75  # rho: of the steps between two checkpoints, the share that must raise the loss; sec. 3.2
FIRST, LESS, LEAST = 0.22, 0.03, 0.06  # p_1, by which the gaps shrink, and the least gap: shares of the steps; sec. 3.2

LossOf = Callable[[Tensor, Tensor], Tensor]


def apgd(
    logits: Logits,
    x: Tensor,
    y: Tensor,
    radius: float,
    norm: Norm = "linf",
    bounds: tuple[float, float] = (0.0, 1.0),
    loss: LossOf = cross_entropy,
    steps: int = 100,
) -> Tensor:
    """Points within `radius` of x (N, ...), each answered wrongly if one was found, else of the highest loss seen.

    logits: x -> (N, C). y: (N,) int64. loss: logits (A, C), y (A,) -> (A,), or of target classes through `apgd_t`.
    """
    return _apgd(logits, x, y, y, radius, norm, bounds, lambda z, y, _: loss(z, y), steps)


def apgd_t(
    logits: Logits,
    x: Tensor,
    y: Tensor,
    radius: float,
    norm: Norm = "linf",
    bounds: tuple[float, float] = (0.0, 1.0),
    steps: int = 100,
    targets: int = 9,
) -> Tensor:
    """APGD on the targeted DLR loss, against each of the `targets` likeliest other classes in turn (sec. 4.1)."""
    found = x.clone()
    with torch.no_grad():
        z = logits(x)
    rows = rightly(z, y).nonzero().squeeze(1)  # (A,)
    order = likeliest_others(z, y, targets)  # (N, targets)
    for t in range(order.shape[1]):
        if not len(rows):
            break
        xs, ys, target = x[rows], y[rows], order[rows, t]
        found[rows] = _apgd(logits, xs, ys, target, radius, norm, bounds, dlr, steps)
        with torch.no_grad():
            rows = rows[rightly(logits(found[rows]), ys)]
    return found


@dataclass
class _State:
    """What the attack keeps of each row that still stands, (A, ...) each."""

    rows: Tensor
    v: Tensor
    before: Tensor  # v one step earlier
    gradient: Tensor
    best: Tensor
    best_gradient: Tensor
    best_loss: Tensor
    last: Tensor  # the loss one step earlier
    step: Tensor
    rises: Tensor  # since the last checkpoint
    halved: Tensor  # at the last checkpoint
    best_then: Tensor  # the best loss at the last checkpoint

    def keep(self, kept: Tensor) -> None:
        """Only some of the rows."""
        for name, value in vars(self).items():
            setattr(self, name, value[kept])


def _apgd(
    logits: Logits,
    x: Tensor,
    y: Tensor,
    target: Tensor,
    radius: float,
    norm: Norm,
    bounds: tuple[float, float],
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    steps: int,
) -> Tensor:
    found = x.clone()
    if not len(x) or radius <= 0:
        return found
    low, high = bounds
    s = _started(logits, x, y, target, radius, norm, Range(1.0, low, high), loss)
    ball = Ball(x, radius, norm, Range(1.0, low, high))
    gap, until, least, less = _gaps(steps)
    for i in range(steps):
        wrong = s.last.isnan()  # marked by `_looked`
        if bool(wrong.any()):
            found[s.rows[wrong]] = s.v[wrong]
            s.keep(~wrong)
            if not len(s.rows):
                return found
            ball = Ball(x[s.rows], radius, norm, Range(1.0, low, high))
        v = _moved(s, ball, 1.0 if i == 0 else MOMENTUM)
        s.before, s.v = s.v, v
        value, s.gradient = _looked(logits, v, y[s.rows], target[s.rows], loss)
        s.rises += value > s.last
        better = value > s.best_loss
        rose = spread(better, v)
        s.best, s.best_gradient = torch.where(rose, v, s.best), torch.where(rose, s.gradient, s.best_gradient)
        s.best_loss = torch.where(better, value, s.best_loss)
        s.last = value
        until -= 1
        if until == 0:
            stuck = (s.rises <= RISES * gap) | (~s.halved & (s.best_then >= s.best_loss))
            stuck &= ~value.isnan()  # what was found stays
            s.halved, s.best_then = stuck, s.best_loss.clone()
            s.rises = torch.zeros_like(s.rises)
            s.step = torch.where(stuck, s.step / 2, s.step)
            s.v[stuck], s.gradient[stuck] = s.best[stuck], s.best_gradient[stuck]
            gap = max(gap - less, least)
            until = gap
    wrong = s.last.isnan()
    found[s.rows] = torch.where(spread(wrong, s.v), s.v, s.best)
    return found


def _gaps(steps: int) -> tuple[int, int, int, int]:
    """Steps to the first checkpoint (twice: the gap, and what is left of it), the least gap, and its decrease."""
    first = max(int(FIRST * steps), 1)
    return first, first, max(int(LEAST * steps), 1), max(int(LESS * steps), 1)


def _started(
    logits: Logits,
    x: Tensor,
    y: Tensor,
    target: Tensor,
    radius: float,
    norm: Norm,
    allowed: Range,
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> _State:
    """From a random point on the ball's surface, as the authors' code has it."""
    ball = Ball(x, radius, norm, allowed)
    if norm == "linf":
        drawn = 2 * torch.rand_like(x) - 1
        offset = drawn / spread(drawn.flatten(1).abs().amax(1), x)
    else:
        offset = unit_length(torch.randn_like(x))
    v = ball.project(x + radius * offset)
    value, gradient = _looked(logits, v, y, target, loss)
    n = len(x)
    return _State(
        rows=torch.arange(n, device=x.device),
        v=v,
        before=v,
        gradient=gradient,
        best=v.clone(),
        best_gradient=gradient.clone(),
        best_loss=value,
        last=value,
        step=torch.full((n,), 2.0 * radius, device=x.device, dtype=x.dtype),
        rises=torch.zeros(n, device=x.device, dtype=torch.int64),
        halved=torch.ones(n, device=x.device, dtype=torch.bool),
        best_then=value.clone(),
    )


def _looked(
    logits: Logits,
    v: Tensor,
    y: Tensor,
    target: Tensor,
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """The loss at v, (A,), NaN for a row that is answered wrongly there, and its gradient with respect to v."""
    v = v.detach().requires_grad_()
    with torch.enable_grad():
        z = logits(v)
        value = loss(z, y, target)
        gradient = gradient_of(value, v)
    wrong = ~rightly(z, y)
    value = value.detach().nan_to_num(-torch.inf)  # of logits that are not finite: no point worth keeping
    return torch.where(wrong, torch.nan, value), gradient


def _moved(s: _State, ball: Ball, momentum: float) -> Tensor:
    """Algorithm 1, lines 7 and 8: a step along the gradient, and a part of the step before."""
    direction = s.gradient.sign() if ball.norm == "linf" else unit_length(s.gradient)
    z = ball.project(torch.addcmul(s.v, spread(s.step, s.v), direction))
    return ball.project(torch.lerp(s.v, z, momentum).add_(s.v - s.before, alpha=1 - momentum))
