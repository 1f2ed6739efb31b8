"""Architectures, one a file, and the choice of one for given images."""

from typing import Any

from torch import nn

from .convnet import ConvNet
from .dlinear import DLinear
from .gpt import GPT
from .lenet import LeNet
from .linear import Linear
from .mlp import MLP
from .progressive import ProgressiveMLP
from .resnet import ResNet
from .scatternet import ScatterNet
from .tabm import TabM
from .tempered import Tempered

__all__ = [
    "GPT",
    "MLP",
    "ConvNet",
    "DLinear",
    "LeNet",
    "Linear",
    "ProgressiveMLP",
    "ResNet",
    "ScatterNet",
    "TabM",
    "Tempered",
    "for_images",
]


def for_images(channels: int, height: int, width: int, outputs: int) -> tuple[type[nn.Module], dict[str, Any]]:
    """The network for images of this shape, as a class and its constructor's arguments: a residual net.

    Pixels are folded until the first convolution runs over 8 to 16 positions a side (more above 64 pixels, where
    folding further would lose detail); stages are added until the last is at most 4 positions wide.

    >>> for_images(channels=1, height=28, width=28, outputs=10)[1]
    {'channels': 1, 'outputs': 10, 'widths': (32, 64, 128), 'blocks': 1, 'fold': 2}
    >>> for_images(channels=3, height=224, width=224, outputs=2)[1]
    {'channels': 3, 'outputs': 2, 'widths': (16, 32, 64, 128, 256), 'blocks': 1, 'fold': 4}
    """
    side = max(height, width)
    fold = 1 if side < 16 else 2 if side < 48 else 4
    positions = -(-side // fold)
    widths = [32 if positions <= 32 else 16]  # each stage costs the same; the first one's size sets the price
    while positions > 4 and widths[-1] < 256:
        positions, wider = -(-positions // 2), 2 * widths[-1]
        widths.append(wider)
    return ResNet, {"channels": channels, "outputs": outputs, "widths": tuple(widths), "blocks": 1, "fold": fold}
