"""Layers whose use of their parameters is known: from what went in and the gradient of what came out, the uses."""

# N rows, T positions, D features in, P features out

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from sonde.core.errors import Refused

from .convolution import Convolution, Kernel
from .uses import Dense, Lookup, Small, Use

Gather = Callable[[Tensor], Tensor]
"""(N, ...) -> (R K, ...): rows put together by record."""
Found = Iterator[tuple[Tensor, slice | None, Use]]
"""A parameter, which of its rows (None: all), and their use."""


def positions(t: Tensor, features: int, k: int) -> Tensor:
    """(R K, ..., features) -> (R, K ..., features)."""
    return t.reshape(len(t) // k, -1, features)


def affine(
    weight: Tensor,
    bias: Tensor | None,
    x: Tensor,
    g: Tensor,
    k: int,
    weight_rows: slice | None = None,
    bias_rows: slice | None = None,
) -> Found:
    """x W^T + b. x: (R K, ..., D); g: (R K, ..., P); which rows of W and b were used (None: all)."""
    a, g = positions(full(x), x.shape[-1], k), positions(g, g.shape[-1], k)
    if weight.requires_grad:
        yield weight, weight_rows, Dense(a, g)
    if bias is not None and bias.requires_grad:
        yield bias, bias_rows, Small(g.squeeze(1) if g.shape[1] == 1 else g.sum(1))


def linear(layer: nn.Linear, x: Tensor, g: Tensor, k: int) -> Found:
    """`nn.Linear`."""
    return affine(layer.weight, layer.bias, x, g, k)


def embedding(layer: nn.Embedding, ids: Tensor, g: Tensor, k: int) -> Found:
    """`nn.Embedding`; x: (R K, ...) int64."""
    table = Lookup(
        ids.reshape(len(ids) // k, -1), positions(g, g.shape[-1], k), layer.num_embeddings, layer.padding_idx
    )
    yield layer.weight, None, table


def convolution(layer: Convolution, x: Tensor, g: Tensor, k: int) -> Found:
    """`nn.Conv1d` to `nn.ConvTranspose3d`."""
    if layer.weight.requires_grad:
        yield layer.weight, None, Kernel(layer, x, g, k)
    if layer.bias is not None and layer.bias.requires_grad:
        yield layer.bias, None, Small(g.flatten(2).sum(2).view(-1, k, g.shape[1]).sum(1))


def _scaled(
    layer: nn.Module, g: Tensor, normal: Callable[[], Tensor], shape: tuple[int, ...], dims: tuple[int, ...], k: int
) -> Found:
    """weight * normal + bias, both summed over `dims`."""
    for name in ("weight", "bias"):
        p = getattr(layer, name, None)
        if p is not None and p.requires_grad:
            each = g * normal() if name == "weight" else g
            each = each.sum(dims) if dims else each
            yield p, None, Small(each.reshape(len(each) // k, k, *shape).sum(1))


def layer_norm(layer: nn.LayerNorm | nn.RMSNorm, x: Tensor, g: Tensor, k: int) -> Found:
    """`nn.LayerNorm` and `nn.RMSNorm`: scales of the last dimensions."""
    shape, eps = tuple(layer.normalized_shape), layer.eps

    def normal() -> Tensor:
        if isinstance(layer, nn.LayerNorm):
            return F.layer_norm(x, shape, eps=layer.eps)
        return F.rms_norm(x, shape, eps=eps)

    return _scaled(layer, g, normal, shape, tuple(range(1, g.dim() - len(shape))), k)


def channel_norm(layer: nn.GroupNorm | _InstanceNorm | _BatchNorm, x: Tensor, g: Tensor, k: int) -> Found:
    """`nn.GroupNorm`, `nn.InstanceNorm1d` to `3d`, and BatchNorm by running statistics: scales of channels."""

    def normal() -> Tensor:
        if isinstance(layer, nn.GroupNorm):
            return F.group_norm(x, layer.num_groups, eps=layer.eps)
        if isinstance(layer, _InstanceNorm) and (layer.training or layer.running_mean is None):
            return F.instance_norm(x, eps=layer.eps)
        return F.batch_norm(x, layer.running_mean, layer.running_var, eps=layer.eps)

    return _scaled(layer, g, normal, (g.shape[1],), tuple(range(2, g.dim())), k)


Rule = Callable[[Any, Tensor, Tensor, int], Found]
"""(layer, what went in (R K, ...), the gradient of what came out, K) -> the uses of its parameters."""

RULES: dict[Any, Rule] = {  # by the function that computes the layer: a subclass with its own is not known
    nn.Linear.forward: linear,
    nn.Embedding.forward: embedding,
    nn.LayerNorm.forward: layer_norm,
    nn.RMSNorm.forward: layer_norm,
    nn.GroupNorm.forward: channel_norm,
    _InstanceNorm.forward: channel_norm,
    _BatchNorm.forward: channel_norm,
    **{c.forward: convolution for c in (nn.Conv1d, nn.Conv2d, nn.Conv3d)},
    **{c.forward: convolution for c in (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)},
}


def rule_of(layer: nn.Module) -> Rule | None:
    """How the layer uses its parameters; None if that is not known. Raises Refused where rows touch each other."""
    if nn.utils.parametrize.is_parametrized(layer):
        return None
    rule = RULES.get(type(layer).forward)
    name = type(layer).__name__
    if isinstance(layer, _BatchNorm) and (layer.training or layer.running_mean is None):
        raise Refused(
            f"{name} mixes the rows of a batch, so one record has no gradient of its own",
            "use GroupNorm or LayerNorm in its place, or put it in evaluation mode",
        )
    if isinstance(layer, nn.Embedding) and (layer.max_norm is not None or layer.scale_grad_by_freq):
        option = "scale_grad_by_freq" if layer.scale_grad_by_freq else "max_norm"
        raise Refused(
            f"{name}({option}=...) makes one record's gradient depend on other records", f"leave {option} out"
        )
    return rule


def well_placed(x: Tensor, layer: nn.Module) -> bool:
    """Whether the first dimension of what went in can be the rows."""
    least = 1 if isinstance(layer, nn.Embedding) else 2
    return x.dim() >= (len(layer.kernel_size) + 2 if isinstance(layer, Convolution) else least)


def full(t: Tensor) -> Tensor:
    """At least float32, in which lengths are taken whatever the precision of the layer."""
    return t.to(torch.promote_types(t.dtype, torch.float32)) if t.is_floating_point() else t
