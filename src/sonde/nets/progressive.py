"""Progressive networks: a column of layers for each task, which reads the frozen columns before it.

Rusu et al., Progressive neural networks, 2016.

Entry: progressive networks; catastrophic forgetting.
"""

# N rows, F numbers a row, T columns, K outputs a column, W units a hidden layer

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sonde.core import SondeError

from .layers.normalise import Normalise


class ProgressiveMLP(nn.Module):
    """A multilayer perceptron that gains a column, and an output for it, each time `grow` is called.

        h_i^k = relu(W_i^k h_(i-1)^k + U_i^k relu(V_i^k [alpha_j h_(i-1)^j for j < k]))         (eq. 2)

    and without the relu for the outputs. The first hidden layer reads the input alone; alpha_j, learned, starts at 1.

    shape: of one row. outputs: K of each column. widths: W of each hidden layer, at least one. columns: to begin with.
    Reads x: (N, *shape), floating point. Returns (N, T K), column after column, as `ClassifyTasks` reads it.

    `grow` freezes what is there; what it adds is drawn from torch's generator. Loading weights with more columns grows
    the net to them.

    >>> net = ProgressiveMLP(shape=(4,), outputs=3, widths=(8, 8))
    >>> net.grow()
    >>> net(torch.rand(5, 4)).shape, len([p for p in net.columns[0].parameters() if p.requires_grad])
    (torch.Size([5, 6]), 0)
    """

    def __init__(self, shape: tuple[int, ...], outputs: int, widths: Sequence[int] = (128,), columns: int = 1) -> None:
        super().__init__()
        if not widths or columns < 1:
            raise SondeError("a progressive net needs a hidden layer and a column", "give widths=(128,) and columns=1")
        self.sizes = (math.prod(shape), *widths, outputs)
        self.normalise = Normalise(shape[0], positions=len(shape) - 1)
        self.columns = nn.ModuleList([Column(self.sizes, 0)])
        while len(self.columns) < columns:
            self.grow()

    def grow(self) -> None:
        """Freeze the columns and add one that reads them."""
        like = next(self.columns.parameters())
        self.columns.requires_grad_(False)
        self.columns.append(Column(self.sizes, len(self.columns)).to(like))

    def forward(self, x: Tensor) -> Tensor:
        """The outputs of every column, (N, T K)."""
        h = self.normalise(x).flatten(1)  # (N, F)
        layers: list[list[Tensor]] = []  # by column, by hidden layer: (N, W)
        for column in self.columns:
            layers.append(column(h, layers))
        return torch.cat([found[-1] for found in layers], 1)

    def _load_from_state_dict(self, state: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        saved = {int(m[1]) for k in state if (m := re.match(re.escape(prefix) + r"columns\.(\d+)\.", k))}
        while saved and len(self.columns) <= max(saved):
            self.grow()
        super()._load_from_state_dict(state, prefix, *rest)


class Column(nn.Module):
    """One column: its own layers, and from the second layer on an adapter that reads the columns before it.

    sizes: inputs, hidden widths, outputs. before: how many columns there are already.
    """

    def __init__(self, sizes: Sequence[int], before: int) -> None:
        super().__init__()
        pairs = list(zip(sizes, sizes[1:], strict=False))
        self.own = nn.ModuleList([nn.Linear(i, o) for i, o in pairs])
        self.adapters = nn.ModuleList([Adapter(i, o, before) for i, o in pairs[1:]] if before else [])

    def forward(self, x: Tensor, before: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """The values of every layer, (N, W) each and (N, K) for the last. before: those of earlier columns."""
        found: list[Tensor] = []
        for i, layer in enumerate(self.own):
            z = layer(found[-1] if found else x)
            if i and before:
                z = z + self.adapters[i - 1]([column[i - 1] for column in before])
            found.append(torch.relu(z) if i < len(self.own) - 1 else z)
        return found


class Adapter(nn.Module):
    """U relu(V [alpha_j h^j]): what a layer takes from the columns before it, brought to one layer's width first."""

    def __init__(self, width: int, outputs: int, before: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(before, 1))  # alpha
        self.reduce = nn.Linear(before * width, width)  # V
        self.project = nn.Linear(width, outputs, bias=False)  # U

    def forward(self, columns: Sequence[Tensor]) -> Tensor:
        """(N, W) of each earlier column -> (N, outputs)."""
        h = torch.stack(list(columns), 1) * self.scale  # (N, T, W)
        return self.project(torch.relu(self.reduce(h.flatten(1))))
