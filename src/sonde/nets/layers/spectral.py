"""Weights divided by their largest singular value, so that a layer stretches nothing.

Miyato, Kataoka, Koyama and Yoshida, Spectral normalization for generative adversarial networks, 2018, sec. 2.1 and
algorithm 1: the singular value is followed by a step of power iteration for every evaluation in training mode. Out of
it, where weights may be averages that no step was taken on, by several that are not kept.
"""

# O outputs, I inputs times positions of a kernel

from __future__ import annotations

from contextlib import nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils import parametrize

from sonde.core import SondeError

M = TypeVar("M", bound=nn.Module)
KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
SMALLEST = 1e-12  # of what is divided by, as in torch: a weight of zeros stays one
LONG = 30  # steps of power iteration out of training, and at first: from a fixed start, so that nothing is drawn


class Spectral(nn.Module):
    """W / sigma(W), for a weight W (O, ...) read as a matrix (O, I); u and v estimate its first singular vectors.

        v <- W^T u / |W^T u|,   u <- W v / |W v|,   sigma = u^T W v

    In float32 whatever the precision of the rest.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1)  # (O, I)
        start = torch.cos(torch.arange(matrix.shape[0], device=matrix.device, dtype=matrix.dtype))  # no singular vector
        self.register_buffer("u", normalize(start, dim=0))
        self.register_buffer("v", matrix.new_zeros(matrix.shape[1]))
        u, v = followed(matrix, self.u, LONG)
        self.u.copy_(u)
        self.v.copy_(v)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight, of the same shape and a spectral norm of 1."""
        kind = weight.device.type
        available = torch.amp.autocast_mode.is_autocast_available(kind)  # not where a net is built without memory
        with torch.autocast(kind, enabled=False) if available else nullcontext():
            matrix = weight.flatten(1)
            u, v = followed(matrix, self.u, 1 if self.training else LONG)
            if self.training:
                self.u.copy_(u)
                self.v.copy_(v)
            return weight / torch.vdot(u, matrix @ v).clamp_min(SMALLEST)


@torch.no_grad()
def followed(matrix: Tensor, u: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """The first singular vectors u (O,) and v (I,), after steps of power iteration from u."""
    v = start = u
    for _ in range(steps):
        v = normalize(u @ matrix, dim=0)
        u = normalize(matrix @ v, dim=0)
    return torch.where(u.any(), u, start), v  # a weight of zeros (all pruned) has no direction; the next one may


def spectrally_normalised(module: M, part: str = "") -> M:
    """The module with its dense layers' and convolutions' weights parametrised, in place, and once only.

    part: the name of the one part of it that is to be so; all of it if empty.
    """
    inside: dict[str, nn.Module] = dict(module.named_modules())
    if part not in inside:
        near = [name for name, _ in module.named_children()]
        raise SondeError(f"SpectralNorm: the objective has no part {part!r}", f"choose one of {', '.join(near)}")
    for layer in list(inside[part].modules()):
        if type(layer) in KINDS:
            parametrize.register_parametrization(layer, "weight", Spectral(layer.weight))  # type: ignore[arg-type]
    if not any(isinstance(m, Spectral) for m in inside[part].modules()):
        raise SondeError(
            "SpectralNorm finds no dense layer and no convolution in the net", "leave it out, or choose another net"
        )
    return module
