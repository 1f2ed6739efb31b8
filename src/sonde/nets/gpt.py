"""GPT: a Transformer that reads tokens from left to right and says which comes next.

Radford, Wu, Child, Luan, Amodei and Sutskever, Language models are unsupervised multitask learners, 2019, sec. 2.3
(GPT-2); the starting weights of Radford et al., Improving language understanding by generative pre-training, 2018,
sec. 4.1. No difference but that queries, keys and values are matrices apart (see `layers.attention`).

Entry: GPT; Transformer; language model.
"""

# N rows, T tokens, V vocabulary, D width

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sonde.core import SondeError

from .layers.attention import Block, CausalSelfAttention, FeedForward

SPREAD = 0.02  # standard deviation of the starting weights (2018, sec. 4.1)


class GPT(nn.Module):
    """Reads T tokens and answers V logits at each place, which depend on that token and those before it.

        h_0 = W_e[x] + W_p[0..T-1],   h_l = block_l(h_(l-1)),   z = norm(h_L) W_e^T

    vocabulary: V. context: the most tokens it reads. width: D. layers: L. heads: of attention, a divisor of D.
    dropout: share of embeddings, attention weights and branches silenced in training, [0, 1).
    bias: whether maps and norms add a vector; without it slightly faster, and as good.
    The output layer is the embedding's matrix W_e. The maps that end a branch start smaller by sqrt(2 L), so that the
    sum over branches starts as wide whatever L is.
    Reads x: (N, T) int64 tokens, T at most `context`. Returns (N, T, V).

    >>> GPT(vocabulary=65, context=8, width=16, layers=2, heads=2)(torch.zeros(3, 5, dtype=torch.int64)).shape
    torch.Size([3, 5, 65])
    """

    def __init__(
        self,
        vocabulary: int = 65,
        context: int = 256,
        width: int = 384,
        layers: int = 6,
        heads: int = 6,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if not 0.0 <= dropout < 1.0:
            raise SondeError(f"GPT(dropout={dropout}) is outside [0, 1)", "choose 0 for none; 0.1 to 0.2 is usual")
        self.tokens = nn.Embedding(vocabulary, width)  # W_e
        self.positions = Positions(context, width)  # W_p
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout, bias) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=bias)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight
        self._begin()

    def _begin(self) -> None:
        ends = {m.out for m in self.modules() if isinstance(m, CausalSelfAttention | FeedForward)}
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=SPREAD / math.sqrt(len(ends)) if module in ends else SPREAD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the next token at every place, (N, T, V)."""
        h = self.dropout(self.positions(self.tokens(x)))  # (N, T, D)
        for block in self.blocks:
            h = block(h)
        z: Tensor = self.head(self.norm(h))  # (N, T, V)
        return z


class Positions(nn.Module):
    """A learned vector for each place. Reads and returns (N, T, D).

    weight: (context, D), W_p.
    """

    def __init__(self, context: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(context, width).normal_(std=SPREAD))

    def forward(self, h: Tensor) -> Tensor:
        """The tokens, each with its place."""
        if h.shape[1] > len(self.weight):
            raise SondeError(
                f"{h.shape[1]} tokens are more than the context of {len(self.weight)}",
                "give fewer tokens, or build the net with a longer context",
            )
        return h + self.weight[: h.shape[1]]
