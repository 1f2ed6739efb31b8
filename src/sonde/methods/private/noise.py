"""Gaussian noise that nobody can draw again.

torch seeds its CPU generator (MT19937) with 32 bits, which can be tried one after the other; here the state is made of
256 bits of the system's entropy. The generator (SFC64; Doty-Humphrey, 2010) is fast and passes the batteries of
statistical tests, but is no cipher; and sums in floating point are not the real numbers of the proofs (Mironov, 2012).
"""

from __future__ import annotations

import math
import secrets
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sonde.core.engine import of_every_rank, rank_and_world

PAIRS = 1 << 15
"""Pairs of numbers made at a time, which stay in a core's cache."""


class NoiseStream:
    """A stream of independent N(0, 1) numbers. seed: for tests, which repeat them; None: from the system's entropy."""

    def __init__(self, seed: int | None = None) -> None:
        entropy = secrets.randbits(256) if seed is None else seed
        self.bits = np.random.SFC64(np.random.SeedSequence(entropy))
        self._scratch = (torch.empty(PAIRS, dtype=torch.int32), torch.empty(PAIRS), torch.empty(PAIRS))

    def like(self, tensor: Tensor, std: float) -> Tensor:
        """Contiguous noise of the tensor's shape, type and device with standard deviation `std`; zeros for 0."""
        if not std:
            return torch.zeros_like(tensor, memory_format=torch.contiguous_format)
        n = tensor.numel()
        flat = torch.empty(n + n % 2)
        for start in range(0, len(flat), 2 * PAIRS):
            self._fill(flat[start : start + 2 * PAIRS], std)
        return flat[:n].view(tensor.shape).to(tensor)

    def _fill(self, out: Tensor, std: float) -> None:
        """Box and Muller (1958): std sqrt(-2 log u) (cos v, sin v), u in (0, 1), v in [-pi, pi)."""
        half = len(out) // 2
        bits = torch.from_numpy(self.bits.random_raw(half).view(np.int32))
        whole, radius, angle = (t[:half] for t in self._scratch)
        # 31 bits, the lowest value half a step above 0: the tails reach 6.6 standard deviations. The highest
        # round to 1, whose logarithm is exactly 0; a difference of logarithms might round below it.
        radius.copy_(torch.bitwise_and(bits[:half], 0x7FFFFFFF, out=whole)).mul_(2.0**-31).add_(2.0**-32)
        radius.log_().mul_(-2 * std**2).sqrt_()
        angle.copy_(bits[half:]).mul_(math.pi / 2**31)
        torch.cos(angle, out=out[:half]).mul_(radius)
        torch.sin(angle, out=out[half:]).mul_(radius)

    def state_dict(self) -> dict[str, Any]:
        """Where the stream of every process is."""
        state = self.bits.state
        return {"words": of_every_rank(torch.from_numpy(state["state"]["state"].view(np.int64).copy()))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        words = state["words"][rank_and_world()[0]].numpy().copy().view(np.uint64)
        self.bits.state = {"bit_generator": "SFC64", "state": {"state": words}, "has_uint32": 0, "uinteger": 0}
