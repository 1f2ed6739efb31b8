"""Losses of predicted probabilities: cross-entropy for one class or several labels, and the divergence from a target.

Entry: cross-entropy; label smoothing.
"""

# N rows, C classes, L labels

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from sonde.core import SondeError

from ._numbers import alike, checked_weights, class_weights, row_sum, wide, within_rows


@dataclass(frozen=True, slots=True)
class CrossEntropy:
    """The negative log-probability of the class: -sum_c w_c y'_c log softmax(z)_c.

    smoothing: y' = (1 - smoothing) y + smoothing / C, in [0, 1) (Szegedy et al., 2016, sec. 7).
    weights: w, one a class; all 1 if none are given. The mean over rows divides by their number, not by their weights.

    >>> import torch
    >>> CrossEntropy()(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
    tensor([0.6931])
    """

    smoothing: float = 0.0
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        checked_weights(self.weights, "CrossEntropy")
        if not 0 <= self.smoothing < 1:
            raise SondeError(f"CrossEntropy(smoothing={self.smoothing}) is outside [0, 1)", "choose e.g. 0.1")

    def __call__(self, output: Tensor, y: Tensor) -> Tensor:
        """Logits (N, C), and classes (N,) or shares (N, C), to (N,)."""
        z = wide(output)
        w = class_weights(self.weights, z, "CrossEntropy")
        y = y.to(z.dtype) if y.is_floating_point() else y
        return F.cross_entropy(z, y, w, reduction="none", label_smoothing=self.smoothing)


@dataclass(frozen=True, slots=True)
class BinaryCrossEntropy:
    """The mean over labels of -[w y log s + (1 - y) log(1 - s)], s = sigmoid(z).

    weights: w, one a label: what a label that is there counts against one that is not; all 1 if none are given.
    """

    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        checked_weights(self.weights, "BinaryCrossEntropy")

    def __call__(self, output: Tensor, y: Tensor) -> Tensor:
        """Logits (N, L) and labels (N, L) in [0, 1] to (N,)."""
        alike(output, y, "BinaryCrossEntropy")
        z = wide(output)
        w = class_weights(self.weights, z, "BinaryCrossEntropy")
        return within_rows(F.binary_cross_entropy_with_logits(z, y.to(z.dtype), reduction="none", pos_weight=w))


@dataclass(frozen=True, slots=True)
class KL:
    """The Kullback-Leibler divergence of the prediction from target probabilities: sum_c y_c log(y_c / p_c).

    It is the cross-entropy less what no prediction can remove, the entropy of y, so that 0 is reached.
    """

    def __call__(self, output: Tensor, y: Tensor) -> Tensor:
        """Logits (N, C) and probabilities (N, C) to (N,)."""
        alike(output, y, "KL")
        log_p = wide(output).log_softmax(1)
        return row_sum(F.kl_div(log_p, y.to(log_p.dtype), reduction="none"))
