"""Sharpness-aware minimisation: descend where the loss is worst nearby.

Foret, Kleiner, Mobahi and Neyshabur, Sharpness-aware minimization for efficiently improving generalization, 2021,
Algorithm 1 with p = 2; the adaptive ball is that of Kwon, Kim, Park and Choi, ASAM, 2021, eq. 10 with eta = 0.
Differences from the papers:

- The gradient is that of everything that is minimised, penalties included.
- Both gradients of a step see the same dropout masks: the worst point belongs to the function that is descended.
- Running statistics (BatchNorm) move once a step, at the worst point, which is the evaluation that counts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sonde.core import Gradient, Grads, Method, Params, Run


class SAM(Method):
    """Take the gradient at the worst point within rho of the weights, for flat minima (Foret et al., 2021).

        eps = rho g / |g|_2,   g = grad L(w),   then the update rule is given grad L(w + eps)

    rho: radius of the ball, in units of the weights; 0 is the plain gradient.
    adaptive: a ball measured in multiples of each weight, eps = rho w^2 g / |w g|_2 (ASAM), which rescaling layers
        does not change; rho is then 0.5 to 2.

    It asks the estimator of the run twice a step, whatever that is, and goes with any update rule. The weights are
    those of before, bit for bit, when the update rule moves them, and after a failure too.
    """

    evaluations = 2

    def __init__(self, rho: float = 0.05, adaptive: bool = False) -> None:
        if not 0 <= rho < float("inf"):
            raise ValueError(f"rho is a radius, 0 or more; got {rho}")
        self.rho, self.adaptive = rho, adaptive
        self.evaluations = 2 if rho else 1

    def gradient(self, run: Run, turn: str, gradient: Gradient) -> Gradient:
        """See `Method.gradient`."""
        if self.rho == 0:
            return gradient

        def at_the_worst_point(record: bool = True) -> Grads:
            params = run.params(turn)
            with torch.random.fork_rng([run.device] if run.device.type == "cuda" else []):
                found = gradient(record=False)
            eps = self.ascent(params, found)
            moved = [params[k] for k in eps]
            start = [p.detach().clone() for p in moved]
            try:
                with torch.no_grad():
                    torch._foreach_add_(moved, list(eps.values()))
                return gradient(record=record)
            finally:
                with torch.no_grad():  # subtracting eps would leave rounding behind
                    torch._foreach_copy_(moved, start)

        return at_the_worst_point

    def ascent(self, params: Params, grads: Grads) -> dict[str, Tensor]:
        """The step eps to the worst point of the ball, to first order; of the parameters that the loss reaches."""
        if not grads:
            return {}
        along = dict(grads)  # T_w g
        if self.adaptive:  # T_w = |w|, eq. 10
            along = {k: g * params[k].detach().abs() for k, g in grads.items()}
        length = torch.stack(torch._foreach_norm(list(along.values()))).norm()
        # Where the gradient is zero, nothing is worse nearby.
        factor = self.rho / length.clamp_min(torch.finfo(length.dtype).tiny)
        if self.adaptive:
            return {k: factor * g * params[k].detach().abs() for k, g in along.items()}
        return {k: factor * g for k, g in along.items()}
