"""What the losses share: arithmetic that gives each row the same bits in any company, labels, means within a row."""

# N rows, C classes

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from sonde.core import SondeError


def wide(output: Tensor) -> Tensor:
    """In float32 or wider: squares of what float16 holds (to 65,504) overflow it."""
    return output.to(torch.promote_types(output.dtype, torch.float32))


# torch's own sigmoid, softplus and pow give other bits in the tail of a tensor than in its body, so that a row's value
# would depend on how many rows are before it. exp, log and logsigmoid do not.


def sigmoid(z: Tensor) -> Tensor:
    """1 / (1 + exp(-z))."""
    return F.logsigmoid(z).exp()


def softplus(z: Tensor) -> Tensor:
    """log(1 + exp(z))."""
    return -F.logsigmoid(-z)


def power(base: Tensor, exponent: float) -> Tensor:
    """base^exponent for a base in [0, 1]; at 0, where a power below 1 has no slope, the slope is 0."""
    return (exponent * base.clamp_min(torch.finfo(base.dtype).tiny).log()).exp()


def row_sum(values: Tensor) -> Tensor:
    """The sum of each row, (N, ...) -> (N,), with the same bits whatever rows are beside it.

    torch adds up a tensor of one row in another order than the rows of a longer one: one row is added up as two.
    """
    flat = values.flatten(1)
    return flat.sum(1) if len(flat) != 1 else torch.cat([flat, flat]).sum(1)[:1]


def within_rows(values: Tensor) -> Tensor:
    """The mean of each row, (N, ...) -> (N,)."""
    return values if values.dim() == 1 else row_sum(values) / values[:1].numel()


def alike(output: Tensor, y: Tensor, loss: str) -> None:
    """Refuse shapes that would broadcast rows against rows."""
    if output.shape != y.shape:
        raise SondeError(
            f"{loss} compares numbers one by one; the net answers {tuple(output.shape)} and y is {tuple(y.shape)}",
            "give both the same shape (one number a row is y[:, None])",
        )


def of_class(values: Tensor, y: Tensor) -> Tensor:
    """values (N, C) of the class y (N,), or their mean under the shares y (N, C): (N,).

    What is linear in the labels goes with labels that are mixed or smoothed: it is the mean over labels drawn from y.
    """
    if y.dim() == 1:
        return values.gather(1, y[:, None]).squeeze(1)
    return row_sum(y * values)


def class_weights(weights: tuple[float, ...], like: Tensor, loss: str) -> Tensor | None:
    """The weights (C,) for outputs (N, C); None for none."""
    if not weights:
        return None
    if len(weights) != like.shape[1]:
        raise SondeError(f"{loss} has {len(weights)} weights for {like.shape[1]} classes", "give one a class")
    return like.new_tensor(weights)


def checked_weights(weights: tuple[float, ...], loss: str) -> tuple[float, ...]:
    """The weights as a tuple, none of them negative or NaN."""
    if not all(w >= 0 for w in weights):
        raise SondeError(f"{loss} has a negative weight: {tuple(weights)}", "give weights of 0 or more")
    return tuple(weights)
