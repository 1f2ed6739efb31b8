"""Vector scaling: each class has a factor and a shift of its own for its logit.

Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", 2017, sec. 4.2 ("matrix and vector
scaling"). Convex; minimised by L-BFGS from the identity. Factors and shifts are kept within +-100, so that a class
without rows does not send its shift to infinity.

Entry: calibration.
"""

# N rows, C classes

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from sonde.core import SondeError

from ._rows import EVERY_RIGHT, MORE_ROWS, Array, centred, rows_of, softmax, tensor

BOUND = 100.0


@dataclass(frozen=True)
class VectorScaling:
    """p = softmax(w * z + b). scale: w (C,). shift: b (C,); they add up to 0, which changes no probability."""

    scale: tuple[float, ...]
    shift: tuple[float, ...]

    def __call__(self, logits: Tensor) -> Tensor:
        """Probabilities (N, C) of logits (N, C)."""
        z = centred(logits.detach().cpu().double().numpy())
        return tensor(softmax(z * np.array(self.scale) + np.array(self.shift)))


def fit(logits: Tensor, y: Tensor) -> VectorScaling:
    """The factors and shifts that minimise the negative log-likelihood of held-out rows.

    logits: (N, C). y: (N,) int64. With C classes there are 2 C numbers to fit, so it wants many rows of every class.
    The logits of a row are taken relative to its largest: with factors of their own, where zero is matters.

    Raises SondeError where it answers every row rightly: doubled factors would then fit better still, and nothing says
    how sure is too sure (Albert and Anderson, 1984).
    """
    from scipy.optimize import minimize

    z, truth = rows_of(logits, y)
    z, c = centred(z), z.shape[1]
    truths = np.eye(c)[truth]  # (N, C)

    def loss(both: Array) -> tuple[float, Array]:
        w, b = both[:c], both[c:]
        scores = z * w + b
        top = scores.max(1, keepdims=True)
        log_sum = top[:, 0] + np.log(np.exp(scores - top).sum(1))
        pull = softmax(scores) - truths  # (N, C) d NLL / d scores
        gradient = np.concatenate([(pull * z).mean(0), pull.mean(0)])
        return float((log_sum - (scores * truths).sum(1)).mean()), gradient

    start = np.concatenate([np.ones(c), np.zeros(c)])
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=[(-BOUND, BOUND)] * (2 * c), options={"maxiter": 500}
    )
    w, b = found.x[:c], found.x[c:]
    if ((z * w + b).argmax(1) == truth).all():
        raise SondeError(EVERY_RIGHT.format(len(z)), MORE_ROWS)
    return VectorScaling(tuple(w.tolist()), tuple((b - b.mean()).tolist()))
