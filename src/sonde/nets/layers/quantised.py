"""Layers that compute with the numbers that integers of few bits can stand for.

Jacob, Kligys, Chen, Zhu, Tang, Howard, Adam and Kalenichenko, Quantization and training of neural networks for
efficient integer-arithmetic-only inference, 2018, sec. 2.1 (the map), 3 and 3.1 (training with it). Differences from
the paper: weights have a scale per output channel, symmetric around zero (Krishnamoorthi, Quantizing deep convolutional
networks for efficient inference, 2018, sec. 3.1); BatchNorm is not folded into the convolution before it; a batch is
quantised with the range of the batches before it, so that no row depends on the others of its batch.
"""

# N rows, O outputs or output channels

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from sonde.core import SondeError

M = TypeVar("M", bound=nn.Module)
KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
MOMENTUM = 0.01  # of a new batch in the moving range: the paper's smoothing "close to 1", and torch.ao's default
SMALLEST = torch.finfo(torch.float32).eps  # of a scale, as in torch.ao: a channel of zeros has one too


class Quantised(nn.Module):
    """A dense layer or convolution with weights and inputs rounded to what integers of `bits` bits can stand for.

        w' = s_o round(w / s_o),   s_o = max |w_o| / (2^(bits - 1) - 1)
        x' = s (clamp(round(x / s) + z, 0, 2^bits - 1) - z),   s = (high - low) / (2^bits - 1),   z = round(-low / s)

    low, high: moving averages of the least and the greatest input of a batch, opened to include zero; they move in
    training mode. Gradients pass through the rounding as if it were not there (Bengio et al., 2013), and stop where
    an input was cut off. The weights in the state are those before rounding, under the layer's own names.
    """

    weight: nn.Parameter
    low: Tensor
    high: Tensor
    seen: Tensor

    def __init__(self, layer: Any, bits: int = 8) -> None:
        super().__init__()
        self.bits, self._shape = bits, (layer,)  # in a tuple: no module of this one, whose parameters are its own
        self.weight, self.bias = layer.weight, layer.bias
        self.out_channels = int(layer.weight.shape[0])  # or features: O, for whoever reads the output
        where = layer.weight.device
        self.register_buffer("low", torch.zeros((), device=where))
        self.register_buffer("high", torch.zeros((), device=where))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64, device=where))

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output for rounded inputs and weights."""
        layer: Any = self._shape[0]
        x, weight = self.rounded(x), rounded_weight(self.weight, self.bits)
        if isinstance(layer, nn.Linear):
            return F.linear(x, weight, self.bias)
        y: Tensor = layer._conv_forward(x, weight, self.bias)  # padding, stride and groups are the layer's
        return y

    def rounded(self, x: Tensor) -> Tensor:
        """The input as 2^bits levels between `low` and `high`; in training the range then moves towards the batch's."""
        with torch.no_grad():
            least, greatest = torch.aminmax(x.detach().float())
            unseen = self.seen == 0
            low, high = torch.where(unseen, least, self.low), torch.where(unseen, greatest, self.high)
            if self.training:
                self.low.copy_(low.lerp(least, MOMENTUM))
                self.high.copy_(high.lerp(greatest, MOMENTUM))
                self.seen.add_(1)
            scale, zero = levels(low, high, self.bits)
        return _finite(torch.fake_quantize_per_tensor_affine(x.float(), scale, zero, 0, 2**self.bits - 1), x)

    def extra_repr(self) -> str:
        """What it was, and how many bits."""
        return f"{self._shape[0]}, bits={self.bits}"


def levels(low: Tensor, high: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Scale s and zero point z of the levels between low and high, one of which is zero exactly."""
    low, high = low.clamp_max(0), high.clamp_min(0)
    scale = ((high - low) / (2**bits - 1)).clamp_min(SMALLEST)
    return scale, (-low / scale).round().clamp(0, 2**bits - 1).to(torch.int32)


def rounded_weight(weight: Tensor, bits: int) -> Tensor:
    """The weight (O, ...) as 2^bits - 1 levels around zero, with a scale for each output."""
    most = 2 ** (bits - 1) - 1
    scale = (weight.detach().float().abs().flatten(1).amax(1) / most).clamp_min(SMALLEST)  # (O,)
    zero = torch.zeros_like(scale, dtype=torch.int32)
    return _finite(torch.fake_quantize_per_channel_affine(weight.float(), scale, zero, 0, -most, most), weight)


def _finite(rounded: Tensor, plain: Tensor) -> Tensor:
    """The rounded numbers; what is NaN or infinite stays so, where rounding would make a number of it."""
    return torch.where(plain.isfinite(), rounded.to(plain.dtype), plain)


def quantised(module: M, bits: int = 8) -> M:
    """The module with its dense layers and convolutions replaced, in place, by `Quantised` ones of the same state.

    bits: of an integer, 2 to 16. Layers of other kinds (recurrent, attention, transposed convolutions) stay as they
    are. A module that has been through this is given back as it is.
    """
    if not 2 <= bits <= 16:
        raise ValueError(f"bits is 2 to 16; got {bits}")
    if any(isinstance(m, Quantised) for m in module.modules()):
        return module
    made: dict[nn.Module, Quantised] = {}  # a layer used in two places is one in both
    for parent in list(module.modules()):
        for name, child in list(parent._modules.items()):  # named_children() names a shared layer once
            if child is not None and type(child) in KINDS:  # a subclass may compute something else
                if child not in made:
                    made[child] = Quantised(child, bits).train(child.training)
                setattr(parent, name, made[child])
    if not made:
        raise SondeError(
            "Quantise finds no dense layer and no convolution in the net", "leave it out, or choose another net"
        )
    return module
