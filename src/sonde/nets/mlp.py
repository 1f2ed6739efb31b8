"""A multilayer perceptron: layers of weighted sums with a bend between them.

Rumelhart, Hinton and Williams, Learning representations by back-propagating errors, 1986, with rectified linear units
(Glorot, Bordes and Bengio, 2011) and dropout (Srivastava et al., 2014) in the hidden layers.

Entry: layers; ReLU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from sonde.core import SondeError

from .layers.normalise import Normalise

# N rows, F numbers a row, T outputs


class MLP(nn.Module):
    """Reads a row as F numbers and passes it through hidden layers.

    h_0 = (x - mean) / std,   h_k = dropout(relu(W_k h_(k-1) + b_k)),   z = W h_K + b.

    shape: of one row: (C, H, W) for images, (F,) for columns. outputs: T, classes or targets.
    widths: units of each hidden layer; none makes the net linear. dropout: share of units silenced in training, [0, 1).
    Reads x: (N, *shape), floating point. Returns (N, T).

    >>> import torch
    >>> MLP(shape=(4,), outputs=3, widths=(16,))(torch.rand(5, 4)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self, shape: tuple[int, ...], outputs: int, widths: Sequence[int] = (256, 256), dropout: float = 0.0
    ) -> None:
        super().__init__()
        if not 0.0 <= dropout < 1.0:
            raise SondeError(f"MLP(dropout={dropout}) is outside [0, 1)", "choose 0 for none; 0.1 to 0.5 is usual")
        self.normalise = Normalise(shape[0], positions=len(shape) - 1)
        layers: list[nn.Module] = []
        width = math.prod(shape)
        for wider in widths:
            layers += [nn.Linear(width, wider), nn.ReLU()]
            if dropout:
                layers.append(nn.Dropout(dropout))
            width = wider
        self.hidden = nn.Sequential(*layers)
        self.output = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs (N, T)."""
        h = self.hidden(self.normalise(x).flatten(1))  # (N, F) -> (N, widths[-1])
        z: Tensor = self.output(h)  # (N, T)
        return z
