"""Isotonic calibration: each class's probability through a rising step function, then normalised.

Zadrozny and Elkan, "Transforming classifier scores into accurate multiclass probability estimates", 2002, sec. 4 (one
class against the rest) and 5 (normalised).

One difference: a step function is 0 below the lowest row of a class, and one such answer that is wrong costs an
infinite log-likelihood. Steps are therefore kept within [1 / (n + 2), (n + 1) / (n + 2)]: what n rows without a single
exception say by Laplace's rule of succession.

Entry: calibration.
"""

# N rows, C classes, K knots

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ._rows import Array, rows_of, tensor


@dataclass(frozen=True)
class Isotonic:
    """For each class, knots: the probability given, rising, and the probability meant. Between knots a line.

    >>> import torch
    >>> half = Isotonic((((0.0, 1.0), (0.25, 0.75)), ((0.0, 1.0), (0.25, 0.75))))
    >>> half(torch.tensor([[1.0, 0.0]], dtype=torch.float64)).tolist()
    [[0.75, 0.25]]
    """

    knots: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]

    def __call__(self, probabilities: Tensor) -> Tensor:
        """Probabilities (N, C) of probabilities (N, C)."""
        p = probabilities.detach().cpu().double().numpy()
        out = np.stack([np.interp(p[:, c], *knots) for c, knots in enumerate(self.knots)], 1)  # (N, C)
        total = out.sum(1, keepdims=True)
        return tensor(np.where(total > 0, out / np.where(total > 0, total, 1), 1 / p.shape[1]))


def fit(probabilities: Tensor, y: Tensor, floor: bool = True) -> Isotonic:
    """The step functions that fit held-out rows best in squares.

    probabilities: (N, C). y: (N,) int64. floor: keep the steps off 0 and 1, see above.
    """
    from sklearn.isotonic import IsotonicRegression

    p, truth = rows_of(probabilities, y)
    low = 1 / (len(p) + 2) if floor else 0.0
    knots = []
    for c in range(p.shape[1]):
        model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(p[:, c], truth == c)
        y_values: Array = np.clip(model.y_thresholds_, low, 1 - low)
        knots.append((tuple(model.X_thresholds_.tolist()), tuple(y_values.tolist())))
    return Isotonic(tuple(knots))
