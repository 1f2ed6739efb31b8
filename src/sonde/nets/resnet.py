"""A small residual network for images: the default.

He, Zhang, Ren and Sun, Deep residual learning for image recognition, 2016, in the short form of Page, How to train
your ResNet, 2018: each stage narrows the picture by a strided convolution, then adds what its residual blocks find; the
features' largest values over the picture go to a linear layer. Differences from that form: the first layer folds
squares of pixels into channels (Shi et al., 2016, figure 1, read backwards), so that no convolution runs at full
resolution, and stages narrow by strides, not by pooling. On a CPU both save most of the time.

BatchNorm makes training fast; it also makes each row's output depend on the batch it is trained in, which private
training refuses: for that, put GroupNorm in its place.

Entry: ResNet; degradation problem; hierarchical feature learning.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from sonde.core import SondeError

from .layers.normalise import Normalise

# N rows, C channels of the picture, H height, W width, D features (the last of widths), T outputs


class ResNet(nn.Module):
    """Reads images of any size through stages of residual blocks.

    channels: C of a picture. outputs: T, classes or targets.
    widths: channels of each stage; each stage but the first halves the picture's sides.
    blocks: residual blocks in each stage, of two 3 x 3 convolutions each.
    fold: side of the squares of pixels that become one position; 1 leaves the picture as it is.
    Reads x: (N, C, H, W), floating point. Returns (N, T).

    >>> import torch
    >>> net = ResNet(channels=1, outputs=10)
    >>> net(torch.rand(2, 1, 28, 28)).shape, sum(p.numel() for p in net.parameters())
    (torch.Size([2, 10]), 483018)
    """

    def __init__(
        self,
        channels: int = 3,
        outputs: int = 10,
        widths: Sequence[int] = (32, 64, 128),
        blocks: int = 1,
        fold: int = 2,
    ) -> None:
        super().__init__()
        if not widths or blocks < 0 or fold < 1:
            raise SondeError(
                f"ResNet has no stage, or an empty one: widths={tuple(widths)}, blocks={blocks}, fold={fold}",
                "give at least one width, blocks of 0 or more and a fold of 1 or more",
            )
        self.fold = fold
        self.normalise = Normalise(channels, positions=2)
        stages: list[nn.Module] = []
        width = channels * fold * fold
        for i, wider in enumerate(widths):
            stages.append(convolution(width, wider, stride=1 if i == 0 else 2))
            stages += [Residual(wider) for _ in range(blocks)]
            width = wider
        self.stages = nn.Sequential(*stages)
        self.output = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs (N, T)."""
        h = fold(self.normalise(x), self.fold)  # (N, C fold^2, H/fold, W/fold)
        h = self.stages(channels_last(h))  # (N, D, h, w)
        z: Tensor = self.output(h.amax((2, 3)))  # (N, T)
        return z


class Residual(nn.Module):
    """x + f(x), f being two convolutions. (N, D, h, w) to the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.change = nn.Sequential(convolution(width, width), convolution(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """The sum."""
        total: Tensor = x + self.change(x)
        return total


def convolution(read: int, written: int, stride: int = 1) -> nn.Sequential:
    """3 x 3 convolution, normalisation, rectification. (N, read, h, w) to (N, written, h/stride, w/stride)."""
    return nn.Sequential(
        nn.Conv2d(read, written, 3, stride, padding=1, bias=False), nn.BatchNorm2d(written), nn.ReLU(inplace=True)
    )


def fold(x: Tensor, side: int) -> Tensor:
    """Squares of side x side pixels become channels: (N, C, H, W) to (N, C side^2, H/side, W/side), sides rounded up.

    Where a side of the picture is no multiple, its last row or column is repeated.
    """
    if side == 1:
        return x
    below, right = -x.shape[2] % side, -x.shape[3] % side
    if below or right:
        x = F.pad(x, (0, right, 0, below), mode="replicate")
    return F.pixel_unshuffle(x, side)


def channels_last(x: Tensor) -> Tensor:
    """The same values with a position's channels side by side in memory, which convolutions on a CPU read fastest.

    Written with axes moved rather than as a memory format so that `vmap` understands it. Parameters keep their usual
    layout: fused optimisers pair a parameter with its gradient by place in memory.
    """
    return x.movedim(1, -1).contiguous().movedim(-1, 1)
