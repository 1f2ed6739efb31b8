"""The l2 penalty as a term of the loss.

Under plain gradient descent it is weight decay: w <- w - lr (g + strength w). An update rule that divides by the size
of past gradients (Adam) divides the penalty's too, so that weights with large gradients are held less than others:
`adamw(weight_decay=...)` decays all alike, apart from the gradient (Loshchilov and Hutter, Decoupled weight decay
regularization, 2019, sec. 2 and proposition 2).

Entry: weight decay; regularisation.
"""

from __future__ import annotations

import math

import torch

from sonde.core import At, Loss, Method, Term

from .max_norm import matrices


class L2(Method):
    """Minimise the loss + strength / 2 * |w|^2, ridge regression's penalty (Hoerl and Kennard, 1970).

    strength: lambda, in units of the loss per squared unit of weight; 0 changes nothing. It acts on matrices and
    kernels, as weight decay does. With Adam, weight decay is usually better: see the module's text.
    """

    def __init__(self, strength: float = 1e-4) -> None:
        if not 0 <= strength < math.inf:
            raise ValueError(f"strength is 0 or more; got {strength}")
        self.strength = strength

    def loss(self, at: At, loss: Loss) -> Loss:
        """See `Method.loss`."""
        squares = [p.square().sum() for p in matrices(at.params).values()]
        if self.strength == 0 or not squares:
            return loss
        return loss.with_term("l2", Term(torch.stack(squares).sum(), "penalty", self.strength / 2))
