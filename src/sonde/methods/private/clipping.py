"""How the influence of one record is bounded: by which factor its gradient is shortened.

Entry: differential privacy.
"""

# R records, P parameters

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from sonde.per_record import PerRecord

from .noise import NoiseStream


class Flat:
    """One bound on the gradient over all parameters (Abadi et al., 2016, Algorithm 1).

    bound: C, the most that one record's clipped gradient can measure in l2.
    """

    learns = False

    def __init__(self, bound: float) -> None:
        self.bound = bound

    def factors(self, per: PerRecord) -> Tensor | dict[str, Tensor]:
        """By what each record's gradient is multiplied: (R,), or (R,) by parameter."""
        return shortened(per.norms, self.bound)

    def noise(self, multiplier: float) -> float:
        """The noise multiplier that is left for the gradient, where the rule itself asks the data something."""
        return multiplier

    def learn(self, lengths: Tensor, lot: float, noise: NoiseStream) -> None:
        """After a step: lengths of the gradients of its records (R,), and how many records were expected."""

    def state_dict(self) -> dict[str, Any]:
        """The bound."""
        return {"bound": self.bound}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.bound = state["bound"]


class PerLayer(Flat):
    """A bound C / sqrt(P) on each of P parameters, whose bounds together make C (McMahan et al., 2018, sec. 2.2)."""

    def factors(self, per: PerRecord) -> Tensor | dict[str, Tensor]:
        """See `Flat.factors`."""
        share = self.bound / math.sqrt(max(1, len(per.uses)))
        return {k: shortened(squared.clamp_min(0).sqrt(), share) for k, squared in per.squared_norms.items()}


class Adaptive(Flat):
    """A bound that follows a quantile of the lengths (Andrew et al., 2021, Algorithm 1).

        C <- C exp(-rate (b - quantile)),    b = (records not clipped + noise) / expected records

    b is itself a noisy query of sensitivity 1/2, paid for out of the same noise: with noise z_b on the count, the
    gradient gets z_g = (z^-2 - (2 z_b)^-2)^-1/2, so that a step costs what one with multiplier z costs (Theorem 1).
    """

    learns = True

    def __init__(self, bound: float, quantile: float = 0.5, rate: float = 0.2, share: float = 0.05) -> None:
        super().__init__(bound)
        self.quantile, self.rate, self.share, self.count_noise = quantile, rate, share, 0.0

    def noise(self, multiplier: float) -> float:
        """See `Flat.noise`: the count takes `share` of z^-2."""
        if multiplier == 0:
            return 0.0
        self.count_noise = multiplier / (2 * math.sqrt(self.share))
        return multiplier / math.sqrt(1 - self.share)

    def learn(self, lengths: Tensor, lot: float, noise: NoiseStream) -> None:
        """See `Flat.learn`."""
        # Counted about 1/2, by which sensitivity is halved.
        inside = float((lengths <= self.bound).double().sub(0.5).sum()) + 0.5 * lot
        b = (inside + float(noise.like(torch.zeros(()), self.count_noise))) / lot
        b = min(1.0, max(0.0, b))
        self.bound *= math.exp(-self.rate * (b - self.quantile))


def shortened(lengths: Tensor, bound: float) -> Tensor:
    """min(1, bound / length), (R,)."""
    return (bound / lengths.clamp_min(1e-12)).clamp_max(1.0)
