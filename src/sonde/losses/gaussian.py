"""Regression that says how sure it is: the likelihood of a normal distribution with a predicted variance.

Nix and Weigend, Estimating the mean and variance of the target probability distribution, 1994, eq. 5. The variance is
the softplus of an output plus a floor, as in Lakshminarayanan, Pritzel and Blundell, Simple and scalable predictive
uncertainty estimation using deep ensembles, 2017, sec. 2.2.1.
"""

# N rows, T targets

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sonde.core import SondeError

from ._numbers import alike, softplus, wide, within_rows


@dataclass(frozen=True, slots=True)
class GaussianNLL:
    """The negative log-likelihood of y under a normal distribution of predicted mean and variance.

        log(2 pi v) / 2 + (y - m)^2 / (2 v),   v = softplus(s) + floor

    The output is (N, 2 T) for T targets: the means m come first, then the s. floor: the least variance, in units of
    y squared; near it gradients grow as 1 / floor, more than float16 holds where the mean is far off.
    """

    floor: float = 1e-6
    width: ClassVar[int] = 2  # outputs for each target
    point: ClassVar[int] = 0  # which of them is the prediction

    def __post_init__(self) -> None:
        if not 0 < self.floor < math.inf:
            raise SondeError(f"GaussianNLL(floor={self.floor}) lets the variance reach 0", "choose a floor above 0")

    def __call__(self, output: Tensor, y: Tensor) -> Tensor:
        """(N, 2 T) and (N, T) to (N,)."""
        if output.shape[1] % 2:
            raise SondeError(
                f"GaussianNLL reads a mean and a spread for each target, and the net answers {output.shape[1]} numbers",
                "let the net answer twice as many numbers as there are targets",
            )
        m, s = wide(output).chunk(2, dim=1)  # (N, T) each
        alike(m, y, "GaussianNLL")
        v = softplus(s) + self.floor
        return within_rows(0.5 * ((2 * math.pi * v).log() + (y - m).pow(2) / v))
