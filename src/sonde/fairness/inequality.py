"""Inequality of what people get from decisions, as economists measure that of incomes.

Speicher et al., A unified approach to quantifying algorithmic unfairness, 2018: the benefit of a decision is
b = decision - label + 1: 1 where it is right, 2 where it is undeserved, 0 where it is undeservedly withheld,
and its generalised entropy measures how unequal it is. AI Fairness 360 defines the same numbers.

Entry: demographic parity.
"""

# G groups

from __future__ import annotations

from typing import Any

import numpy as np

from .comparisons import Array

BENEFITS = np.array([1.0, 2.0, 0.0, 1.0])  # of the cells of the counts: label 0 decided 0, 1; label 1 decided 0, 1


def generalised_entropy(benefit: Any, count: Any, alpha: float = 2.0) -> Array:
    """E(alpha) = mean of ((b / mu)^alpha - 1) / (alpha (alpha - 1)), and for alpha = 1 of (b / mu) ln(b / mu).

    benefit: (..., K) values, each of which `count` (..., K) people have. alpha: the higher, the more large benefits
    count; 1 is Theil's index, 2 half the squared coefficient of variation. 0 where all have the same; NaN where nobody
    has anything.

    >>> generalised_entropy([0.0, 1.0, 2.0], [1, 2, 1]).round(3), generalised_entropy([1.0], [5]).item()
    (np.float64(0.25), 0.0)
    """
    benefit, count = np.asarray(benefit, float), np.asarray(count, float)
    with np.errstate(all="ignore"):
        people = count.sum(-1, keepdims=True)
        ratio = benefit / ((benefit * count).sum(-1, keepdims=True) / people)  # b / mu
        if alpha == 1:
            terms = np.where(ratio > 0, ratio * np.log(np.where(ratio > 0, ratio, 1.0)), ratio * 0)
        else:
            terms = (ratio**alpha - 1) / (alpha * (alpha - 1))
        return np.asarray((np.where(count > 0, terms * count, 0) / people).sum(-1))[()]  # type: ignore[no-any-return]
