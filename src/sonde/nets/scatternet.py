"""A classifier of scattering averages: what private training reaches furthest with on small pictures.

Tramer and Boneh, Differentially private learning needs better features (or much more data), 2021: hand-made features
leave so little to learn that the noise of private training hurts less. The averages are normalised within each row by
GroupNorm without parameters (Wu and He, 2018), so nothing is measured on the training rows; the paper's other way,
their mean and deviation over the training rows, costs privacy.

Entry: hand-made features.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from sonde.core import SondeError

from .layers.remember import Remember
from .layers.scattering import Scattering

# N rows, C channels, H height, W width, K averages a position, T outputs


class ScatterNet(nn.Module):
    """Reads images through a fixed scattering transform and learns a linear layer, or a small convolutional net, on it.

    channels, height, width: of a picture; the sides above 2^scales. outputs: T, classes or targets.
    groups: of the C K averages at a position that are normalised together; must divide their number.
    widths: channels of 3 x 3 convolutions with tanh, the first at every second position, followed by a dense layer of
        32 units; the paper's small net is (16, 32), and none makes the net linear.
    scales: see `Scattering`.
    remember: training rows whose averages are computed once and kept (16 kB each for MNIST); see `Remember`.
    Reads x: (N, C, H, W), floating point. Returns (N, T). 39,700 parameters for MNIST.

    >>> sum(p.numel() for p in ScatterNet().parameters())
    39700
    """

    def __init__(
        self,
        channels: int = 1,
        height: int = 28,
        width: int = 28,
        outputs: int = 10,
        groups: int = 27,
        widths: Sequence[int] = (),
        scales: int = 2,
        remember: int = 0,
    ) -> None:
        super().__init__()
        scattering = Scattering(height, width, scales)
        self.scattering = Remember(scattering, rows=remember)
        maps = channels * scattering.maps
        if groups < 1 or maps % groups:
            choices = [g for g in range(1, maps + 1) if maps % g == 0]
            raise SondeError(
                f"ScatterNet(groups={groups}) does not divide the {maps} averages at a position",
                f"choose one of {', '.join(map(str, choices))}",
            )
        self.normalise = nn.GroupNorm(groups, maps, affine=False)
        side = (height // 2**scales, width // 2**scales)
        layers: list[nn.Module] = []
        for i, wider in enumerate(widths):
            stride = 2 if i == 0 else 1
            side = (-(-side[0] // stride), -(-side[1] // stride))
            layers += [nn.Conv2d(maps, wider, 3, stride, padding=1), nn.Tanh()]
            maps = wider
        layers.append(nn.Flatten())
        features = maps * side[0] * side[1]
        if widths:
            layers += [nn.Linear(features, 32), nn.Tanh()]
            features = 32
        self.hidden = nn.Sequential(*layers)
        self.output = nn.Linear(features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs (N, T)."""
        h = self.normalise(self.scattering(x))  # (N, C K, H / 2^scales, W / 2^scales)
        z: Tensor = self.output(self.hidden(h))  # (N, T)
        return z
