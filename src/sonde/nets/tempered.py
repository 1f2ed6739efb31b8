"""A small convolutional network whose activations are bounded: the usual one for pictures learned privately.

Papernot, Thakurta, Song, Chien and Erlingsson, Tempered sigmoid activations for deep learning with differential
privacy, 2021: bounded activations keep the gradients of rows short, so that clipping them loses less. The layers are
those of the MNIST example of Opacus, with tempered sigmoids in place of rectifiers.

Entry: sigmoid; convolution.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from sonde.core import SondeError

# N rows, C channels, H height, W width, T outputs


class Tempered(nn.Module):
    """Reads images with two convolutions and two dense layers, with a tempered sigmoid after each but the last.

    phi(x) = s / (1 + exp(-T x)) - o

    channels, height, width: of a picture; each side at least 14. outputs: classes or targets.
    scale, inverse_temperature, offset: s, T and o; 2, 2 and 1 make phi the hyperbolic tangent, the paper's choice.
    Reads x: (N, C, H, W), floating point. Returns (N, outputs). 26,010 parameters for MNIST.

    >>> sum(p.numel() for p in Tempered().parameters())
    26010
    """

    def __init__(
        self,
        channels: int = 1,
        height: int = 28,
        width: int = 28,
        outputs: int = 10,
        scale: float = 2.0,
        inverse_temperature: float = 2.0,
        offset: float = 1.0,
    ) -> None:
        super().__init__()
        if min(height, width) < 14:
            raise SondeError(
                f"Tempered narrows a picture four times, and {height} x {width} is too small",
                "enlarge the pictures to 14 x 14 or more, or use ResNet",
            )
        self.scale, self.inverse_temperature, self.offset = scale, inverse_temperature, offset
        self.conv1 = nn.Conv2d(channels, 16, 8, stride=2, padding=3)
        self.conv2 = nn.Conv2d(16, 32, 4, stride=2)
        rows, columns = ((side // 2 - 5) // 2 for side in (height, width))
        self.dense = nn.Linear(32 * rows * columns, 32)
        self.output = nn.Linear(32, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs (N, outputs)."""
        h = F.max_pool2d(self.temper(self.conv1(x)), 2, stride=1)  # (N, 16, H/2 - 1, W/2 - 1)
        h = F.max_pool2d(self.temper(self.conv2(h)), 2, stride=1)  # (N, 32, (H/2 - 5)/2, (W/2 - 5)/2)
        z: Tensor = self.output(self.temper(self.dense(h.flatten(1))))
        return z

    def temper(self, x: Tensor) -> Tensor:
        """phi(x), written as a hyperbolic tangent."""
        t = torch.tanh(x * (self.inverse_temperature / 2))
        return t * (self.scale / 2) + (self.scale / 2 - self.offset)
