"""The noise of private training: finite whatever the words it is made of, and normal."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sonde.methods.private.noise import NoiseStream


class Words:
    """A source of one and the same word."""

    def __init__(self, word: int) -> None:
        self.word = word

    def random_raw(self, n: int) -> np.ndarray:
        return np.full(n, self.word, dtype=np.uint64)


@pytest.mark.parametrize("word", [0, 2**64 - 1, 0x7FFFFFFF7FFFFFFF, 0x7FFFFFC07FFFFFC0, 0x8000000080000000], ids=hex)
def test_noise_is_finite_at_the_ends_of_the_words(word: int) -> None:
    stream = NoiseStream(0)
    stream.bits = Words(word)  # type: ignore[assignment]
    for std in np.geomspace(1e-5, 10, 500):
        noise = stream.like(torch.empty(8), float(std))
        assert noise.isfinite().all() and noise.abs().max() <= 6.7 * std


@pytest.mark.parametrize("std", [1.0, 0.37])
def test_noise_has_the_moments_of_a_normal_distribution(std: float) -> None:
    z = NoiseStream(1).like(torch.empty(1_000_001), std).double() / std
    moments = [z.mean(), z.square().mean() - 1, z.pow(3).mean(), z.pow(4).mean() - 3]
    deviations = [1, 2**0.5, 15**0.5, 96**0.5]  # of one number's power; 5 of them for a million
    assert all(abs(float(m)) < 5 * d / 1000 for m, d in zip(moments, deviations, strict=True))
