"""The network that read zip codes: the first convolutional network trained by backpropagation on a real task.

LeCun, Boser, Denker, Henderson, Howard, Hubbard and Jackel, Backpropagation applied to handwritten zip code
recognition, 1989. What the paper leaves open is taken as Karpathy takes it, whose notes on it are the source here
(Deep neural nets: 33 years ago and 33 years from now, 2022, and its code):

- Which eight maps of H1 each map of H2 sees is not told: four maps see the first eight, four the last eight, four the
  first and the last four.
- Weights begin uniform within 2.4 / sqrt(F) of 0, F the inputs of a unit: the paper is read as having the root. Biases
  begin at 0, those of squashed outputs at -1, since nine of ten targets are -1.
- The squashing is tanh itself.

Entry: convolution; weight sharing; backpropagation.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from sonde.core import SondeError

# N rows, T outputs

BACKGROUND = -1.0  # what lies beyond the edge of a plane
SEEN = (*range(8), *range(4, 12), *range(4), *range(8, 12))  # maps of H1 that each four maps of H2 see
Activation = Literal["tanh", "relu"]


class LeCun1989(nn.Module):
    """Reads pictures of 16 x 16 pixels with two layers of shared weights and one of thirty units.

        H1    12 maps of 8 x 8, each unit sees 5 x 5 pixels, two apart; 25 weights a map, a bias a unit
        H2    12 maps of 4 x 4, each unit sees 5 x 5 units of 8 maps, two apart; 200 weights a map, a bias a unit
        H3    30 units; output T units, each seeing all below

    outputs: T, classes. activation: of the hidden units. squash: whether tanh bounds the outputs too, as in the paper;
    without, they are linear, for cross-entropy. dropout: share of H2's units silenced in training, [0, 1).
    Reads x: (N, 1, 16, 16), floating point in [0, 1], which it maps to [-1, 1]. Returns (N, T).
    1256 units and 9760 parameters for ten classes, as in the paper.

    >>> sum(p.numel() for p in LeCun1989().parameters())
    9760
    """

    seen: Tensor

    def __init__(
        self, outputs: int = 10, activation: Activation = "tanh", squash: bool = True, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if activation not in get_args(Activation):
            raise SondeError(f"there is no activation {activation!r} here", "choose tanh, as in the paper, or relu")
        if not 0.0 <= dropout < 1.0:
            raise SondeError(f"LeCun1989(dropout={dropout}) is outside [0, 1)", "choose 0 for none, as in the paper")
        self.squash, self.dropout = squash, dropout
        self.bend = torch.tanh if activation == "tanh" else torch.relu
        self.h1 = nn.Parameter(uniform(12, 25, inputs=25))
        self.h1_bias = nn.Parameter(torch.zeros(12, 8, 8))  # a unit's own, where its weights are the map's
        self.h2 = nn.Parameter(uniform(3, 4, 200, inputs=200))  # three groups of four maps that see the same eight
        self.h2_bias = nn.Parameter(torch.zeros(12, 4, 4))
        self.h3 = nn.Linear(192, 30)
        self.output = nn.Linear(30, outputs)
        with torch.no_grad():
            self.h3.weight.copy_(uniform(30, 192, inputs=192))
            self.output.weight.copy_(uniform(outputs, 30, inputs=30))
            self.h3.bias.zero_()
            self.output.bias.fill_(-1.0 if squash else 0.0)
        self.register_buffer("seen", torch.tensor(SEEN), persistent=False)

    def maps(self, x: Tensor) -> Tensor:
        """What H1 answers, (N, 12, 8, 8)."""
        # A convolution as a product of matrices: for single rows, which the paper learns from, faster than conv2d.
        near = neighbourhoods(2 * x - 1)  # (N, 25, 64)
        return self.bend((self.h1 @ near).unflatten(-1, (8, 8)) + self.h1_bias)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs (N, T)."""
        if x.shape[1:] != (1, 16, 16):
            raise SondeError(
                f"LeCun1989 reads pictures of 1 x 16 x 16; these are {' x '.join(map(str, x.shape[1:]))}",
                "resize them, or use LeNet",
            )
        h1 = self.maps(x)
        near = neighbourhoods(h1.index_select(1, self.seen)).unflatten(1, (3, 200))  # (N, 3, 200, 16)
        h2 = self.bend((self.h2 @ near).reshape(-1, 12, 4, 4) + self.h2_bias)  # (N, 12, 4, 4)
        h2 = F.dropout(h2, self.dropout, self.training and self.dropout > 0)
        h3 = self.bend(self.h3(h2.flatten(1)))  # (N, 30)
        z: Tensor = self.output(h3)  # (N, T)
        return torch.tanh(z) if self.squash else z


def neighbourhoods(planes: Tensor) -> Tensor:
    """What each unit above sees of planes (N, C, S, S): 5 x 5 units, two apart: (N, 25 C, (S / 2)^2)."""
    return F.unfold(F.pad(planes, (2, 2, 2, 2), value=BACKGROUND), kernel_size=5, stride=2)


def uniform(*shape: int, inputs: int) -> Tensor:
    """Weights that begin uniform within 2.4 / sqrt(inputs) of 0."""
    return (2 * torch.rand(shape) - 1) * 2.4 / inputs**0.5
