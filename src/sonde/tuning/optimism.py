"""What the best of many tries is worth on new rows: its validation score, corrected for having been chosen by it.

Tsamardinos, Greasidou and Borboudakis, Bootstrapping the out-of-sample predictions for efficient and accurate
cross-validation, 2018 (BBC), with one validation split in place of folds: rows are drawn with replacement,
the best configuration is chosen on the rows drawn, and measured on those that were not. This takes away most of the
optimism and not all: a try that was lucky on most of the rows looks good on the rest as well.

Entry: overfitting.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# T tries, N rows, B bootstrap samples

SAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Corrected:
    """value: of the chosen configuration on rows that did not choose it, with its interval; in the measure's unit.

    gain: by how much that is better than the first try (the recipe as it was), with its interval; above 0 is better.
    tries: how many were chosen among. rows: how many rows chose.
    """

    value: float
    interval: tuple[float, float]
    gain: float
    gain_interval: tuple[float, float]
    tries: int
    rows: int


def corrected(scores: Tensor, lower_is_better: bool, seed: int = 0) -> Corrected | None:
    """The corrected score of the best of T tries.

    scores: (T, N) float, of each validation row by each try that was finished, the recipe as it was first.
    None where there are too few tries (two) or rows (eight) for the question.
    """
    tries, n = scores.shape
    if tries < 2 or n < 8:
        return None
    sign = -1.0 if lower_is_better else 1.0
    generator = torch.Generator().manual_seed(seed)
    values, gains = [], []
    for part in range(0, SAMPLES, 200):  # at a time: (200, N) counts in memory
        draws = torch.randint(n, (min(200, SAMPLES - part), n), generator=generator)
        counts = torch.zeros(len(draws), n, dtype=torch.float64).scatter_add_(
            1, draws, torch.ones(draws.shape, dtype=torch.float64)
        )
        inside = counts @ scores.double().T / n  # (B, T)
        left = (counts == 0).double()
        outside = left @ scores.double().T / left.sum(1, keepdim=True).clamp_min(1)  # (B, T)
        chosen = (sign * inside).argmax(1, keepdim=True)
        found = outside.gather(1, chosen).squeeze(1)
        values.append(found)
        gains.append(sign * (found - outside[:, 0]))
    value, gain = torch.cat(values), torch.cat(gains)
    return Corrected(float(value.mean()), _interval(value), float(gain.mean()), _interval(gain), tries, n)


def _interval(samples: Tensor) -> tuple[float, float]:
    """The middle 95 % of the samples."""
    tail = (1 - LEVEL) / 2
    low, high = torch.quantile(samples, torch.tensor([tail, 1 - tail], dtype=samples.dtype)).tolist()
    return low, high
