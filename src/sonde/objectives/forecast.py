"""Forecasting: the next steps of a series of several channels, from the last ones.

The loss and its units are those of the benchmarks for long horizons: Zhou et al., Informer, 2021, sec. 4.1, and after
them Zeng et al., Are Transformers effective for time series forecasting?, 2023, sec. 5.1.

Entry: MSE.
"""

# N rows, L steps of the past, H steps of the future, C channels

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sonde.core import Batch, Loss, Objective
from sonde.losses import LossFunction, SquaredError, as_term

SQUARED_ERROR = SquaredError()


class Forecast(Objective):
    """The mean squared error of the future of all channels, each in units of its own standard deviation.

        task_i = 1/(H C) sum_tc ( net(u_i)_tc - v_itc )^2,   u = (x - mean) / std,   v = (y - mean) / std

    net: u (N, L, C) -> (N, H, C). y: (N, H, C). x and y are in the user's units, and so are predictions; mean and std
    of each channel are buffers, filled from the past of the training rows by `fit_input` (0 and 1 until then), so that
    no channel outweighs the others by its unit.
    loss: of outputs (N, H C) and standardised targets (N, H C): see `Classify`.
    """

    mean: Tensor  # (C,)
    std: Tensor  # (C,)

    def __init__(self, net: nn.Module, channels: int = 1, loss: LossFunction = SQUARED_ERROR) -> None:
        super().__init__()
        self.net, self.loss = net, loss
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def fit_input(self, x: Tensor) -> None:
        """Take mean and standard deviation of each channel from training rows x (N, L, C)."""
        std, mean = torch.std_mean(x.flatten(0, 1).double(), dim=0, correction=0)
        self.mean.copy_(mean)
        # Rounding leaves a constant channel a deviation of some 1e-16 of its mean, which is none.
        self.std.copy_(torch.where(std > 1e-12 * mean.abs(), std, torch.ones_like(std)))

    def forward(self, turn: str, batch: Batch) -> Loss:
        """See `Objective.forward`; `out` holds the forecast in the user's units."""
        output = self.net(self._plain(batch.x))  # (N, H, C)
        if batch.y is None or output.shape != batch.y.shape:  # would broadcast rows against rows
            given = None if batch.y is None else tuple(batch.y.shape)
            raise ValueError(f"y is (N, H, C) as the net answers; got y {given} and an output {tuple(output.shape)}")
        v = self._plain(batch.y)
        task = as_term(self.loss, output.flatten(1), v.flatten(1), batch.fields.get("weight", 1.0))
        return Loss({"task": task}, {"forecast": self._in_units(output)})

    def predict(self, x: Any) -> Tensor:
        """The next steps in the user's units, (N, H, C)."""
        return self._in_units(self.net(self._plain(x)))

    def _plain(self, series: Tensor) -> Tensor:
        return (series - self.mean) / self.std

    def _in_units(self, output: Tensor) -> Tensor:
        return output.to(torch.promote_types(output.dtype, self.mean.dtype)) * self.std + self.mean

    def scores(self, batch: Batch, loss: Loss) -> dict[str, Tensor]:
        """What validation averages over rows: squared and absolute error in units of the channels' deviations."""
        error = (loss.out["forecast"] - batch.y) / self.std  # (N, H, C)
        return {"mse": error.pow(2).flatten(1).mean(1), "mae": error.abs().flatten(1).mean(1)}
