"""Lion: the sign of a momentum, so that every weight moves by the same amount.

Chen, Liang, Huang, Real, Wang, Pham, Dong, Luong, Hsieh, Lu and Le, Symbolic discovery of optimization algorithms,
2023, Algorithm 2. No difference.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from .rule import Rule, lerp_into, pieces

SGD_STEP = torch._fused_sgd_  # w <- w - lr (c + decay w)
PLAIN: dict[str, Any] = {"dampening": 0.0, "nesterov": False, "maximize": False, "is_first_step": False}


class Lion(Rule):
    """Sign descent along an interpolated momentum.

        c = beta1 m + (1 - beta1) g,   w <- w - lr (sign(c) + decay w),   m <- beta2 m + (1 - beta2) g

    Every weight moves by lr whatever its gradient, hence a rate 3 to 10 times below Adam's and a decay as much above
    (sec. 5). Keeps one number a weight.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "weight_decay": weight_decay})

    def move(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """See `Rule.move`."""
        lr, (beta1, beta2), decay = group["lr"], group["betas"], group["weight_decay"]
        momenta = self.kept(params, "exp_avg", torch.zeros_like)
        for w, g, m, c in pieces(params, grads, momenta):
            lerp_into(c, m, g, 1 - beta1)
            torch._foreach_sign_(c)
            torch._foreach_lerp_(m, g, 1 - beta2)
            if all(t.dim() == 1 and t.is_contiguous() for t in w):  # as pieces on a CPU are: both operations in one
                SGD_STEP(w, c, [], lr=lr, weight_decay=decay, momentum=0.0, **PLAIN)
            else:
                if decay:
                    torch._foreach_mul_(w, 1 - lr * decay)
                torch._foreach_add_(w, c, alpha=-lr)
