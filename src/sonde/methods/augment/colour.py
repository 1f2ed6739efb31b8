"""Colour: change each picture's brightness, contrast and saturation.

Entry: colour changes.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from sonde.core import Batch, Method, Run

from ._images import fraction, images, uniform

# N rows, C channels, H height, W width

LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue in the grey that looks as bright: ITU-R BT.601


def grey(x: Tensor) -> Tensor:
    """The grey picture that looks as bright. x: (N, C, H, W), C = 3 read as red, green, blue. Returns (N, 1, H, W)."""
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    red, green, blue = (weight * x[:, i : i + 1] for i, weight in enumerate(LUMA))
    return red.add_(green).add_(blue)


def blend(start: Tensor, x: Tensor, factor: Tensor) -> Tensor:
    """start + factor * (x - start), cut off at 0 and 1, written into x.

    start: (N, C or 1, H, W or 1, 1); x: (N, C, H, W); factor: (N,). Returns x.
    """
    f = factor.to(x.dtype).view(-1, 1, 1, 1)
    return x.mul_(f).add_(start * (1 - f)).clamp_(0.0, 1.0)  # a third of the time that `lerp` takes with a factor a row


def colour(x: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Multiply brightness, then the distance from the picture's mean grey, then the distance from each pixel's grey.

    x: (N, C, H, W) in [0, 1]; the three factors: (N,) each, 1 for no change. Returns (N, C, H, W) in [0, 1].
    """
    x = (x * brightness.view(-1, 1, 1, 1)).clamp_(0.0, 1.0)
    x = blend(grey(x.mean((2, 3), keepdim=True)), x, contrast)
    return x if x.shape[1] == 1 else blend(grey(x), x, saturation)  # a grey picture has no saturation


class Colour(Method):
    """Changes each picture's brightness, contrast and saturation by random factors.

    Each factor is uniform in [1 - s, 1 + s], s being its strength. (Howard, Some improvements on deep convolutional
    neural network based image classification, 2013; there in random order, here always in this one.)

    brightness, contrast, saturation: strengths in [0, 1]. Saturation acts on pictures of two or more channels.
    Reads and returns x: (N, C, H, W) in [0, 1]. Rows stay independent: `records` is kept.

    >>> import torch
    >>> one, half = torch.ones(1), torch.tensor([0.5])
    >>> colour(torch.tensor([[[[0.2, 0.6]]]]), brightness=half, contrast=one, saturation=one).tolist()[0][0][0]
    [0.10000000149011612, 0.30000001192092896]
    """

    def __init__(self, brightness: float = 0.2, contrast: float = 0.2, saturation: float = 0.2) -> None:
        self.brightness = fraction(brightness, "brightness")
        self.contrast = fraction(contrast, "contrast")
        self.saturation = fraction(saturation, "saturation")

    def batch(self, run: Run, batch: Batch) -> Batch:
        """2: the rows, recoloured."""
        x = images(batch, self)
        factors = [uniform(x, 1.0 - s, 1.0 + s) for s in (self.brightness, self.contrast, self.saturation)]
        return replace(batch, x=colour(x, *factors))
