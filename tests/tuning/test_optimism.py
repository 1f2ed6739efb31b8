"""The corrected score of the best of many: right where the truth is known."""

from __future__ import annotations

import torch

from sonde.tuning.optimism import corrected


def test_the_best_of_equal_tries_is_no_better_than_any() -> None:
    """Forty models, all right with probability 0.7: the best seems better, and the correction takes most of it back."""
    seeming, honest = [], []
    for seed in range(10):
        g = torch.Generator().manual_seed(seed)
        rows = (torch.rand(40, 150, generator=g) < 0.7).float()
        found = corrected(rows, lower_is_better=False)
        assert found is not None and found.tries == 40 and found.rows == 150
        seeming.append(float(rows.mean(1).max()))
        honest.append(found.value)
        assert found.interval[0] < 0.7 < found.interval[1]
    assert sum(seeming) / 10 > 0.76
    assert abs(sum(honest) / 10 - 0.7) < 0.5 * (sum(seeming) / 10 - 0.7)  # most of the optimism is gone, not all


def test_a_real_gain_is_found() -> None:
    g = torch.Generator().manual_seed(0)
    noise = 0.3 * torch.randn(6, 400, generator=g)
    loss = 1.0 + noise
    loss[3] -= 0.5
    found = corrected(loss, lower_is_better=True)
    assert found is not None and abs(found.value - 0.5) < 0.05
    assert found.gain_interval[0] > 0.4 and found.gain_interval[1] < 0.6


def test_too_little_is_not_judged() -> None:
    assert corrected(torch.zeros(1, 100), True) is None
    assert corrected(torch.zeros(5, 3), True) is None
