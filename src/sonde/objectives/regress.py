"""Regression: T numbers for each row.

Entry: MSE.
"""

# N rows, M members, T targets

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sonde.core import Batch, Loss, Objective
from sonde.losses import LossFunction, SquaredError, as_term

SQUARED_ERROR = SquaredError()


class Regress(Objective):
    """The mean squared error on standardised targets, or another loss.

        task_i = 1/T sum_t ( net(x_i)_t - (y_it - mean_t) / std_t )^2

    net: x (N, ...) -> (N, T), or (N, M, T) for M members whose mean is the prediction. y: (N, T) in the user's units.
    mean and std are buffers, filled from the training targets by `fit_target` (0 and 1 until then), so that learning
    rates do not depend on the unit and predictions come out in it.
    loss: of outputs (N, T) and standardised targets: one of `sonde.losses` (Huber, Quantile, GaussianNLL) or a function
        of your own; see `Classify`. One that has a `width` W (a mean and a spread; several quantiles) reads (N, W T),
        of which block `point`, of T, is the prediction.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, targets: int = 1, loss: LossFunction = SQUARED_ERROR) -> None:
        super().__init__()
        self.net, self.loss = net, loss
        self.width, self.point = int(getattr(loss, "width", 1)), int(getattr(loss, "point", 0))
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
        if (
            batch.y.dim() != 2 or output.shape[-1] != self.width * batch.y.shape[-1]
        ):  # would broadcast rows against rows
            wide = "T" if self.width == 1 else f"{self.width} T"
            raise ValueError(
                f"y is (N, T) and the net answers (N, {wide}) or (N, M, {wide}); got y {tuple(batch.y.shape)} and an "
                f"output {tuple(output.shape)}. One target a row is y[:, None]"
            )
        y = (batch.y - self.mean) / self.std  # (N, T)
        task = as_term(self.loss, output, y, batch.fields.get("weight", 1.0), members=output.dim() > 2)
        return Loss({"task": task}, {"prediction": self._in_units(output)})

    def predict(self, x: Any) -> Tensor:
        """The predicted targets in the user's units, (N, T)."""
        return self._in_units(self.net(x))

    def _in_units(self, output: Tensor) -> Tensor:
        if self.width > 1:
            output = output.unflatten(-1, (self.width, -1))[..., self.point, :]
        output = output.to(torch.promote_types(output.dtype, self.mean.dtype))
        return (output if output.dim() == 2 else output.mean(1)) * self.std + self.mean

    def scores(self, batch: Batch, loss: Loss) -> dict[str, Tensor]:
        """What validation averages over rows: squared and absolute error in the user's units."""
        error = loss.out["prediction"] - batch.y
        return {"mse": error.pow(2).mean(1), "mae": error.abs().mean(1)}
