"""What one group's scores can achieve: the points of its thresholds, their upper hull, and rules that reach a point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# N records, K thresholds, V vertices


@dataclass(frozen=True, slots=True)
class Cut:
    """A threshold and on which side of it the decision is 1: sign * score > sign * threshold."""

    threshold: float
    sign: int = 1

    def __call__(self, scores: Array) -> Array:
        """The decisions (N,), 0.0 or 1.0."""
        return (scores > self.threshold if self.sign > 0 else scores <= self.threshold).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Rule:
    """A decision that may draw lots: with probability `ignore` it is 1 with probability `constant`, whatever the score;
    else it is that of one of the cuts, drawn with their shares, which add up to 1."""

    cuts: tuple[tuple[float, Cut], ...]
    ignore: float = 0.0
    constant: float = 0.0

    def probability(self, scores: Array) -> Array:
        """P(decision = 1), (N,)."""
        cut = sum((share * c(scores) for share, c in self.cuts), np.zeros(len(scores)))
        return self.ignore * self.constant + (1 - self.ignore) * cut


class Curve:
    """The thresholds of one group: how many records with label 1 and with label 0 each would decide 1.

    right, wrong: (K,) those counts, cuts: (K,). positives, negatives: how many there are.
    """

    def __init__(self, scores: Array, y: Array, flip: bool) -> None:
        order = np.argsort(-scores, kind="stable")
        scores, y = scores[order], y[order].astype(np.float64)
        ends = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1) if len(scores) else np.empty(0, int)
        right = np.concatenate([[0.0], np.cumsum(y)[ends]])
        wrong = np.concatenate([[0.0], np.cumsum(1 - y)[ends]])
        values = scores[ends]  # falling
        cuts = [Cut(np.inf), *(Cut(_between(a, b)) for a, b in zip(values[1:], values[:-1], strict=True))]
        cuts += [Cut(np.inf, -1)] if len(values) else []  # everybody, even who scores -inf
        self.positives, self.negatives = right[-1], wrong[-1]
        if flip:
            right = np.concatenate([right, self.positives - right])
            wrong = np.concatenate([wrong, self.negatives - wrong])
            cuts += [Cut(c.threshold, -c.sign) for c in cuts]
        self.right, self.wrong, self.cuts = right, wrong, cuts


def _between(low: float, high: float) -> float:
    middle = float(low) / 2 + float(high) / 2
    return middle if low <= middle < high else float(low)


class Hull:
    """The upper concave hull of points (x, value), each the decisions of one cut: what mixtures of two cuts reach."""

    def __init__(self, x: Array, value: Array, cuts: list[Cut]) -> None:
        kept: list[int] = []
        for i in np.lexsort((value, x)):  # by x, the best of equal ones last
            if kept and x[kept[-1]] == x[i]:
                kept.pop()
            while len(kept) > 1 and _turns_left(x, value, kept[-2], kept[-1], int(i)):
                kept.pop()
            kept.append(int(i))
        self.x, self.value, self.cuts = x[kept], value[kept], [cuts[i] for i in kept]  # (V,)

    def at(self, x: Array) -> Array:
        """The best value at each x (M,)."""
        return np.interp(x, self.x, self.value)

    def rule(self, x: float) -> Rule:
        """The mixture of two neighbouring cuts that reaches the hull at x."""
        i = int(np.clip(np.searchsorted(self.x, x, side="right") - 1, 0, len(self.x) - 1))
        if x <= self.x[i] or i == len(self.x) - 1:
            return Rule(((1.0, self.cuts[i]),))
        share = float((x - self.x[i]) / (self.x[i + 1] - self.x[i]))
        return Rule(((1.0 - share, self.cuts[i]), (share, self.cuts[i + 1])))


def _turns_left(x: Array, v: Array, a: int, b: int, c: int) -> bool:
    """Whether b lies on or below the line from a to c."""
    return bool((x[b] - x[a]) * (v[c] - v[a]) >= (v[b] - v[a]) * (x[c] - x[a]))


def crossings(x: Array, values: Array) -> Array:
    """Where any two of the functions (G, M), linear between neighbouring x (M,), cross: (any number,)."""
    found = [np.empty(0)]
    for i in range(len(values)):
        gap = values[i + 1 :] - values[i]  # (G - i - 1, M)
        left, right = gap[:, :-1], gap[:, 1:]
        pair, at = np.nonzero(left * right < 0)
        share = left[pair, at] / (left[pair, at] - right[pair, at])
        found.append(x[at] + share * (x[at + 1] - x[at]))
    return np.concatenate(found)
