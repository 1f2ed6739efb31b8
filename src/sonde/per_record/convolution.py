"""Convolutions, plain and transposed, grouped, strided, dilated, in one to three dimensions."""

# R records, K rows a record, G groups, C channels in, P channels out, T positions, D = C / G x kernel

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from .uses import CHUNK, TOUCH, Small, Use

WINDOWS = 1 << 20
"""Numbers of windows laid out at a time: fewer cost more in calls, more no longer fit a cache."""

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d


def windows(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], out: Sequence[int]
) -> Tensor:
    """What a kernel sees at each of its positions: (N, C, *in) -> (N, C, *kernel, *out), a view of padded `x`."""
    steps = x.stride()[2:]
    shape = (*x.shape[:2], *kernel, *out)
    strides = (*x.stride()[:2], *(s * d for s, d in zip(steps, dilation, strict=True)))
    return x.as_strided(shape, (*strides, *(s * d for s, d in zip(steps, stride, strict=True))))


class Kernel(Use):
    """The kernel of a convolution: gradient[r] = sum over positions of (signal) (window)^T, group by group.

    x: (R K, C, *in), what went in. g: (R K, P, *out), the gradient of what came out.
    A transposed convolution is a convolution with `x` and `g` in each other's place.
    """

    def __init__(self, layer: Convolution, x: Tensor, g: Tensor, rows: int) -> None:
        self.layer, self.x, self.g, self.rows = layer, x, g, rows
        self.records, self.shape = len(x) // rows, layer.weight.shape
        self.groups, self.positions = layer.groups, math.prod((x if layer.transposed else g).shape[2:])
        self.p = self.shape[0] // self.groups
        self.d = self.shape[1:].numel()
        self._held: Small | None = None

    def _unfolded(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Windows (n G, D, T) and signals (n G, P / G, T) of records `start` to `stop`, n = (stop - start) K rows."""
        layer, part = self.layer, slice(start * self.rows, stop * self.rows)
        x, g = self.x[part], self.g[part]
        kernel, n = self.shape[2:], len(x)
        if layer.transposed:
            # out = (in - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1
            ends = [p for n in reversed(range(len(kernel))) for p in (int(layer.padding[n]),) * 2]
            wide, narrow = F.pad(g, ends), x
        else:
            wide, narrow = self._padded(x), g
        seen = windows(wide, kernel, layer.stride, layer.dilation, narrow.shape[2:])
        return (
            seen.reshape(n * self.groups, self.d, self.positions),
            narrow.reshape(n * self.groups, self.p, self.positions),
        )

    def _padded(self, x: Tensor) -> Tensor:
        layer = self.layer
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        ends = layer._reversed_padding_repeated_twice
        return F.pad(x, ends, mode=mode) if any(ends) else x

    def each(self, start: int, stop: int) -> Tensor:
        """See `Use.each`."""
        seen, signal = self._unfolded(start, stop)
        g = torch.bmm(signal, seen.transpose(1, 2))  # (n G, P / G, D)
        g = g.view(stop - start, self.rows, *self.shape)
        return g.squeeze(1) if self.rows == 1 else g.sum(1)

    def squared_norms(self) -> Tensor:
        """From the gradients, unless kernels are large and positions few: then from inner products of positions."""
        t, d, p = self.positions * self.rows, self.d, self.p
        if TOUCH * p * d > t**2 * (p + d + 2 * TOUCH):
            size = max(1, CHUNK // max(t**2, d * t))
            ends = [(i, min(i + size, self.records)) for i in range(0, self.records, size)]
            return torch.cat([self._inner(*e) for e in ends])
        size = max(1, WINDOWS // max(1, d * self.groups * t))
        parts = [(i, min(i + size, self.records)) for i in range(0, self.records, size)]
        held = self.rows * (self.x[0].numel() + self.g[0].numel()) if self.records else 0
        if self.shape.numel() <= 4 * held:  # not much more than is held already: form them once
            self._held = Small(torch.cat([self.each(*part) for part in parts]))
            return self._held.squared_norms()
        return torch.cat([Small(self.each(*part)).squared_norms() for part in parts])

    def _inner(self, start: int, stop: int) -> Tensor:
        seen, signal = (self._by_record(t, stop - start) for t in self._unfolded(start, stop))
        a, b = torch.bmm(seen.transpose(1, 2), seen), torch.bmm(signal.transpose(1, 2), signal)
        return a.mul_(b).view(stop - start, -1).sum(1)

    def _by_record(self, t: Tensor, records: int) -> Tensor:
        """(n G, D, T) with K rows a record -> (records G, D, K T)."""
        if self.rows == 1:
            return t
        t = t.view(records, self.rows, self.groups, *t.shape[1:]).permute(0, 2, 3, 1, 4)
        return t.reshape(records * self.groups, t.shape[2], -1)

    def add(self, weights: Tensor, out: Tensor) -> None:
        """See `Use.add`: the plain gradient of the kernel, of rescaled signals."""
        if self._held is not None:
            self._held.add(weights, out)
            return
        layer = self.layer
        w = weights.repeat_interleave(self.rows).view(-1, *[1] * (self.g.dim() - 1))
        if layer.transposed:
            x, padding, output_padding = self.x, list(layer.padding), list(layer.output_padding)
        elif layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
            x, padding, output_padding = self.x, list(layer.padding), [0] * len(layer.stride)
        else:
            x, padding, output_padding = self._padded(self.x), [0] * len(layer.stride), [0] * len(layer.stride)
        _, g, _ = torch.ops.aten.convolution_backward(
            (self.g * w).to(x.dtype),
            x,
            layer.weight.detach().to(x.dtype),
            None,
            list(layer.stride),
            padding,
            list(layer.dilation),
            layer.transposed,
            output_padding,
            layer.groups,
            [False, True, False],
        )
        out.add_(g)
