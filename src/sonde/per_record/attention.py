"""Multi-head attention, in a form that notes its projections."""

# N rows, L queries, S keys, E features, H heads

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from .tape import Tape


@contextmanager
def attending(tape: Tape, name: str, layer: nn.MultiheadAttention) -> Iterator[None]:
    """Note the calls of `nn.MultiheadAttention` (Vaswani et al., 2017, sec. 3.2.2), whose options are kept."""
    from .unit import whole

    if layer.bias_k is not None or layer.add_zero_attn:
        with whole(tape, name, layer):
            yield
        return

    original: Any = layer.forward

    def forward(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        if not tape.trains(*layer.parameters()):
            return original(
                query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal
            )
        if query.dim() != 3 or query.is_nested:
            tape.problem = f"{name} (MultiheadAttention) was given something else than rows of sequences"
            return original(
                query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal
            )
        q, k, v = _projected(tape, name, layer, query, key, value)
        heads, (n, length, e) = layer.num_heads, q.shape
        q, k, v = (t.view(n, -1, heads, e // heads).transpose(1, 2) for t in (q, k, v))  # (N, H, L or S, E / H)
        mask = _mask(attn_mask, key_padding_mask, n, heads, q)
        p = layer.dropout if layer.training else 0.0
        weights: Tensor | None = None
        if need_weights:
            scores = q @ k.transpose(2, 3) * (e // heads) ** -0.5
            weights = (scores if mask is None else scores + mask).softmax(-1)  # (N, H, L, S)
            out = F.dropout(weights, p) @ v
            weights = weights.mean(1) if average_attn_weights else weights
        else:
            out = F.scaled_dot_product_attention(q, k, v, mask, p)
        out = out.transpose(1, 2).reshape(n, length, e)
        out = tape.affine(f"{name}.out_proj", out, layer.out_proj.weight, layer.out_proj.bias)
        return out if layer.batch_first else out.transpose(0, 1), weights

    layer.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        del layer.forward


def _projected(
    tape: Tape, name: str, layer: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, (N, L or S, E): one product where the same tensor is projected several times."""
    itself, memory = query is key and key is value, key is value
    if not layer.batch_first:
        query, key, value = (t.transpose(0, 1) for t in (query, key, value))
    e, bias = layer.embed_dim, layer.in_proj_bias
    first, second, third, last = slice(0, e), slice(e, 2 * e), slice(2 * e, 3 * e), slice(e, 3 * e)
    if not layer._qkv_same_embed_dim:  # keys or values of another width
        projections = zip(
            (query, key, value),
            (layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight),
            (first, second, third),
            strict=True,
        )
        q, k, v = (tape.affine(name, x, w, bias, None, rows) for x, w, rows in projections)
        return q, k, v
    w = layer.in_proj_weight
    if itself:
        q, k, v = tape.affine(name, query, w, bias).chunk(3, -1)
        return q, k, v
    q = tape.affine(name, query, w, bias, first, first)
    if memory:
        k, v = tape.affine(name, key, w, bias, last, last).chunk(2, -1)
        return q, k, v
    return q, tape.affine(name, key, w, bias, second, second), tape.affine(name, value, w, bias, third, third)


def _mask(attn: Tensor | None, padding: Tensor | None, n: int, heads: int, like: Tensor) -> Tensor | None:
    """One mask to add to the scores, that broadcasts to (N, H, L, S); True in a mask of booleans forbids."""
    found = []
    if attn is not None:
        found.append(_added(attn, like) if attn.dim() == 2 else _added(attn, like).view(n, heads, *attn.shape[1:]))
    if padding is not None:
        found.append(_added(padding, like).view(n, 1, 1, -1))
    return None if not found else found[0] if len(found) == 1 else found[0] + found[1]


def _added(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask.to(like.dtype)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill_(mask, float("-inf"))
