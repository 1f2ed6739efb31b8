"""The focal loss, which looks away from what is already right.

Lin, Goyal, Girshick, He and Dollar, Focal loss for dense object detection, 2017, sec. 3.2. The factor (1 - p)^gamma is
computed from log p, since 1 - p rounds to 0 long before log p does.
"""

# N rows, C classes, L labels

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sonde.core import SondeError

from ._numbers import alike, checked_weights, class_weights, of_class, power, softplus, wide, within_rows


@dataclass(frozen=True, slots=True)
class Focal:
    """The cross-entropy of each row times (1 - p)^gamma, p being the probability of its class (eq. 5).

        -sum_c w_c y_c (1 - p_c)^gamma log p_c,   p = softmax(z)

    gamma: 0 is the cross-entropy; 2 is the paper's. weights: w, one a class (alpha_t there); 1 if none are given.

    >>> Focal(gamma=2.0)(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))  # log(2) / 4
    tensor([0.1733])
    """

    gamma: float = 2.0
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        checked_weights(self.weights, "Focal")
        _check(self.gamma, "Focal")

    def __call__(self, output: Tensor, y: Tensor) -> Tensor:
        """Logits (N, C), and classes (N,) or shares (N, C), to (N,)."""
        cost = focused(-wide(output).log_softmax(1), self.gamma)  # (N, C)
        w = class_weights(self.weights, cost, "Focal")
        return of_class(cost if w is None else cost * w, y)


@dataclass(frozen=True, slots=True)
class BinaryFocal:
    """The focal loss of several labels, each yes or no, averaged over labels (eq. 5).

        y alpha (1 - p)^gamma (-log p) + (1 - y) (1 - alpha) p^gamma (-log(1 - p)),   p = sigmoid(z)

    gamma: 0 is the cross-entropy; 2 is the paper's. alpha: what a label that is there counts, in [0, 1]; the paper's is
    0.25, for objects among a hundred thousand places without one.
    """

    gamma: float = 2.0
    alpha: float = 0.25

    def __post_init__(self) -> None:
        _check(self.gamma, "BinaryFocal")
        if not 0 <= self.alpha <= 1:
            raise SondeError(f"BinaryFocal(alpha={self.alpha}) is outside [0, 1]", "choose e.g. 0.25")

    def __call__(self, output: Tensor, y: Tensor) -> Tensor:
        """Logits (N, L) and labels (N, L) in [0, 1] to (N,)."""
        alike(output, y, "BinaryFocal")
        z = wide(output)
        there, absent = focused(softplus(-z), self.gamma), focused(softplus(z), self.gamma)  # (N, L)
        return within_rows(self.alpha * y * there + (1 - self.alpha) * (1 - y) * absent)


def focused(cost: Tensor, gamma: float) -> Tensor:
    """u (1 - p)^gamma for u = -log p >= 0."""
    wrong = -torch.expm1(-cost)  # 1 - p
    return cost * power(wrong, gamma)


def _check(gamma: float, loss: str) -> None:
    if not 0 <= gamma < math.inf:
        raise SondeError(f"{loss}(gamma={gamma}) would look at what is right", "choose gamma of 0 or more; 2 is usual")
