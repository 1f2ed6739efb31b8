"""Convolutions, plain and transposed, grouped, strided, dilated, in one to three dimensions."""

# R records, K rows a record, G groups, C channels in, P channels out, T positions, D = C / G x kernel

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from .uses import Use, through_positions

WINDOWS = 1 << 20
"""Numbers of windows laid out at a time: fewer cost more in calls, more no longer fit a cache."""

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d


def windows(
    x: Tensor, groups: int, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], out: Sequence[int]
) -> Tensor:
    """What a kernel sees at each of its positions: (N, *in, C) -> (N, G, *out, *kernel, C / G), a view of padded `x`.

    Channels are last, so that what lies side by side in a window lies side by side in memory.
    """
    width = x.shape[-1] // groups
    n, *steps, c = x.stride()
    apart = [s * d for s, d in zip(steps, stride, strict=True)] + [s * d for s, d in zip(steps, dilation, strict=True)]
    return x.as_strided((len(x), groups, *out, *kernel, width), (n, width * c, *apart, c))


def channels_last(x: Tensor, ends: Sequence[int], mode: str) -> Tensor:
    """(N, C, *in) -> (N, *in, C), padded by `ends` (as `F.pad` takes them) and contiguous."""
    if mode != "zeros":
        x = F.pad(x, list(ends), mode=mode)
        return x.movedim(1, -1).contiguous()
    pairs = list(zip(ends[::2], ends[1::2], strict=True))[::-1]  # the first spatial dimension first
    if not any(ends):
        return x.movedim(1, -1).contiguous()
    room = x.new_zeros(len(x), *(n + a + b for n, (a, b) in zip(x.shape[2:], pairs, strict=True)), x.shape[1])
    room[(slice(None), *(slice(a, a + n) for n, (a, _) in zip(x.shape[2:], pairs, strict=True)))] = x.movedim(1, -1)
    return room


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
        self._held: Tensor | None = None  # (R, P *kernel C / G): each record's gradient, channels last

    def _unfolded(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Windows (n G, T, D) and signals (n G, P / G, T) of records `start` to `stop`, n = (stop - start) K rows."""
        layer, part = self.layer, slice(start * self.rows, stop * self.rows)
        x, g = self.x[part], self.g[part]
        kernel, n = self.shape[2:], len(x)
        if layer.transposed:
            # out = (in - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1
            ends = [p for i in reversed(range(len(kernel))) for p in (int(layer.padding[i]),) * 2]
            wide, narrow = channels_last(g, ends, "zeros"), x
        else:
            wide, narrow = channels_last(x, layer._reversed_padding_repeated_twice, layer.padding_mode), g
        seen = windows(wide, self.groups, kernel, layer.stride, layer.dilation, narrow.shape[2:])
        return (
            seen.reshape(n * self.groups, self.positions, self.d),
            narrow.reshape(n * self.groups, self.p, self.positions),
        )

    def _each(self, start: int, stop: int) -> Tensor:
        """The gradients of some records, (stop - start, P, *kernel, C / G)."""
        seen, signal = self._unfolded(start, stop)
        g = torch.bmm(signal, seen)  # (n G, P / G, D)
        g = g.view(stop - start, self.rows, self.shape[0], *self.shape[2:], self.shape[1])
        return g.squeeze(1) if self.rows == 1 else g.sum(1)

    def each(self, start: int, stop: int) -> Tensor:
        """See `Use.each`."""
        return self._each(start, stop).movedim(-1, 2)

    def squared_norms(self) -> Tensor:
        """From the gradients, unless kernels are large and positions few: then from inner products of positions."""
        t, d, p = self.positions * self.rows, self.d, self.p
        kept = self.rows * (self.x[0].numel() + self.g[0].numel()) if self.records else 0
        held = self.shape.numel() <= kept  # gradients no larger than what is held already: formed once
        if through_positions(t, d, p, held):
            return torch.cat([self._inner(*part) for part in self._parts(max(t**2, d * self.groups * t))])
        parts = self._parts(d * self.groups * t)
        if not held:
            return torch.cat([_squares(self._each(*part)) for part in parts])
        self._held = self.g.new_empty(self.records, self.shape.numel())
        for start, stop in parts:
            self._held[start:stop] = self._each(start, stop).flatten(1)
        return _squares(self._held)

    def _parts(self, numbers: int) -> list[tuple[int, int]]:
        """Records to be laid out together, at `numbers` each."""
        size = max(1, WINDOWS // max(1, numbers))
        return [(i, min(i + size, self.records)) for i in range(0, self.records, size)]

    def _inner(self, start: int, stop: int) -> Tensor:
        seen, signal = self._unfolded(start, stop)
        if self.rows > 1:  # the rows of a record are more positions
            n, groups = stop - start, self.groups
            seen = seen.view(n, self.rows, groups, -1, self.d).transpose(1, 2).reshape(n * groups, -1, self.d)
            signal = (
                signal.view(n, self.rows, groups, self.p, -1).permute(0, 2, 3, 1, 4).reshape(n * groups, self.p, -1)
            )
        a, b = torch.bmm(seen, seen.transpose(1, 2)), torch.bmm(signal.transpose(1, 2), signal)
        return a.mul_(b).view(stop - start, -1).sum(1)

    def add(self, weights: Tensor, out: Tensor) -> None:
        """See `Use.add`: the plain gradient of the kernel, of rescaled signals."""
        if self._held is not None:
            summed = torch.mv(self._held.t(), weights).view(self.shape[0], *self.shape[2:], self.shape[1])
            out.add_(summed.movedim(-1, 1))
            return
        layer = self.layer
        w = weights.repeat_interleave(self.rows).view(-1, *[1] * (self.g.dim() - 1))
        if layer.transposed:
            x, padding, output_padding = self.x, list(layer.padding), list(layer.output_padding)
        elif layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
            x, padding, output_padding = self.x, list(layer.padding), [0] * len(layer.stride)
        else:
            ends = layer._reversed_padding_repeated_twice
            x = F.pad(self.x, ends, mode="constant" if layer.padding_mode == "zeros" else layer.padding_mode)
            padding, output_padding = [0] * len(layer.stride), [0] * len(layer.stride)
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


def _squares(gradients: Tensor) -> Tensor:
    return torch.linalg.vector_norm(gradients.flatten(1), dim=1).square_()
