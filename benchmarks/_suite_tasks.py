"""The tasks of the optimisers' suite: five small nets on published data, each with a budget of steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sonde import nets, objectives
from sonde.core import Batch, Build
from sonde.data.fetch import Pinned, get

# N rows, T tokens, L steps of the past, H steps of the future, C channels

SHAKESPEARE = Pinned("input.txt", "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed", 1115394)
ETTH1 = Pinned("ETTh1.csv", "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066", 2589657)
MONTH = 30 * 24  # hours, as the series' benchmarks count: 12 months to train, 4 to validate


@dataclass(frozen=True)
class Windows:
    """Stretches of a long sequence, by where they begin: past and future, for `Split` and validation.

    values: (S,) tokens or (S, C) a series. past, future: rows of x and y; future 0: y is x one place further on.
    """

    values: Tensor
    past: int
    future: int
    splits: Mapping[str, Tensor]

    def batch(self, index: Tensor) -> Batch:
        """The stretches that begin at `index`."""
        whole = self.values[index[:, None] + torch.arange(self.past + (self.future or 1))]  # (N, L + H, ...)
        x, y = (whole[:, : self.past], whole[:, self.past :]) if self.future else (whole[:, :-1], whole[:, 1:])
        return Batch(x, y, index)


def shakespeare(context: int = 64) -> Windows:
    """Characters of the tiny Shakespeare text; the last tenth validates."""
    text = np.frombuffer(get("tinyshakespeare", SHAKESPEARE), np.uint8)
    tokens = torch.from_numpy(np.unique(text, return_inverse=True)[1])  # (S,)
    cut = len(tokens) * 9 // 10
    val = torch.arange(cut, len(tokens) - context, context)
    return Windows(tokens, context, 0, {"train": torch.arange(cut - context), "val": val})


def etth1(lookback: int = 336, horizon: int = 96) -> Windows:
    """Hourly loads and the oil temperature of a transformer station, seven channels."""
    lines = get("ett", ETTH1).decode().splitlines()[1:]
    values = torch.tensor([[float(v) for v in line.split(",")[1:]] for line in lines])  # (S, C)
    train = torch.arange(12 * MONTH - lookback - horizon + 1)
    val = torch.arange(12 * MONTH - lookback, 16 * MONTH - lookback - horizon + 1)
    return Windows(values, lookback, horizon, {"train": train, "val": val})


@dataclass(frozen=True)
class Task:
    """What is learned, on what, and for how long.

    title: what the table calls it. data: makes the data set. objective: made for it. batch: rows a step. steps: the
    budget. rows: validation rows, taken evenly. head: what Muon takes for the output layer.
    """

    title: str
    data: Callable[[], Any]
    objective: Callable[[Any], Build[Any]]
    batch: int
    steps: int
    rows: int
    head: str = ""


def _images(name: str) -> Any:
    from sonde.data import load

    return load(name)


def _tabm(data: Any) -> Build[Any]:
    cardinalities = tuple(data.schema.cardinalities)
    numeric = data.x["numeric"].shape[1]
    net = Build(nets.TabM, outputs=2, numeric=numeric, cardinalities=cardinalities, widths=(64, 64), members=8, bins=48)
    return Build(objectives.Classify, net=net)


TASKS: dict[str, Task] = {
    "mnist": Task(
        "MNIST, MLP 784-128-128-10",
        lambda: _images("mnist"),
        lambda d: Build(objectives.Classify, net=Build(nets.MLP, shape=(1, 28, 28), outputs=10, widths=(128, 128))),
        batch=128,
        steps=400,
        rows=2000,
    ),
    "fashion": Task(
        "Fashion-MNIST, ConvNet",
        lambda: _images("fashion-mnist"),
        lambda d: Build(objectives.Classify, net=Build(nets.ConvNet)),
        batch=64,
        steps=400,
        rows=1000,
    ),
    "adult": Task(
        "Adult, TabM 64-64 x 8",
        lambda: _images("adult"),
        _tabm,
        batch=256,
        steps=300,
        rows=2000,
        head="net.heads",
    ),
    "etth1": Task(
        "ETTh1, DLinear 336 to 96",
        etth1,
        lambda d: Build(objectives.Forecast, net=Build(nets.DLinear, lookback=336, horizon=96), channels=7),
        batch=32,
        steps=400,
        rows=400,
        head="none",  # there is no hidden layer: Muon is given both maps
    ),
    "shakespeare": Task(
        "Tiny Shakespeare, GPT 4 x 64",
        shakespeare,
        lambda d: Build(
            objectives.PredictNext, net=Build(nets.GPT, vocabulary=65, context=64, width=64, layers=4, heads=4)
        ),
        batch=8,
        steps=300,
        rows=64,
        head="net.head",  # which is the embedding's matrix, so that all others are hidden
    ),
}
