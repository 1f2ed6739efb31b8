"""A small convolutional network that narrows by strides: the usual one for robust training on MNIST.

Wong and Kolter, Provable defenses against adversarial examples via the convex outer adversarial polytope, 2018, sec. 4;
also used by Wong, Rice and Kolter, Fast is better than free: revisiting adversarial training, 2020.

Entry: convolution.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from sonde.core import SondeError

# N rows, C channels, H height, W width, T outputs


class ConvNet(nn.Module):
    """Reads images with 4 x 4 convolutions of stride 2 and a dense layer, with ReLUs between.

    channels, height, width: of a picture. outputs: T, classes or targets. widths: channels of the convolutions, each of
    which halves the sides. hidden: units of the dense layer.
    Reads x: (N, C, H, W), floating point. Returns (N, T). 166,406 parameters for MNIST.

    >>> sum(p.numel() for p in ConvNet().parameters())
    166406
    """

    def __init__(
        self,
        channels: int = 1,
        height: int = 28,
        width: int = 28,
        outputs: int = 10,
        widths: Sequence[int] = (16, 32),
        hidden: int = 100,
    ) -> None:
        super().__init__()
        if min(height, width) < 2 ** len(widths):
            raise SondeError(
                f"ConvNet halves a picture {len(widths)} times, and {height} x {width} is too small",
                "enlarge the pictures, give fewer widths, or use ResNet",
            )
        layers: list[nn.Module] = []
        for before, after in zip((channels, *widths), widths, strict=False):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.ReLU()]
        halved = 2 ** len(widths)
        last = widths[-1] if widths else channels
        layers += [nn.Flatten(), nn.Linear(last * (height // halved) * (width // halved), hidden), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """The outputs (N, T)."""
        z: Tensor = self.layers(x)
        return z
