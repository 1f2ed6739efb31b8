"""A bound on the weights that lead into a unit.

Entry: regularisation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sonde.core import Method, Params, Run, SondeError

# O units (outputs) of a layer

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class MaxNorm(Method):
    """After every step, shorten the weights into each unit to a length of `most` or less (Srivastava et al., 2014).

        w_o <- w_o min(1, most / |w_o|)     for each row (or kernel) w_o of a weight matrix

    most: c, in units of the weights; 3 to 4 in the paper (sec. 5.1), which bounds hidden units; here the output layer's
    are bound too. Biases and scales are free. A projection onto a convex set, so the order of units does not matter.
    """

    def __init__(self, most: float = 3.0) -> None:
        if not most > 0:
            raise SondeError(f"MaxNorm(most={most}) leaves nothing of the weights", "choose most above 0, e.g. 3")
        self.most = most
        self._transposed: set[int] = set()

    def setup(self, run: Run) -> None:
        """Which weights have their units in the second dimension."""
        self._transposed = {id(m.weight) for m in run.objective.modules() if isinstance(m, TRANSPOSED)}

    def project(self, run: Run, turn: str) -> None:
        """See `Method.project`."""
        for p in matrices(run.params(turn)).values():
            of = 1 if id(p) in self._transposed else 0
            others = [d for d in range(p.dim()) if d != of]
            length = torch.linalg.vector_norm(p, dim=others, keepdim=True)  # (O, 1, ...)
            p.mul_((self.most / length.clamp_min(self.most)).to(p.dtype))


def matrices(params: Params) -> dict[str, Tensor]:
    """The parameters that are matrices or kernels: what weight decay acts on."""
    return {k: p for k, p in params.items() if p.dim() > 1}
