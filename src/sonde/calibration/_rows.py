"""What every fit asks of its rows."""

# N rows, C classes

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sonde.core import SondeError

Array = NDArray[Any]
LOWEST = -1e4  # of a logit below its row's largest: its probability is zero in every floating-point type


EVERY_RIGHT = "all {} rows to calibrate on are answered rightly, so nothing says how sure is too sure"
MORE_ROWS = "calibrate on more rows, or leave the probabilities as they are"


def rows_of(scores: Tensor, y: Tensor) -> tuple[Array, Array]:
    """Scores (N, C) float64 and classes (N,), checked. Raises SondeError for what nothing can be fitted on."""
    truth = y.detach().cpu().numpy()
    z = scores.detach().cpu().double().numpy()
    if z.ndim != 2 or truth.shape != z.shape[:1]:
        raise ValueError(f"needs scores (N, C) and classes (N,); got {tuple(scores.shape)} and {tuple(y.shape)}")
    if not len(z):
        raise SondeError("there are no rows to calibrate on", "hold some out of training: a validation split")
    if np.isnan(z).any():
        lost = int(np.isnan(z).any(1).sum())
        raise SondeError(f"the scores of {lost} of {len(z)} rows are not numbers", "calibrate a model that answers")
    if not 0 <= truth.min() <= truth.max() < z.shape[1]:
        raise ValueError(f"classes must be in 0..{z.shape[1] - 1}; got {truth.min()}..{truth.max()}")
    return z, truth


def centred(logits: Array) -> Array:
    """Logits less the largest of their row, at least `LOWEST`: the same probabilities, and nothing infinite."""
    return np.maximum(logits - logits.max(1, keepdims=True), LOWEST)  # type: ignore[no-any-return]


def softmax(z: Array) -> Array:
    """(N, C) probabilities of logits (N, C)."""
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)  # type: ignore[no-any-return]


def tensor(p: Array) -> Tensor:
    """As float64, whose resolution a negative log-likelihood needs."""
    return torch.from_numpy(np.ascontiguousarray(p))
