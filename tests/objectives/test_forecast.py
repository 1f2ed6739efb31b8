"""Forecasts: units that do not matter, the error by hand, and a series that is learned."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sonde.core import Batch, Budget, Run, fit
from sonde.data.rows import Rows
from sonde.losses import AbsoluteError
from sonde.methods import FitInputs, adamw
from sonde.nets import DLinear
from sonde.objectives import Forecast

L, H, C = 12, 4, 2


def windows(rows: int = 32) -> tuple[Tensor, Tensor]:
    """Two waves, in units far apart."""
    t = torch.arange(L + H, dtype=torch.float64) + torch.arange(rows)[:, None]  # (N, L + H)
    whole = torch.stack([torch.sin(t), 1000 * torch.cos(2 * t) + 500], 2)
    return whole[:, :L], whole[:, L:]


def made(channels: int = C) -> Forecast:
    torch.manual_seed(0)
    return Forecast(DLinear(L, H, 3).double(), channels).double()


def test_the_loss_is_the_mean_square_in_units_of_each_channels_deviation() -> None:
    (x, y), objective = windows(), made()
    objective.fit_input(x)
    loss = objective("model", Batch(x, y))
    error = (objective.predict(x) - y) / x.flatten(0, 1).std(0, correction=0)
    torch.testing.assert_close(loss.terms["task"].value, error.square().mean((1, 2)))
    scores = objective.scores(Batch(x, y), loss)
    torch.testing.assert_close(scores["mse"], error.square().mean((1, 2)))
    torch.testing.assert_close(scores["mae"], error.abs().mean((1, 2)))


def test_units_do_not_matter() -> None:
    x, y = windows()
    scale, shift = torch.tensor([100.0, 0.01]).double(), torch.tensor([-3.0, 7.0]).double()
    one, two = made(), made()
    one.fit_input(x)
    two.fit_input(x * scale + shift)
    first, second = one("model", Batch(x, y)), two("model", Batch(x * scale + shift, y * scale + shift))
    torch.testing.assert_close(first.terms["task"].value, second.terms["task"].value)
    torch.testing.assert_close(two.predict(x * scale + shift), one.predict(x) * scale + shift)


def test_a_constant_channel_is_only_centred() -> None:
    objective = made()
    objective.fit_input(torch.full((3, L, C), 0.1))
    assert objective.std.tolist() == [1, 1]


def test_another_loss_may_be_asked_for() -> None:
    (x, y), objective = windows(), made()
    objective.loss = AbsoluteError()
    objective.fit_input(x)
    loss = objective("model", Batch(x, y))
    torch.testing.assert_close(loss.terms["task"].value, objective.scores(Batch(x, y), loss)["mae"])


def test_waves_are_learned() -> None:
    (x, y), objective = windows(), made()
    run = Run(objective, [FitInputs(), adamw(lr=0.01)])
    fit(run, Rows(x, y, batch_size=32), Budget(steps=400))
    assert objective("model", Batch(x, y)).total().item() < 1e-2


def test_a_future_of_another_shape_is_refused() -> None:
    x, y = windows()
    with pytest.raises(ValueError, match="y is"):
        made()("model", Batch(x, y[..., 0]))
    with pytest.raises(ValueError, match="y is"):
        Forecast(nn.Identity(), C)("model", Batch(x))
