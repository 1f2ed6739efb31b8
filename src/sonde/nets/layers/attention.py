"""Causal self-attention, and the pre-norm block of a Transformer that is built on it.

Vaswani et al., Attention is all you need, 2017, sec. 3.2 and 3.3; the norm stands before each branch, as in Radford et
al., Language models are unsupervised multitask learners, 2019, sec. 2.3. Queries, keys and values have a matrix each,
where GPT-2 lays them one above the other: the same function and the same number of weights, and what acts on matrices
(orthogonal or low-rank updates, pruning) sees them apart.

Entry: scaled dot-product attention; multi-head attention; Transformer.
"""

# N rows, T tokens, D width, H heads

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from sonde.core import SondeError


class CausalSelfAttention(nn.Module):
    """Every token reads itself and the tokens before it.

        softmax(Q K^T / sqrt(D / H) + mask) V   in each of H heads, then their concatenation times W_O.

    width: D. heads: H, a divisor of D. dropout: share of attention weights silenced in training, [0, 1).
    bias: whether the four maps add a vector. Reads and returns (N, T, D).
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0, bias: bool = True) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise SondeError(
                f"{heads} heads do not divide a width of {width}", "choose a width that is a multiple of the heads"
            )
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(width, width, bias=bias)  # W_Q
        self.key = nn.Linear(width, width, bias=bias)  # W_K
        self.value = nn.Linear(width, width, bias=bias)  # W_V
        self.out = nn.Linear(width, width, bias=bias)  # W_O

    def forward(self, x: Tensor) -> Tensor:
        """What each token found, (N, T, D)."""
        split = (self.heads, -1)
        q, k, v = (f(x).unflatten(-1, split).transpose(1, 2) for f in (self.query, self.key, self.value))
        rate = self.dropout if self.training else 0.0
        read = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=rate)  # (N, H, T, D/H)
        joined: Tensor = self.out(read.transpose(1, 2).flatten(2))  # (N, T, D)
        return joined


class FeedForward(nn.Module):
    """Two layers on each token by itself: W_2 gelu(W_1 x), four times as wide between them (sec. 3.3).

    width: D. bias: whether the maps add a vector. GELU by its tanh formula, as in GPT-2. Reads and returns (N, T, D).
    """

    def __init__(self, width: int, bias: bool = True) -> None:
        super().__init__()
        self.wide = nn.Linear(width, 4 * width, bias=bias)
        self.out = nn.Linear(4 * width, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """The layers' answer, (N, T, D)."""
        z: Tensor = self.out(F.gelu(self.wide(x), approximate="tanh"))
        return z


class Block(nn.Module):
    """A layer of a Transformer that reads normalised tokens and adds to them.

        x <- x + dropout(attention(norm(x))),   x <- x + dropout(feed_forward(norm(x)))

    width: D. heads: H. dropout: share of attention weights and of what is added silenced in training, [0, 1).
    bias: whether maps and norms add a vector. Reads and returns (N, T, D).
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0, bias: bool = True) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, bias=bias)
        self.attention = CausalSelfAttention(width, heads, dropout, bias)
        self.norm2 = nn.LayerNorm(width, bias=bias)
        self.feed_forward = FeedForward(width, bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """The tokens with what both branches add, (N, T, D)."""
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.dropout(self.feed_forward(self.norm2(x)))  # type: ignore[no-any-return]
