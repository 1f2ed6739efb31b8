"""Gaussian noise that nobody can draw again.

torch seeds its CPU generator (MT19937) with 32 bits, which can be tried one after the other; here the state is made of
256 bits of the system's entropy. The generator (SFC64; Doty-Humphrey, 2010) is fast and passes the batteries of
statistical tests, but is no cipher; and sums in floating point are not the real numbers of the proofs (Mironov, 2012).
"""

from __future__ import annotations

import math
import os
import secrets
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sonde.core.engine import of_every_rank, rank_and_world

PAIRS = 1 << 15
"""Pairs of numbers of a block, which stays in a core's cache while it is made."""


class NoiseStream:
    """A stream of independent N(0, 1) numbers. seed: for tests, which repeat them; None: from the system's entropy.

    Numbers are made in blocks. While a step computes its gradients, `ahead` makes the next step's blocks on a core that
    would be idle; which numbers come does not depend on whether it could.
    """

    def __init__(self, seed: int | None = None) -> None:
        entropy = secrets.randbits(256) if seed is None else seed
        self.bits = np.random.SFC64(np.random.SeedSequence(entropy))
        self._lock = threading.Lock()
        self._blocks: deque[tuple[Any, Tensor]] = deque()  # the generator's state before each, and the block
        self._used = 0  # numbers of the first block
        self._worker: Future[None] | None = None
        self._scratch = (torch.empty(PAIRS, dtype=torch.int32), torch.empty(PAIRS), torch.empty(PAIRS))

    def like(self, tensor: Tensor, std: float) -> Tensor:
        """Contiguous noise of the tensor's shape, type and device with standard deviation `std`; zeros for 0."""
        if not std:
            return torch.zeros_like(tensor, memory_format=torch.contiguous_format)
        out = torch.empty(tensor.numel())
        done = 0
        while done < len(out):
            block = self._first()
            part = block[self._used : self._used + len(out) - done]
            torch.mul(part, std, out=out[done : done + len(part)])
            done, self._used = done + len(part), self._used + len(part)
            if self._used == len(block):
                self._blocks.popleft()
                self._used = 0
        return out.view(tensor.shape).to(tensor)

    def ahead(self, numbers: int) -> None:
        """Begin to make the next `numbers` numbers, if there is a core that computes nothing."""
        idle = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if idle <= torch.get_num_threads() or (self._worker is not None and not self._worker.done()):
            return
        self._worker = _pool().submit(self._make, -(-(self._used + numbers) // (2 * PAIRS)))

    def _make(self, blocks: int) -> None:
        while len(self._blocks) < blocks:
            with self._lock:
                self._blocks.append(self._block())

    def _first(self) -> Tensor:
        if not self._blocks:
            with self._lock:  # or the worker may have been about to
                if not self._blocks:
                    self._blocks.append(self._block())
        return self._blocks[0][1]

    def _block(self) -> tuple[Any, Tensor]:
        """Box and Muller (1958): sqrt(-2 log u) (cos v, sin v), u in (0, 1), v in [-pi, pi)."""
        before = self.bits.state
        out = torch.empty(2 * PAIRS)
        bits = torch.from_numpy(self.bits.random_raw(PAIRS).view(np.int32))
        whole, radius, angle = self._scratch
        # 31 bits, the lowest value half a step above 0: the tails reach 6.6 standard deviations. The highest
        # round to 1, whose logarithm is exactly 0; a difference of logarithms might round below it.
        radius.copy_(torch.bitwise_and(bits[:PAIRS], 0x7FFFFFFF, out=whole)).mul_(2.0**-31).add_(2.0**-32)
        radius.log_().mul_(-2).sqrt_()
        angle.copy_(bits[PAIRS:]).mul_(math.pi / 2**31)
        torch.cos(angle, out=out[:PAIRS]).mul_(radius)
        torch.sin(angle, out=out[PAIRS:]).mul_(radius)
        return before, out

    def state_dict(self) -> dict[str, Any]:
        """Where the stream of every process is."""
        with self._lock:
            state = self._blocks[0][0] if self._blocks else self.bits.state
            words = torch.from_numpy(state["state"]["state"].view(np.int64).copy())
            used = torch.tensor([self._used])
        return {"words": of_every_rank(torch.cat([words, used]))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        *words, used = state["words"][rank_and_world()[0]].tolist()
        if self._worker is not None:
            self._worker.result()
        kept = np.array(words, dtype=np.int64).view(np.uint64)
        self.bits.state = {"bit_generator": "SFC64", "state": {"state": kept}, "has_uint32": 0, "uinteger": 0}
        self._blocks.clear()
        self._used = used


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "sonde-noise")
