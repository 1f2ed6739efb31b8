"""The gradient of first convolutions with respect to pictures: oneDNN's time over that of `input_gradient`.

    python benchmarks/input_gradient.py

Medians of 15 calls by the clock, for one thread and for two; prints, writes nothing.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from sonde.attacks.input_gradient import input_gradient

# rows, channels, filters, side, kernel, stride, padding
CASES = (
    (200, 1, 16, 28, 4, 2, 1),
    (200, 1, 6, 28, 5, 1, 2),
    (200, 1, 32, 28, 3, 1, 1),
    (200, 1, 64, 28, 3, 1, 1),
    (200, 3, 16, 32, 4, 2, 1),
    (200, 3, 32, 32, 3, 1, 1),
    (64, 3, 64, 32, 3, 1, 1),
    (16, 3, 64, 128, 7, 2, 3),
)


def timed(call: Callable[[], Any]) -> float:
    """The median time of a call, in seconds."""
    call()
    times = []
    for _ in range(15):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """A line for each convolution."""
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for n, channels, filters, side, kernel, stride, padding in CASES:
            net = nn.Conv2d(channels, filters, kernel, stride, padding).requires_grad_(False)
            x = torch.rand(n, channels, side, side).requires_grad_()
            value = (net(x) * torch.rand_like(net(x))).sum()
            plain = timed(lambda v=value, x=x: torch.autograd.grad(v, x, retain_graph=True))  # type: ignore[misc]
            ours = timed(lambda v=value, x=x: input_gradient(v, x, again=True))  # type: ignore[misc]
            what = (
                f"{threads} thread(s), {n} x {channels} x {side} x {side}, {filters} filters of {kernel}, by {stride}"
            )
            print(f"{what}: {plain / ours:.2f} times as fast as oneDNN")


if __name__ == "__main__":
    main()
