"""Projected gradient ascent on the inputs of a frozen model."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sonde.core import SondeError

from .ball import Ball
from .input_gradient import input_gradient

# N rows


def ascend(loss_of: Callable[[Tensor], Tensor], ball: Ball, start: Tensor, length: float, steps: int) -> Tensor:
    """`steps` steps of `length` units from `start` (N, ...) up the gradient of `loss_of`: (N, ...), without history.

    loss_of: v (N, ...) -> a scalar, the sum of each row's loss.
    """
    v = start
    for _ in range(steps):
        v = v.detach().requires_grad_()
        loss = loss_of(v)
        gradient = input_gradient(loss, v) if loss.requires_grad else None
        if gradient is None:
            raise SondeError(
                "an attack (FGSM, PGD) raises what each row costs, and no `example` term depends on the inputs",
                "attack the turn that reads them, turn=NAME, or remove the attack from the methods",
            )
        v = ball.step(v.detach(), gradient, length)
    v = v.detach()
    if ball.free is not None and not torch.equal(v.isnan(), ball.centre.isnan()):
        # It would read as a missing number from here on.
        raise SondeError("the gradient with respect to the inputs is not finite", "lower the learning rate")
    return v
