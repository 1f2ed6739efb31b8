"""What every contender trains: two small networks on random rows, the same for all by construction."""

# N rows, C classes

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Adam:
    """Settings of the optimiser, at first those of Kingma and Ba (2015)."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8


@dataclass(frozen=True)
class Task:
    """One epoch of classification.

    The rows are Gaussian noise and the classes those of a random linear teacher, so that there is something to learn
    and nothing to download.
    """

    name: str
    title: str
    shape: tuple[int, ...]
    rows: int
    batch_size: int
    adam: Adam = Adam()

    def data(self) -> tuple[Tensor, Tensor]:
        """x (N, *shape) float32 and y (N,) int64."""
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(self.rows, *self.shape, generator=generator)
        teacher = torch.randn(x[0].numel(), 10, generator=generator)
        return x, (x.flatten(1) @ teacher).argmax(1)

    def net(self) -> nn.Module:
        """The network, always from the same initial weights."""
        torch.manual_seed(1)
        if self.name == "mlp":
            return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
        return nn.Sequential(  # LeCun et al., 1998, fig. 2, with plain tanh and a dense last layer
            nn.Conv2d(1, 6, 5, padding=2),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(400, 120),
            nn.Tanh(),
            nn.Linear(120, 84),
            nn.Tanh(),
            nn.Linear(84, 10),
        )

    @property
    def steps(self) -> int:
        """Optimiser steps of one epoch; the last batch may be smaller."""
        return -(-self.rows // self.batch_size)


def tasks(quick: bool) -> dict[str, Task]:
    """The two workloads, on fewer rows when `quick`."""
    part = 4 if quick else 1
    return {
        "mlp": Task("mlp", "MLP 784-128-10", (784,), 20_000 // part, 32),
        "lenet": Task("lenet", "LeNet-5 on 1x28x28", (1, 28, 28), 10_000 // part, 64),
    }
