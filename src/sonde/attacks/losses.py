"""What an attack raises: one value a row, above which the row is answered wrongly.

DLR: Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks,
2020, eqs. 6 and 7.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .input_gradient import input_gradient

# N rows, C classes

Logits = Callable[[Tensor], Tensor]
TINY = 1e-12  # eq. 6: below the resolution of a difference of logits


def cross_entropy(z: Tensor, y: Tensor) -> Tensor:
    """-log softmax(z)_y: (N,) from logits (N, C)."""
    return F.cross_entropy(z, y, reduction="none")


def margin(z: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """max_{i != y} z_i - z_y, or z_target - z_y: (N,), positive for a wrong answer."""
    own = z.gather(1, y[:, None]).squeeze(1)
    if target is not None:
        return z.gather(1, target[:, None]).squeeze(1) - own
    others = z.scatter(1, y[:, None], -torch.inf)
    return others.amax(1) - own


def dlr(z: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """The margin divided by the spread of the largest logits, so that it does not hang on their scale.

    Untargeted: (z_1 - z_3), which needs three classes; targeted: z_1 - (z_3 + z_4) / 2, which needs four. With fewer
    classes it is the margin.
    """
    needs = 3 if target is None else 4
    if z.shape[1] < needs:
        return margin(z, y, target)
    top = z.topk(needs, 1).values  # (N, 3) or (N, 4)
    third = top[:, 2] if target is None else (top[:, 2] + top[:, 3]) / 2
    return margin(z, y, target) / (top[:, 0] - third + TINY)


def rightly(z: Tensor, y: Tensor) -> Tensor:
    """Which rows are answered rightly by logits (N, C): (N,). An answer that is not a number is not right."""
    return (z.argmax(1) == y) & ~z.isnan().any(1)


def gradient_of(value: Tensor, v: Tensor, again: bool = False) -> Tensor:
    """The gradient of each row's value (N,) with respect to its inputs v (N, ...); zero where it is not finite.

    Zeros for a value that does not depend on v. again: whether the graph is needed once more.
    """
    if not value.requires_grad:
        return torch.zeros_like(v)
    g = input_gradient(value.sum(), v, again)
    return torch.zeros_like(v) if g is None else g.nan_to_num(0.0, 0.0, 0.0)


def likeliest_others(z: Tensor, y: Tensor, most: int) -> Tensor:
    """The classes other than y by falling logit, (N, min(most, C - 1))."""
    others = z.scatter(1, y[:, None], -torch.inf)
    return others.topk(min(most, z.shape[1] - 1), 1).indices
