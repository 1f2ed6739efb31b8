"""Schedule-free AdamW: an average of the iterates does what a falling learning rate does.

Defazio, Yang, Mehta, Mishchenko, Khaled and Cutkosky, The road less scheduled, 2024, Algorithm 1. As in the authors'
code, the parameters hold y and the state z, from which x follows; the gradient's decay is taken at y; and the weight of
a step in the average is the square of the largest rate so far.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from .rule import Rule, pieces


class ScheduleFreeAdamW(Rule):
    """AdamW at z, gradients at y between z and the average x of all z, which is what is evaluated.

        y = (1 - beta1) z + beta1 x,   z <- z - lr g(y) / (sqrt(v) + eps),   x <- (1 - c) x + c z,   c = w / sum of w

    lr: constant after a warm-up. betas: the interpolation beta1, in (0, 1], and the decay of v.
    power: w = (steps ^ power) (largest rate so far)^2; 0 weighs every step alike once the rate is constant.

    The parameters are y. `averages` gives x; `rest` moves the parameters there and begins another average.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 2.5e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        power: float = 0.0,
    ) -> None:
        if not 0 < betas[0] <= 1:
            raise ValueError(f"betas[0] places y between z and x, in (0, 1]; got {betas[0]}")
        defaults = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "power": power}
        super().__init__(params, {**defaults, "k": 0, "largest": 0.0, "total": 0.0})

    def move(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """See `Rule.move`."""
        lr, (beta1, beta2), eps, decay = group["lr"], group["betas"], group["eps"], group["weight_decay"]
        group["k"] += 1
        group["largest"] = max(lr, group["largest"])
        weight = group["k"] ** group["power"] * group["largest"] ** 2
        group["total"] += weight
        c = weight / group["total"] if group["total"] else 0.0
        z_of, v_of = self.kept(params, "z", torch.clone), self.kept(params, "exp_avg_sq", torch.zeros_like)
        for age, places in self.aged(params).items():
            correction = math.sqrt(1 - beta2**age)
            of_age = ([ts[i] for i in places] for ts in (params, grads, z_of, v_of))
            for y, g, z, v, step in pieces(*of_age):
                torch._foreach_mul_(v, beta2)
                torch._foreach_addcmul_(v, g, g, value=1 - beta2)
                torch._foreach_copy_(step, v)
                torch._foreach_sqrt_(step)
                torch._foreach_div_(step, correction)
                torch._foreach_add_(step, eps)
                torch._foreach_reciprocal_(step)
                torch._foreach_mul_(step, g)
                if decay:
                    torch._foreach_add_(step, y, alpha=decay)
                torch._foreach_lerp_(y, z, c)
                torch._foreach_add_(y, step, alpha=lr * (beta1 * (1 - c) - 1))
                torch._foreach_add_(z, step, alpha=-lr)

    @torch.no_grad()
    def averages(self) -> dict[Tensor, Tensor]:
        """x of every parameter that has taken a step."""
        found: dict[Tensor, Tensor] = {}
        for group in self.param_groups:
            for p in group["params"]:
                if "z" in self.state[p]:
                    found[p] = p.detach().lerp(self.state[p]["z"], 1 - 1 / group["betas"][0])
        return found

    @torch.no_grad()
    def rest(self) -> None:
        """Move every parameter to its average, from where another begins."""
        for p, x in self.averages().items():
            p.copy_(x)
            self.state[p]["z"].copy_(x)
        for group in self.param_groups:
            group["k"], group["largest"], group["total"] = 0, 0.0, 0.0
