"""One construction of every loss of an output and a target: what it reads, and its formula written by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sonde import losses
from sonde.losses import CTC, KL, Dice, Focal, GaussianNLL, Hinge, Huber, InfoNCE, PairMargin, Quantile, Tversky

N, C = 7, 4
DOUBLE = torch.float64


def numbers(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


CLASSES = torch.tensor([0, 1, 2, 3, 1, 0, 2])
SHARES = numbers(N, C, seed=2).softmax(1)
LABELS = (numbers(N, C, seed=3) > 0).double()
TARGETS = numbers(N, C, seed=4)
WEIGHTS = (0.5, 1.0, 2.0, 3.0)
WORDS = torch.tensor([[1, 2, -1], [3, -1, -1], [1, 1, -1], [2, 3, 1], [2, 2, -1], [1, 3, -1], [-1, -1, -1]])
FRAMES = 5


@dataclass(frozen=True)
class Case:
    """A loss, what it reads (outputs, then targets), and its value of one row by hand in Python's floats."""

    name: str
    loss: Callable[..., Tensor]
    outputs: tuple[Tensor, ...]
    y: tuple[Tensor, ...]
    byhand: Callable[..., float]

    def __call__(self, *outputs: Tensor) -> Tensor:
        return self.loss(*outputs, *self.y)


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def softmax(z: list[float]) -> list[float]:
    e = [math.exp(v) for v in z]
    return [v / sum(e) for v in e]


def shared(row: Any) -> Callable[[list[float], Any], float]:
    """A row's value from one class, extended to shares: the mean over classes drawn from them."""

    def value(z: list[float], y: Any) -> float:
        return sum(s * row(z, c) for c, s in enumerate(y)) if isinstance(y, list) else row(z, y)

    return value


def mean(values: Any) -> float:
    values = list(values)
    return sum(values) / len(values)


@shared
def cross_entropy(z: list[float], c: int) -> float:
    return -math.log(softmax(z)[c])


@shared
def smoothed(z: list[float], c: int) -> float:
    return sum(-math.log(p) * (0.8 * (k == c) + 0.2 / C) for k, p in enumerate(softmax(z)))


@shared
def weighted(z: list[float], c: int) -> float:
    return -WEIGHTS[c] * math.log(softmax(z)[c])


@shared
def focal(z: list[float], c: int) -> float:
    return -((1 - softmax(z)[c]) ** 1.5) * math.log(softmax(z)[c]) * WEIGHTS[c]


@shared
def hinge(z: list[float], c: int) -> float:
    return max(0.0, 1.5 + max(v for k, v in enumerate(z) if k != c) - z[c])


def binary_focal(z: list[float], y: list[float]) -> float:
    def one(p: float, t: float) -> float:
        return -0.25 * t * (1 - p) ** 2 * math.log(p) - 0.75 * (1 - t) * p**2 * math.log(1 - p)

    return mean(one(sigmoid(a), t) for a, t in zip(z, y, strict=True))


def binary(z: list[float], y: list[float]) -> float:
    terms = zip(z, y, WEIGHTS, strict=True)
    return mean(-w * t * math.log(sigmoid(a)) - (1 - t) * math.log(1 - sigmoid(a)) for a, t, w in terms)


def huber(z: list[float], y: list[float]) -> float:
    e = [abs(a - b) for a, b in zip(z, y, strict=True)]
    return mean(v * v / 2 if v <= 0.7 else 0.7 * (v - 0.35) for v in e)


def pinball(z: list[float], y: list[float]) -> float:
    low, high = z[:2], z[2:]
    e = [(0.2, t - a) for a, t in zip(low, y, strict=True)] + [(0.7, t - a) for a, t in zip(high, y, strict=True)]
    return mean(max(q * v, (q - 1) * v) for q, v in e)


def gaussian(z: list[float], y: list[float]) -> float:
    def one(m: float, s: float, t: float) -> float:
        v = math.log1p(math.exp(s)) + 1e-6
        return 0.5 * math.log(2 * math.pi * v) + (t - m) ** 2 / (2 * v)

    return mean(one(m, s, t) for m, s, t in zip(z[:2], z[2:], y, strict=True))


def tversky(z: list[float], y: list[float], alpha: float = 0.3, beta: float = 0.7, smooth: float = 1.0) -> float:
    p = [sigmoid(a) for a in z]
    hit = sum(a * b for a, b in zip(p, y, strict=True))
    false = sum(a * (1 - b) for a, b in zip(p, y, strict=True))
    missed = sum((1 - a) * b for a, b in zip(p, y, strict=True))
    return 1 - (hit + smooth) / (hit + alpha * false + beta * missed + smooth)


def dice(z: list[float], y: list[float]) -> float:
    p = [sigmoid(a) for a in z]
    return 1 - (2 * sum(a * b for a, b in zip(p, y, strict=True)) + 1) / (sum(p) + sum(y) + 1)


def distance(a: list[float], b: list[float]) -> float:
    return math.dist(a, b)


def pair(a: list[float], b: list[float], alike: float) -> float:
    return 0.5 * distance(a, b) ** 2 if alike else 0.5 * max(0.0, 2.0 - distance(a, b)) ** 2


def triplet(a: list[float], p: list[float], n: list[float]) -> float:
    return max(0.0, distance(a, p) ** 2 - distance(a, n) ** 2 + 0.5)


def ctc(z: list[list[float]], y: list[int]) -> float:
    """Every path that spells the labels, one by one."""
    p, wanted, total = [softmax(f) for f in z], [c for c in y if c >= 0], 0.0
    for path in np.ndindex(*(C for _ in z)):
        merged = [c for f, c in enumerate(path) if f == 0 or c != path[f - 1]]
        if [c for c in merged if c != 0] == wanted:
            total += math.prod(p[f][c] for f, c in enumerate(path))
    return -math.log(total)


CASES = [
    Case("squared", losses.SquaredError(), (numbers(N, C),), (TARGETS,),
         lambda z, y: mean((a - b) ** 2 for a, b in zip(z, y, strict=True))),
    Case("absolute", losses.AbsoluteError(), (numbers(N, C),), (TARGETS,),
         lambda z, y: mean(abs(a - b) for a, b in zip(z, y, strict=True))),
    Case("huber", Huber(0.7), (numbers(N, C),), (TARGETS,), huber),
    Case("quantiles", Quantile((0.2, 0.7)), (numbers(N, C),), (TARGETS[:, :2],), pinball),
    Case("gaussian", GaussianNLL(), (numbers(N, C),), (TARGETS[:, :2],), gaussian),
    Case("cross-entropy", losses.CrossEntropy(), (numbers(N, C),), (CLASSES,), cross_entropy),
    Case("cross-entropy-of-shares", losses.CrossEntropy(), (numbers(N, C),), (SHARES,), cross_entropy),
    Case("cross-entropy-smoothed", losses.CrossEntropy(smoothing=0.2), (numbers(N, C),), (CLASSES,), smoothed),
    Case("cross-entropy-weighted", losses.CrossEntropy(weights=WEIGHTS), (numbers(N, C),), (SHARES,), weighted),
    Case("binary", losses.BinaryCrossEntropy(WEIGHTS), (numbers(N, C),), (LABELS,), binary),
    Case("kl", KL(), (numbers(N, C),), (SHARES,),
         lambda z, y: sum(t * math.log(t / p) for t, p in zip(y, softmax(z), strict=True))),
    Case("focal", Focal(1.5, WEIGHTS), (numbers(N, C),), (CLASSES,), focal),
    Case("focal-of-shares", Focal(1.5, WEIGHTS), (numbers(N, C),), (SHARES,), focal),
    Case("binary-focal", losses.BinaryFocal(), (numbers(N, C),), (LABELS,), binary_focal),
    Case("hinge", Hinge(1.5), (numbers(N, C),), (CLASSES,), hinge),
    Case("hinge-of-shares", Hinge(1.5), (numbers(N, C),), (SHARES,), hinge),
    Case("binary-hinge", losses.BinaryHinge(0.8), (numbers(N, C),), (LABELS,),
         lambda z, y: mean(max(0.0, 0.8 - (2 * t - 1) * a) for a, t in zip(z, y, strict=True))),
    Case("dice", Dice(), (numbers(N, C),), (LABELS,), dice),
    Case("tversky", Tversky(), (numbers(N, C),), (LABELS,), tversky),
    Case("pair", PairMargin(2.0), (numbers(N, C), numbers(N, C, seed=5)), (LABELS[:, 0],), pair),
    Case("triplet", losses.TripletMargin(0.5), tuple(numbers(N, C, seed=s) for s in (1, 5, 6)), (), triplet),
    Case("ctc", CTC(), (numbers(N, FRAMES, C),), (WORDS,), ctc),
]  # fmt: skip

JOINT = [
    Case("dice-of-a-batch", Dice(over="batch"), (numbers(N, C),), (LABELS,), dice),
    Case("tversky-of-a-batch", Tversky(over="batch"), (numbers(N, C),), (LABELS,), tversky),
    Case("infonce", InfoNCE(0.3), (numbers(N, C), numbers(N, C, seed=5)), (), lambda: 0.0),
]
