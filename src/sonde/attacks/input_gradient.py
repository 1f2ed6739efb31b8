"""The gradient with respect to a model's inputs alone, which is where an attack's time goes.

oneDNN's gradient with respect to the input of a convolution is slow where the input has few channels: for a grey
picture it takes 2.4 to 10 times as long as ATen's own (a product of matrices, summed into the picture), for a coloured
one 1.5 to 5 times (`benchmarks/input_gradient.py`, a Xeon). PyTorch keeps that for machines without oneDNN. So
convolutions of up to three channels go that way here. Whatever the model is made of, its other operations are left
alone.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# N rows, C channels, K kernel's numbers for a channel, L positions of the output

FEW = 3  # channels; with four there is nothing left to gain on two threads
MOST = 2**24  # numbers in the products, N C K L: 64 MiB


def input_gradient(value: Tensor, v: Tensor, again: bool = False) -> Tensor | None:
    """The gradient of a scalar with respect to v, of v's shape; None where the scalar does not depend on v.

    again: whether the graph is needed once more.
    """
    pictures = v.dim() == 4 and v.shape[1] <= FEW and v.device.type == "cpu" and v.dtype == torch.float32
    with _FewChannels() if pictures else nullcontext():
        (g,) = torch.autograd.grad(value, v, retain_graph=again, allow_unused=True)
    return g


class _FewChannels(TorchDispatchMode):
    """Takes the backward pass of convolutions that read few channels where only their inputs' gradient is asked for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution_backward.default and _suits(*args):
            g, x, weight, _, stride, padding = args[:6]
            kernel, asked = weight.shape[2:], [True, False, False]
            return torch.ops.aten._slow_conv2d_backward.output_mask(g, x, weight, kernel, stride, padding, asked)
        return func(*args, **(kwargs or {}))


def _suits(
    g: Tensor,
    x: Tensor,
    weight: Tensor,
    bias_sizes: Any,
    stride: Any,
    padding: Any,
    dilation: list[int],
    transposed: bool,
    output_padding: Any,
    groups: int,
    asked: list[bool],
) -> bool:
    """Whether it is an ordinary convolution in two dimensions whose products are few, and only dx is asked for."""
    if weight.dim() != 4 or transposed or groups != 1 or any(d != 1 for d in dilation):
        return False
    if list(asked) != [True, False, False] or not g.is_contiguous():
        return False
    return weight.shape[1] <= FEW and len(g) * weight[0].numel() * g[0, 0].numel() <= MOST
