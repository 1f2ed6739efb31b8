"""One construction of every method, for the laws that hold for all of them. A method without a line here fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from sonde.core import Batch, Method
from sonde.methods import (
    EMA,
    FGSM,
    PGD,
    TRADES,
    Backprop,
    Checkpoint,
    Clip,
    Colour,
    Crop,
    CutMix,
    Descend,
    EarlyStopping,
    Erase,
    FitInputs,
    Flip,
    GaussianNoise,
    LabelSmoothing,
    MetricsLog,
    MixUp,
    Rotate,
    Scale,
    Shift,
    Validate,
)
from sonde.optim.schedules import Cosine
from tests.support import PLAIN_SGD

CLASSES, SIDE = 3, 8


class Pictures:
    """Small pictures with a class each; 22 to train on, 10 to measure on."""

    def __init__(self) -> None:
        g = torch.Generator().manual_seed(4)
        self.y = torch.randint(CLASSES, (32,), generator=g)
        self.x = (torch.rand(32, 1, SIDE, SIDE, generator=g) + self.y[:, None, None, None]) / (CLASSES + 1)
        self.splits = {"train": torch.arange(22), "val": torch.arange(22, 32)}

    def batch(self, index: Tensor) -> Batch:
        return Batch(self.x[index], self.y[index], index)


Make = Callable[[Path], Method]

# One construction of every method, with settings that make it act on the small run below.
EXAMPLES: dict[type[Method], Make] = {
    Backprop: lambda folder: Backprop(microbatch=5),
    Checkpoint: lambda folder: Checkpoint(folder / "checkpoints", every_steps=2, metric="loss"),
    Clip: lambda folder: Clip(0.1),
    Colour: lambda folder: Colour(0.5, 0.5, 0.5),
    Crop: lambda folder: Crop(0.5),
    CutMix: lambda folder: CutMix(CLASSES),
    Descend: lambda folder: Descend(PLAIN_SGD, Cosine()),
    EMA: lambda folder: EMA(0.9),
    EarlyStopping: lambda folder: EarlyStopping(patience=3, min_delta=10.0),
    FGSM: lambda folder: FGSM(0.1),
    PGD: lambda folder: PGD(0.1, step=0.04, steps=3),
    TRADES: lambda folder: TRADES(6.0, 0.1, step=0.04, steps=3),
    Erase: lambda folder: Erase(0.9),
    FitInputs: lambda folder: FitInputs(),
    Flip: lambda folder: Flip(),
    GaussianNoise: lambda folder: GaussianNoise(0.1),
    LabelSmoothing: lambda folder: LabelSmoothing(0.2),
    MetricsLog: lambda folder: MetricsLog(folder / "metrics.jsonl", every_steps=3),
    MixUp: lambda folder: MixUp(CLASSES, alpha=1.0),
    Rotate: lambda folder: Rotate(30.0),
    Scale: lambda folder: Scale(0.3),
    Shift: lambda folder: Shift(0.2),
    Validate: lambda folder: Validate(Pictures()),
}
