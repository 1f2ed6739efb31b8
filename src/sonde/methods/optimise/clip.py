"""Gradient clipping.

Entry: vanishing gradient.
"""

from __future__ import annotations

import torch

from sonde.core import Grads, Method, Run


class Clip(Method):
    """Scale the gradient so that its global l2 norm is at most `norm` (Pascanu et al., 2013, Algorithm 1)."""

    def __init__(self, norm: float = 1.0) -> None:
        if norm <= 0:
            raise ValueError(f"norm is the largest allowed length of the gradient, above 0; got {norm}")
        self.norm = norm

    def grads(self, run: Run, turn: str, grads: Grads) -> Grads:
        """See `Method.grads`."""
        if not grads:
            return grads
        length = torch.stack(torch._foreach_norm(list(grads.values()))).norm()
        factor = self.norm / length.clamp_min(self.norm)  # 1 when the gradient is short enough
        return {k: g * factor for k, g in grads.items()}
