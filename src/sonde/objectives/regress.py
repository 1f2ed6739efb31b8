"""Regression: T numbers for each row.

Entry: MSE.
"""

# N rows, M members, T targets

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sonde.core import Batch, Loss, Objective, Term


class Regress(Objective):
    """The mean squared error on standardised targets.

        task_i = 1/T sum_t ( net(x_i)_t - (y_it - mean_t) / std_t )^2

    net: x (N, ...) -> (N, T), or (N, M, T) for M members whose mean is the prediction. y: (N, T) in the user's units.
    mean and std are buffers, filled from the training targets by `fit_target` (0 and 1 until then), so that learning
    rates do not depend on the unit and predictions come out in it.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, targets: int = 1) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.zeros(targets))
        self.register_buffer("std", torch.ones(targets))

    def fit_target(self, y: Tensor) -> None:
        """Take mean and standard deviation from training targets (N, T)."""
        std, mean = torch.std_mean(y.double(), dim=0, correction=0)
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 0, std, torch.ones_like(std)))

    def forward(self, turn: str, batch: Batch) -> Loss:
        """See `Objective.forward`; `out` holds the prediction in the user's units."""
        output = self.net(batch.x)
        if batch.y.dim() != 2 or output.shape[-1] != batch.y.shape[-1]:  # would broadcast rows against rows
            raise ValueError(
                f"y is (N, T) and the net answers (N, T) or (N, M, T); got y {tuple(batch.y.shape)} and an output "
                f"{tuple(output.shape)}. One target a row is y[:, None]"
            )
        y = (batch.y - self.mean) / self.std  # (N, T)
        value = (output - (y if output.dim() == 2 else y[:, None])).pow(2).flatten(1).mean(1)  # (N,)
        weight = batch.fields.get("weight", 1.0)
        return Loss({"task": Term(value, "example", weight)}, {"prediction": self._in_units(output)})

    def predict(self, x: Any) -> Tensor:
        """The predicted targets in the user's units, (N, T)."""
        return self._in_units(self.net(x))

    def _in_units(self, output: Tensor) -> Tensor:
        output = output.to(torch.promote_types(output.dtype, self.mean.dtype))
        return (output if output.dim() == 2 else output.mean(1)) * self.std + self.mean

    def scores(self, batch: Batch, loss: Loss) -> dict[str, Tensor]:
        """What validation averages over rows: squared and absolute error in the user's units."""
        error = loss.out["prediction"] - batch.y
        return {"mse": error.pow(2).mean(1), "mae": error.abs().mean(1)}
