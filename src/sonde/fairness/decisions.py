"""Decisions of thresholds for groups, with what a person who is decided about may ask: was it a lot, and whose rule?"""

# N records

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .thresholds import GroupThresholds

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Decisions:
    """The answer for each record, and how it came about; its text says how many were drawn by lot.

    answers: (N,) class names. probability: (N,) of the favourable class, before lots were drawn.
    rest: (N,) bool, whether its rule is the one for groups that are too small or were never seen.
    seed: of the generator that drew the lots; the same seed and rows give the same decisions.
    """

    answers: Array
    probability: Array
    rest: Array
    seed: int

    @property
    def randomised(self) -> Array:
        """Which decisions were drawn by lot, (N,) bool."""
        return (self.probability > 0) & (self.probability < 1)

    def __len__(self) -> int:
        return len(self.answers)

    def __str__(self) -> str:
        lots, rest = int(self.randomised.sum()), int(self.rest.sum())
        said = f"{len(self):,} decisions, {lots:,} of them drawn by lot" + (f" (seed {self.seed})" if lots else "")
        return said + (f"; {rest:,} by the rule for groups that are too small or were not seen" if rest else "")


def decided(
    thresholds: GroupThresholds, scores: Any, group: Any, answers: Sequence[str], seed: int | None = None
) -> Decisions:
    """The decisions for scores (N,) and group codes (N,); a negative code is a group that was not seen.

    answers: the names of decision 0 and of decision 1. seed: of the lots. Without one it is taken from the system:
    with a fixed one, somebody who is decided about alone would draw the same lot every time.
    """
    seed = secrets.randbits(63) if seed is None else seed
    codes = np.asarray(group).ravel()
    own = [g for g, rule in enumerate(thresholds.rules) if g not in thresholds.pooled and rule != thresholds.other]
    p, chosen = thresholds.probability(scores, codes), thresholds.decide(scores, codes, seed)
    return Decisions(np.asarray(answers, dtype=object)[chosen], p, ~np.isin(codes, own), seed)
