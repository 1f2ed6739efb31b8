"""The l1 penalty by proximal steps, which give exact zeros.

A step of the update rule, then the proximal map of lr * strength * |w|_1, the soft threshold (Parikh and Boyd,
Proximal algorithms, 2014, sec. 4.2 and 6.5.2). The lasso is Tibshirani, 1996. Subgradients of the penalty as a term
of the loss would hover around zero and reach it never.

How far the threshold reaches must follow how far the update rule goes, or another problem is solved than the one
written. Where training comes to rest, the threshold moves a weight as far as the gradient does, hence:

- SGD with momentum beta goes (1 - dampening) / (1 - beta) times as far as lr g, and so does the threshold.
- Adam goes lr / (sqrt(v_t) + eps) per unit of gradient in each coordinate, and so does the threshold: the proximal
  map in Adam's own metric (Yun, Lozano and Yang, Adaptive proximal gradient methods, 2021, Algorithm 1).

Entry: L1.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from sonde.core import Event, Method, Run, SondeError, Started

from ..optimise.descend import Descend


class L1(Method):
    """Minimise the loss + strength * |w|_1 with exact zeros, by a soft threshold after every step.

        w <- sign(w) max(|w| - tau, 0),   tau = strength * (how far the update rule goes per unit of gradient)

    strength: lambda, in units of the loss per unit of weight; 0 changes nothing.

    It acts on matrices and kernels, as weight decay does, of the parameters that took a step, at the learning rate of
    that step. It needs `sgd`, `adam` or `adamw`, whose steps it can measure.
    """

    def __init__(self, strength: float = 1e-4) -> None:
        if not 0 <= strength < math.inf:
            raise ValueError(f"strength is 0 or more; got {strength}")
        self.strength = strength

    def setup(self, run: Run) -> None:
        """Refuse an update rule whose steps it cannot measure."""
        if not isinstance(run.updater, Descend):
            raise _unknown(type(run.updater).__name__)

    def on(self, run: Run, event: Event) -> None:
        """Refuse an optimiser whose steps it cannot measure, before one is taken."""
        if isinstance(event, Started) and isinstance(run.updater, Descend):
            for optimiser in run.updater.optimisers.values():
                known = (torch.optim.SGD, torch.optim.Adam)  # AdamW is one
                if not isinstance(optimiser, known) or optimiser.defaults.get("amsgrad"):
                    raise _unknown(type(optimiser).__name__)

    def project(self, run: Run, turn: str) -> None:
        """See `Method.project`."""
        if self.strength == 0 or not isinstance(run.updater, Descend):
            return
        optimiser = run.updater.optimisers[turn]
        for group in optimiser.param_groups:
            for p in group["params"]:
                if p.dim() > 1 and p.grad is not None:
                    p.copy_(soft(p, self.strength * reach(optimiser, group, p)))


def soft(w: Tensor, threshold: Tensor | float) -> Tensor:
    """The soft threshold: every entry moved towards zero by `threshold`, and not beyond."""
    return w.sign() * (w.abs() - threshold).clamp_min(0)


def reach(optimiser: torch.optim.Optimizer, group: dict[str, Any], p: Tensor) -> Tensor | float:
    """How far a steady gradient of 1 moves the parameter in one step; of Adam, in each of its entries."""
    lr = group["lr"]
    if isinstance(optimiser, torch.optim.SGD):
        if not group["momentum"]:
            return float(lr)
        return float(lr * (1 - group["dampening"]) / (1 - group["momentum"]))
    if isinstance(optimiser, torch.optim.Adam) and not group["amsgrad"]:  # AdamW is one
        state = optimiser.state[p]
        corrected = state["exp_avg_sq"] / (1 - group["betas"][1] ** state["step"])
        return lr / (corrected.sqrt() + group["eps"])  # type: ignore[no-any-return]
    raise _unknown(type(optimiser).__name__)


def _unknown(name: str) -> SondeError:
    return SondeError(f"L1 does not know how far {name} goes in a step", "use sgd, adam or adamw")
