"""Projected gradient ascent on the inputs of a frozen model.

It runs in evaluation mode: dropout is off and BatchNorm uses its running statistics. So row i of the result depends on
row i alone, no running statistic moves, and the attacked model is the one an adversary would meet (TRADES' authors do
the same; the first authors of adversarial training attacked in training mode, where a row's attack reads the others').
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from torch import Tensor

from sonde.core import Method, Params, Refused, Run, SondeError

from ..augment import CutMix, MixUp
from ._inputs import Range

# N rows; "..." is whatever shape a row has

Norm = Literal["linf", "l2"]


class Ball:
    """All inputs near the rows: { v : ||(v - centre) / unit|| <= radius, low <= v <= high }, a ball for each row.

    centre: (N, ...); what is not finite (a table's missing number) stays as it is, and a number outside the bounds (a
    table's row of a later stage) may stay where it is.
    """

    def __init__(self, centre: Tensor, radius: float, norm: Norm, allowed: Range) -> None:
        self.centre, self.radius, self.norm, self.unit = centre, radius, norm, allowed.unit
        low, high = centre.clamp(max=allowed.low), centre.clamp(min=allowed.high)
        if norm == "linf":
            reach = radius * allowed.unit
            low, high = torch.maximum(low, centre - reach), torch.minimum(high, centre + reach)
        self.low, self.high = low, high  # (N, ...) each
        self.free: Tensor | None = None  # of a table: which numbers can move, (N, F)
        if isinstance(allowed.unit, Tensor):
            self.free = centre.isfinite() & (allowed.unit > 0)
            self.low, self.high = (torch.where(self.free, edge, centre) for edge in (low, high))

    def start(self, bounded: bool = True) -> Tensor:
        """A point of each row's ball, drawn uniformly and then, if `bounded`, brought within the bounds: (N, ...)."""
        x = self.centre
        if self.norm == "linf":
            drawn = x + self._free(self.radius * self.unit * (2 * torch.rand_like(x) - 1))
            return self.project(drawn) if bounded else drawn
        offset = self._free(torch.randn_like(x))
        dimension = (offset != 0).flatten(1).sum(1).clamp_min(1)  # (N,)
        share = torch.rand(len(x), device=x.device, dtype=x.dtype) ** (1 / dimension)  # a ball's volume grows as r^d
        return self.project(x + self.unit * self.radius * _rows(share, x) * _unit_length(offset))

    def step(self, v: Tensor, gradient: Tensor, length: float) -> Tensor:
        """From v, `length` units along the steepest ascent in this norm, and back into the ball. v is overwritten."""
        if self.norm == "linf":
            direction = gradient.sign_()
        else:
            direction = _unit_length(self._free(gradient * self.unit))  # the gradient with respect to v / unit
        if self.free is not None:
            direction = direction * self.unit
        return self.project(v.add_(direction, alpha=length))

    def project(self, v: Tensor) -> Tensor:
        """The point of the ball that v (N, ...) is brought to; v is overwritten."""
        if self.norm == "l2":
            x = self.centre
            offset = self._free((v - x) / self.unit)
            length = offset.flatten(1).norm(dim=1)  # (N,)
            shrink = (self.radius / length.clamp_min(torch.finfo(x.dtype).tiny)).clamp_max(1.0)
            v = x + self.unit * offset * _rows(shrink, x)
        # The centre is within low and high, so each number moves towards it: v stays in the ball.
        return v.clamp_(self.low, self.high)

    def _free(self, offset: Tensor) -> Tensor:
        return offset if self.free is None else torch.where(self.free, offset, 0.0)


def ascend(loss_of: Callable[[Tensor], Tensor], ball: Ball, start: Tensor, length: float, steps: int) -> Tensor:
    """`steps` steps of `length` units from `start` (N, ...) up the gradient of `loss_of`: (N, ...), without history.

    loss_of: v (N, ...) -> a scalar, the sum of each row's loss.
    """
    v = start
    for _ in range(steps):
        v = v.detach().requires_grad_()
        loss = loss_of(v)
        if not loss.requires_grad:
            raise SondeError(
                "an attack (FGSM, PGD) raises what each row costs, and no `example` term depends on the inputs",
                "attack the turn that reads them, turn=NAME, or remove the attack from the methods",
            )
        (gradient,) = torch.autograd.grad(loss, v)
        v = ball.step(v.detach(), gradient, length)
    v = v.detach()
    if ball.free is not None and not torch.equal(v.isnan(), ball.centre.isnan()):
        # It would read as a missing number from here on.
        raise SondeError("the gradient with respect to the inputs is not finite", "lower the learning rate")
    return v


@contextmanager
def at_rest(run: Run) -> Iterator[Params]:
    """The objective in evaluation mode, and all its parameters without history: nothing can reach their gradients."""
    modes = [(m, m.training) for m in run.objective.modules()]
    run.objective.eval()
    try:
        with torch.enable_grad():
            yield {k: p.detach() for k, p in run.objective.named_parameters()}
    finally:
        for module, training in modes:
            module.training = training


def check_numbers(method: Method, radius: float, length: float, steps: int, norm: str = "linf") -> None:
    """Refuse a radius, a step, a number of steps or a norm with which no attack can be made."""
    name = type(method).__name__
    if not 0 <= radius < float("inf"):
        raise SondeError(f"{name}(radius={radius}) is no distance", "choose radius >= 0, in units of the inputs")
    if not 0 < length < float("inf"):
        raise SondeError(f"{name} would take steps of length {length}", "choose a step > 0")
    if steps < 1:
        raise SondeError(f"{name}(steps={steps}) takes no step", "choose at least 1")
    if norm not in get_args(Norm):
        raise SondeError(f"{name} knows no norm {norm!r}", "choose 'linf' or 'l2'")


def check_run(method: Method, run: Run, turn: str) -> None:
    """Refuse a run in which the method cannot attack `turn`."""
    name, players = type(method).__name__, tuple(run.objective.players())
    if turn not in players:
        raise SondeError(f"{name} attacks the turn {turn!r}, which nobody takes", f"choose from {', '.join(players)}")
    if run.sharded:
        raise Refused(
            f"{name} evaluates the whole model, of which fsdp gives each process a part", "use --parallel ddp"
        )
    for later in run.methods[run.methods.index(method) + 1 :]:
        # To mix attacked rows is a method of its own (Lamb et al., 2019); to bend them undoes the attack.
        if type(later).__module__.startswith("sonde.methods.augment.") and not isinstance(later, MixUp | CutMix):
            other = type(later).__name__
            raise Refused(
                f"{other} after {name} changes rows that were the worst as they were",
                f"put {other} before {name} in the list of methods",
            )


def _rows(per_row: Tensor, like: Tensor) -> Tensor:
    return per_row.view(-1, *[1] * (like.dim() - 1))


def _unit_length(offset: Tensor) -> Tensor:
    """Each row scaled to length 1; a row of zeros stays zero."""
    length = offset.flatten(1).norm(dim=1).clamp_min(torch.finfo(offset.dtype).tiny)
    return offset / _rows(length, offset)
