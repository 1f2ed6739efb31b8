"""Temperature scaling: one number by which all logits are divided.

Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", 2017, sec. 4.2, eq. 9. The likeliest class
stays the likeliest. The negative log-likelihood is convex in 1 / T, so its minimum is found by bisection of the
derivative, with no rate or step count to choose.

Entry: calibration.
"""

# N rows, C classes

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from sonde.core import SondeError

from ._rows import EVERY_RIGHT, MORE_ROWS, Array, centred, rows_of, softmax, tensor

LOWEST, HIGHEST = 0.01, 100.0  # beyond, probabilities are 0 and 1, or all the same, for any net's logits


@dataclass(frozen=True)
class Temperature:
    """p = softmax(z / T). value: T > 0; above 1 the model was too sure of itself, below 1 not sure enough.

    >>> import torch
    >>> Temperature(2.0)(torch.tensor([[2.0, 0.0]])).round(decimals=3).tolist()
    [[0.731, 0.269]]
    """

    value: float

    def __call__(self, logits: Tensor) -> Tensor:
        """Probabilities (N, C) of logits (N, C)."""
        return tensor(softmax(centred(logits.detach().cpu().double().numpy()) / self.value))


def fit(logits: Tensor, y: Tensor) -> Temperature:
    """The temperature that minimises the negative log-likelihood of held-out rows.

    logits: (N, C); log-probabilities do as well. y: (N,) int64. Within [0.01, 100]: where the logits say
    nothing of the class, no temperature is high enough.

    Raises SondeError where every row is right: the likelihood then rises for ever as T falls, so nothing says how
    sure is too sure (Albert and Anderson, 1984).
    """
    z, truth = rows_of(logits, y)
    z = centred(z)
    own = z[np.arange(len(z)), truth]  # (N,)
    if (own == 0).all():
        raise SondeError(EVERY_RIGHT.format(len(z)), MORE_ROWS)
    cold, hot = np.log(LOWEST), np.log(HIGHEST)
    for _ in range(50):  # halves log T's range of 9.2 to below 1e-14
        middle = (cold + hot) / 2
        if _slope(z, own, float(np.exp(-middle))) > 0:  # the inverse temperature is too large
            cold = middle
        else:
            hot = middle
    return Temperature(float(np.exp((cold + hot) / 2)))


def _slope(z: Array, own: Array, inverse: float) -> float:
    """d NLL / d (1/T) = mean_i E_p[z_i] - z_i,y."""
    return float(((softmax(inverse * z) * z).sum(1) - own).mean())
