"""What MixUp and CutMix share: answers as probabilities, and the chance of a row's partner."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sonde.core import Batch, SondeError

# N rows, C classes


def probabilities(batch: Batch, classes: int, method: object) -> Tensor:
    """The batch's answers as (N, C): class numbers one-hot, floating-point answers as they are."""
    y = batch.y
    if not isinstance(y, Tensor):
        raise SondeError(
            f"{type(method).__name__} mixes answers, but the batch has none",
            f"remove {type(method).__name__} from the methods",
        )
    if y.is_floating_point():
        return y
    return F.one_hot(y, classes).to(torch.get_default_dtype())  # (N, C)


def mixed(y: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """share * y + (1 - share) * y[partner]. y: (N, ...); partner: (N,) int64; share: (N,)."""
    return torch.lerp(y[partner], y, share.to(y.dtype).view(-1, *[1] * (y.ndim - 1)))


def draw(x: Tensor, alpha: float) -> Tensor:
    """One share per row of x, (N,), from Beta(alpha, alpha)."""
    concentration = torch.full((len(x), 2), alpha, device=x.device, dtype=torch.float32)
    return torch._sample_dirichlet(concentration)[:, 0]


def positive(alpha: float) -> float:
    """`alpha`, if it can be a parameter of a Beta distribution."""
    if not alpha > 0.0:
        raise SondeError(f"alpha={alpha} is not positive", "choose alpha > 0; the smaller, the less is mixed")
    return float(alpha)
