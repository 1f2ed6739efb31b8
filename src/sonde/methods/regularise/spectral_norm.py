"""Spectral normalisation: layers that stretch nothing, which keeps a discriminator smooth.

Entry: GAN; regularisation.
"""

from __future__ import annotations

from sonde.core import Build, Method, Objective, Refused, Run
from sonde.nets.layers.spectral import spectrally_normalised

from ..compress.quantise import Quantise
from .l1 import L1
from .l2 import L2
from .max_norm import MaxNorm


class SpectralNorm(Method):
    """Divide each weight matrix by its largest singular value, always (Miyato et al., 2018).

    part: where; a name within the objective, such as a game's `discriminator`; all of it if empty.

    The modules change: a layer computes with W / sigma(W), and its W is what is trained, so that its size means nothing
    any more. Methods that act on the size of the weights (L1, L2, MaxNorm) are refused.
    """

    def __init__(self, part: str = "") -> None:
        self.part = part

    def setup(self, run: Run) -> None:
        """Parametrise the layers."""
        for other in run.methods:
            name = type(other).__name__
            if isinstance(other, L1 | L2 | MaxNorm):
                raise Refused(
                    f"{name} acts on the size of the weights, which SpectralNorm divides away", "remove one of them"
                )
            if isinstance(other, Quantise):
                raise Refused(
                    "SpectralNorm and Quantise both replace how a layer uses its weight", "remove one of them"
                )
        spectrally_normalised(run.objective, self.part)

    def built(self, build: Build[Objective]) -> Build[Objective]:
        """See `Method.built`."""
        return Build(spectrally_normalised, module=build, part=self.part)
