"""FGSM: one step as long as the radius, along the sign of the gradient.

Goodfellow, Shlens and Szegedy, Explaining and harnessing adversarial examples, 2015, sec. 4.

Entry: adversarial examples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .ball import Ball, Norm, Range
from .losses import Logits, cross_entropy, gradient_of

# N rows


def fgsm(
    logits: Logits,
    x: Tensor,
    y: Tensor,
    radius: float,
    norm: Norm = "linf",
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Tensor:
    """Each row of x (N, ...) moved by `radius` up the gradient of its cross-entropy, within the bounds: (N, ...).

    logits: x -> (N, C). y: (N,) int64. A gradient that is not finite moves nothing.

        >>> net = lambda x: torch.stack([x[:, 0], -x[:, 0]], 1)
        >>> fgsm(net, torch.tensor([[0.5]]), torch.tensor([0]), 0.25)
        tensor([[0.2500]])
    """
    v = x.detach().requires_grad_()
    with torch.enable_grad():
        gradient = gradient_of(cross_entropy(logits(v), y), v)
    v, (low, high) = v.detach(), bounds
    if norm == "linf" and v.numel() and low <= float(v.amin()) and float(v.amax()) <= high:
        # A step as long as the radius ends on the ball's edge, so that the bounds alone are to be kept.
        return torch.add(v, gradient.sign_(), alpha=radius).clamp_(low, high)
    return Ball(v, radius, norm, Range(1.0, low, high)).step(v.clone(), gradient, radius)
