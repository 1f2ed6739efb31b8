"""LeNet-5, the convolutional network that read cheques.

LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document recognition, 1998, section II.B and
figure 2. Differences from the paper:

- C3 sees all six maps of S2, not the subsets of table I.
- S2 and S4 average; the paper multiplies the average by a trainable weight, adds a bias and squashes it.
- The output is linear, for cross-entropy or squared error; the paper measures distances to drawings of the digits.
- Pictures of any size are read: C1 pads by two pixels, which makes of 28 x 28 what the paper's 32 x 32 frame does, and
  C5 spans whatever S4 leaves (5 x 5 in the paper).

Entry: LeNet-5; convolution; weight sharing; pooling.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from sonde.core import SondeError

from .layers.normalise import Normalise

# N rows, C channels, H height, W width, T outputs


class LeNet(nn.Module):
    """Reads images with two convolutions, each followed by averaging, and three dense layers.

    channels, height, width: of a picture; each side at least 12. outputs: T, classes or targets.
    Reads x: (N, C, H, W), floating point. Returns (N, T). 61,706 parameters for MNIST.

    >>> sum(p.numel() for p in LeNet().parameters())
    61706
    """

    def __init__(self, channels: int = 1, height: int = 28, width: int = 28, outputs: int = 10) -> None:
        super().__init__()
        if min(height, width) < 12:
            raise SondeError(
                f"LeNet halves a picture twice and reads it 5 x 5 pixels at a time; {height} x {width} is too small",
                "enlarge the pictures to 12 x 12 or more, or use ResNet",
            )
        self.normalise = Normalise(channels, positions=2)
        self.c1 = nn.Conv2d(channels, 6, 5, padding=2)
        self.c3 = nn.Conv2d(6, 16, 5)
        rows, columns = ((side // 2 - 4) // 2 for side in (height, width))
        self.c5 = nn.Linear(16 * rows * columns, 120)
        self.f6 = nn.Linear(120, 84)
        self.output = nn.Linear(84, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs (N, T)."""
        s2 = squash(F.avg_pool2d(self.c1(self.normalise(x)), 2))  # (N, 6, H/2, W/2)
        s4 = squash(F.avg_pool2d(self.c3(s2), 2))  # (N, 16, H/4 - 2, W/4 - 2)
        f6 = squash(self.f6(squash(self.c5(s4.flatten(1)))))  # (N, 84)
        z: Tensor = self.output(f6)  # (N, T)
        return z


def squash(a: Tensor) -> Tensor:
    """The paper's f(a) = A tanh(S a), appendix A: A = 1.7159, S = 2/3, so that f(1) = 1 and f(-1) = -1."""
    return 1.7159 * torch.tanh(2 / 3 * a)
