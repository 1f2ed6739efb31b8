"""TabM: one network that is an ensemble of multilayer perceptrons, for tables.

Gorishniy, Kotelnikov and Babenko, TabM: Advancing tabular deep learning with parameter-efficient ensembling, 2025: the
variant TabM-mini with piecewise-linear embeddings (section 3.3), whose members share their layers' weights and differ
in a vector that scales the input, and in their output layers. Deliberate differences from the paper:

- The hidden layers' biases are each member's own, as in its full TabM; they cost nothing.
- One scale a member and column is drawn at first and then learned for each of the column's numbers apart.
- The encoding of the columns is `TableInput`, which says how it differs.

Entry: ensemble; multilayer perceptron.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from sonde.core import SondeError

from .layers.tabular import TableInput

# N rows, M members, D numbers the columns are turned into, W width of a hidden layer, T outputs


class TabM(nn.Module):
    """Reads a row as the columns of a table and answers M times.

        h_0 = r_m * columns(x),   h_k = dropout(relu(W_k h_(k-1) + b_km)),   z_m = V_m h_K + c_m

    outputs: T, classes or targets. numeric: how many numeric columns. cardinalities: how many codes each categorical
    column has, 0 for missing or unseen included. widths: W of each hidden layer. members: M. dropout: share of units
    silenced in training, [0, 1). bins: the most bins of a numeric column.
    Reads {"numeric": (N, F), NaN for missing, "categorical": (N, K) int64}. Returns (N, M, T): each member is trained
    on a loss of its own, and the mean of their probabilities (or targets) is the prediction.

    >>> net = TabM(outputs=2, numeric=1, cardinalities=(3,), widths=(8,), members=4)
    >>> net({"numeric": torch.tensor([[0.5], [torch.nan]]), "categorical": torch.tensor([[1], [0]])}).shape
    torch.Size([2, 4, 2])
    """

    def __init__(
        self,
        outputs: int,
        numeric: int,
        cardinalities: Sequence[int] = (),
        widths: Sequence[int] = (128, 128),
        members: int = 16,
        dropout: float = 0.1,
        bins: int = 128,
    ) -> None:
        super().__init__()
        if members < 1 or not widths:
            raise SondeError(
                f"TabM(members={members}, widths={tuple(widths)}) has nothing to learn with",
                "give it at least one member and one hidden layer",
            )
        self.columns = TableInput(numeric, cardinalities, bins)
        sections = self.columns.sections
        scale = torch.randn(members, len(sections)).repeat_interleave(
            torch.tensor(sections), dim=1, output_size=sum(sections)
        )  # (M, D)
        self.scale = MemberScale(scale)
        sizes = [sum(sections), *widths]
        self.hidden = nn.ModuleList(MemberLinear(a, b, members) for a, b in pairwise(sizes))
        self.dropout = nn.Dropout(dropout)
        self.heads = MemberHeads(sizes[-1], outputs, members)

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        """The outputs of every member, (N, M, T)."""
        h = self.scale(self.columns(x))  # (N, D) -> (N, M, D)
        for layer in self.hidden:
            h = self.dropout(F.relu(layer(h)))  # (N, M, W)
        z: Tensor = self.heads(h)
        return z


class MemberScale(nn.Module):
    """What makes members differ: each sees the columns by its own factors. Reads (N, D), returns (N, M, D).

    weight: (M, D), the factors.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        """The columns, scaled for each member."""
        return x[:, None] * self.weight


class MemberBias(nn.Module):
    """A number to add for each member and unit. Reads and returns (N, M, W)."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.bias = nn.Parameter(start)  # (M, W)

    def forward(self, h: Tensor) -> Tensor:
        """The sums."""
        return h + self.bias


class MemberLinear(nn.Module):
    """One linear map for all members, and a bias for each: z_m = W h_m + b_m.

    inputs, outputs: numbers a row. members: M. Reads (N, M, inputs), returns (N, M, outputs).
    """

    def __init__(self, inputs: int, outputs: int, members: int) -> None:
        super().__init__()
        self.map = nn.Linear(inputs, outputs, bias=False)
        bound = 1 / math.sqrt(inputs)  # as torch.nn.Linear begins
        nn.init.uniform_(self.map.weight, -bound, bound)
        self.shift = MemberBias(torch.empty(members, outputs).uniform_(-bound, bound))

    def forward(self, h: Tensor) -> Tensor:
        """The weighted sums, (N, M, outputs)."""
        z: Tensor = self.shift(self.map(h))
        return z


class MemberHeads(nn.Module):
    """A linear map of its own for each member. Reads (N, M, W), returns (N, M, T)."""

    def __init__(self, width: int, outputs: int, members: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(width)
        self.weight = nn.Parameter(torch.empty(members, width, outputs).uniform_(-bound, bound))  # (M, W, T)
        self.bias = nn.Parameter(torch.zeros(members, outputs))

    def forward(self, h: Tensor) -> Tensor:
        """The outputs."""
        return torch.einsum("nmw,mwt->nmt", h, self.weight) + self.bias
