"""Probabilities, truths and scores of a split, as the audits here read them."""

# N rows, C classes

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sonde.core import SondeError, Subject

Array = NDArray[Any]
RESOLUTION = float(np.finfo(np.float32).eps)  # of what a model answers with: no probability is trusted to be nearer 0


def probabilities(subject: Subject, split: str = "test") -> tuple[Array, Array]:
    """(N, C) float64 and the truths, (N,) classes or (N, L). Raises SondeError where some are not numbers."""
    y, p = subject.rows(split).y.numpy(), subject.answers(split).double().numpy()
    lost = int((~np.isfinite(p).all(1)).sum())
    if lost:
        raise SondeError(f"the answers to {lost} of {len(p)} {split} rows are not numbers", "see why the model fails")
    return p, y


def scores(subject: Subject, split: str) -> tuple[Tensor, Tensor]:
    """What calibrators read, (N, C), and classes (N,): logits, or the logarithms of the answers.

    A calibrator must start from the answers that the model gives, so logits count only where their softmax is what
    `predict` says; an ensemble's average, or a model without logits, is taken by its logarithm.
    """
    p, y = probabilities(subject, split)
    if subject.logits is not None:
        z = subject.scores(split).double()
        if bool(torch.isfinite(z).all()) and np.abs(z.softmax(1).numpy() - p).max(initial=0.0) < 1e-5:
            return z, torch.from_numpy(y)
    return torch.from_numpy(np.log(np.clip(p, RESOLUTION, 1.0))), torch.from_numpy(y)


def surprise(p: Array, y: Array) -> Array:
    """-log p of the true class (N,)."""
    return -np.log(np.clip(p[np.arange(len(p)), y], RESOLUTION, 1.0))
