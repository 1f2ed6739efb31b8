"""The noise is Gaussian, as wide as asked, goes on where it was, and cannot be guessed from 32 bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from sonde.methods.private.noise import PAIRS, NoiseStream


def test_it_is_standard_gaussian_far_into_the_tails() -> None:
    x = NoiseStream(1).like(torch.empty(2_000_000), 1.0).double()
    assert stats.kstest(x[:500_000].numpy(), "norm").pvalue > 1e-3
    for k, moment in ((1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0), (6, 15.0)):
        spread = stats.norm.moment(2 * k) ** 0.5 / len(x) ** 0.5
        assert x.pow(k).mean().item() == pytest.approx(moment, abs=5 * spread)
    for z in (3.0, 4.0, 4.5):
        expected = 2 * stats.norm.sf(z) * len(x)
        assert abs((x.abs() > z).sum().item() - expected) < 5 * expected**0.5


def test_neighbours_and_halves_are_independent() -> None:
    x = NoiseStream(2).like(torch.empty(4 * PAIRS), 1.0)
    for lag in (1, 2, PAIRS, 2 * PAIRS):
        assert abs(torch.corrcoef(torch.stack([x[:-lag], x[lag:]]))[0, 1]) < 5 / (len(x) - lag) ** 0.5
        assert abs(torch.corrcoef(torch.stack([x[:-lag].square(), x[lag:].square()]))[0, 1]) < 5 / (len(x) - lag) ** 0.5


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2 * PAIRS + 1,), (0,)], ids=str)
def test_any_shape_and_width(shape: tuple[int, ...]) -> None:
    noise = NoiseStream(3).like(torch.empty(shape, dtype=torch.float64), 0.25)
    assert noise.shape == shape and noise.dtype == torch.float64 and noise.isfinite().all()
    if noise.numel() > 1000:
        assert noise.std().item() == pytest.approx(0.25, rel=0.02)
    assert not NoiseStream(3).like(torch.ones(shape), 0.0).any()


def test_it_goes_on_where_it_was() -> None:
    stream, other = NoiseStream(4), NoiseStream(5)
    stream.like(torch.empty(100), 1.0)
    other.load_state_dict(stream.state_dict())
    assert torch.equal(stream.like(torch.empty(50), 1.0), other.like(torch.empty(50), 1.0))


def test_streams_are_not_told_apart_by_32_bits_alone() -> None:
    first = NoiseStream(7).like(torch.empty(50), 1.0)
    assert not torch.equal(first, NoiseStream(7 + 2**32).like(torch.empty(50), 1.0))
    assert not torch.equal(NoiseStream().like(torch.empty(50), 1.0), NoiseStream().like(torch.empty(50), 1.0))


class Words:
    """A source of one and the same word."""

    def __init__(self, word: int) -> None:
        self.word = word

    def random_raw(self, n: int) -> np.ndarray:
        return np.full(n, self.word, dtype=np.uint64)

    state: dict[str, object] = {}


def test_what_is_made_ahead_is_what_would_have_come(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, early, rest = NoiseStream(6), NoiseStream(6), NoiseStream(1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 0)  # as if a core were idle
    for n in (10, 3 * PAIRS, 7, 5 * PAIRS):
        assert torch.equal(plain.like(torch.empty(n), 0.5), early.like(torch.empty(n), 0.5))
        early.ahead(4 * PAIRS)
        rest.load_state_dict(early.state_dict())  # wherever the worker is
        after = [s.like(torch.empty(3), 1.0) for s in (plain, early, rest)]
        assert torch.equal(after[0], after[1]) and torch.equal(after[0], after[2])


@pytest.mark.parametrize("word", [0, 2**64 - 1, 0x7FFFFFFF7FFFFFFF, 0x7FFFFFC07FFFFFC0, 0x8000000080000000], ids=hex)
def test_noise_is_finite_at_the_ends_of_the_words(word: int) -> None:
    stream = NoiseStream(0)
    stream.bits = Words(word)  # type: ignore[assignment]
    for std in np.geomspace(1e-5, 10, 500):
        noise = stream.like(torch.empty(8), float(std))
        assert noise.isfinite().all() and noise.abs().max() <= 6.7 * std
