"""A threshold for each group, chosen so that a rate is the same for all of them and accuracy the highest possible.

Hardt, Price and Srebro, Equality of opportunity in supervised learning, 2016, sections 3 and 4. What thresholds with
lots can reach is, for each group, what lies below the concave hull of the points of its single thresholds; the best
common point lies at a corner of these hulls (or where two of them cross), so looking at the corners solves the linear
programme exactly. Fairlearn's ThresholdOptimizer searches a grid instead. With decisions 0 and 1 as scores and
`flip`, this is the paper's derivation from a binary predictor (section 3.1).

Entry: fairness after training; demographic parity; equal opportunity; equalised odds.
"""

# N records, G groups, M candidate points

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sonde.core import SondeError

from ._hull import Curve, Cut, Hull, Rule, crossings

Array = NDArray[Any]
Constraint = Literal["demographic_parity", "equal_opportunity", "equalised_odds"]


@dataclass(frozen=True)
class GroupThresholds:
    """Decisions from scores and groups, made equal after training; a bundle can carry them (`to_data`).

    constraint: what is equal: the share decided 1 of all (demographic parity), of those with label 1 (equal
        opportunity), or of both labels (equalised odds).
    rules: one a group, by code. other: the rule of a code that had no records.
    pooled: codes that had too few records for a rule of their own and share one.

    >>> scores, y, group = [0.1, 0.4, 0.6, 0.9, 0.2, 0.3, 0.5, 0.7], [0, 0, 1, 1, 0, 1, 0, 1], [0] * 4 + [1] * 4
    >>> fair = GroupThresholds.fit(scores, y, group, "equal_opportunity", minimum=1)
    >>> fair.probability(scores, group).tolist()
    [0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0]
    """

    constraint: Constraint
    rules: tuple[Rule, ...]
    other: Rule
    pooled: tuple[int, ...] = ()

    @staticmethod
    def fit(
        scores: Any, y: Any, group: Any, constraint: Constraint, minimum: int = 30, flip: bool = False
    ) -> GroupThresholds:
        """The rules of highest accuracy under the constraint, on records that the scores were not trained on.

        scores: (N,) the higher, the likelier label 1. y: (N,) of 0 and 1. group: (N,) codes >= 0.
        minimum: records with each label (of any, for demographic parity) that a group needs. Groups with fewer are
            pooled into one; if that is still too few, they get the rule that all records together have at the same
            point, which the constraint then does not cover.
        flip: whether a threshold may also be used the other way round.
        """
        s, labels, codes = _checked(scores, y, group)
        if constraint not in get_args(Constraint):
            raise SondeError(f"there is no constraint {constraint!r}", f"choose from {', '.join(get_args(Constraint))}")
        pools, pooled = _pools(labels, codes, constraint, minimum)
        curves = [Curve(s[rows], labels[rows], flip) for rows in pools.values()]
        everyone = Curve(s, labels, flip)
        x, value = _best(curves or [everyone], constraint)
        rules = {key: _rule(curve, x, value, constraint) for key, curve in zip(pools, curves, strict=True)}
        other = rules.get(-1) or _rule(everyone, x, value, constraint)
        count = int(codes.max(initial=-1)) + 1
        return GroupThresholds(constraint, tuple(rules.get(g, other) for g in range(count)), other, pooled)

    def probability(self, scores: Any, group: Any) -> Array:
        """P(decision = 1) of each record, (N,): 0 or 1 but where lots are drawn."""
        s, _, codes = _checked(scores, None, group)
        found = self.other.probability(s)
        for g, rule in enumerate(self.rules):
            mine = codes == g
            found[mine] = rule.probability(s[mine])
        return found

    def decide(self, scores: Any, group: Any, seed: int = 0) -> Array:
        """Decisions (N,) int64 of 0 and 1; lots are drawn from a generator of this seed, one a record."""
        p = self.probability(scores, group)
        return (np.random.default_rng(seed).random(len(p)) < p).astype(np.int64)

    # ------------------------------------------------------------ plain data
    def to_data(self) -> dict[str, Any]:
        """Plain data for JSON; `from_data` is its inverse."""
        rules = [_rule_to_data(rule) for rule in (*self.rules, self.other)]
        return {"constraint": self.constraint, "rules": rules, "pooled": list(self.pooled)}

    @staticmethod
    def from_data(data: Mapping[str, Any]) -> GroupThresholds:
        """Read what `to_data` wrote, trusting none of it."""
        try:
            constraint, pooled = data["constraint"], tuple(int(g) for g in data["pooled"])
            *rules, other = [_rule_from_data(rule) for rule in data["rules"]]
            if constraint not in get_args(Constraint):
                raise ValueError(constraint)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            raise SondeError("these are no thresholds for groups", "use what to_data wrote") from None
        return GroupThresholds(constraint, tuple(rules), other, pooled)


def _checked(scores: Any, y: Any, group: Any) -> tuple[Array, Array, Array]:
    s, codes = np.asarray(scores, np.float64).ravel(), np.asarray(group).ravel()
    labels = np.zeros(len(s), np.int64) if y is None else np.asarray(y).ravel()
    if not len(s) == len(labels) == len(codes):
        raise ValueError(f"scores, labels and groups differ in length: {len(s)}, {len(labels)}, {len(codes)}")
    if np.isnan(s).any():
        raise SondeError(f"the score of record {int(np.flatnonzero(np.isnan(s))[0])} is NaN", "leave it out")
    if not np.isin(labels, (0, 1)).all():
        raise SondeError(f"labels are 0 and 1; got {np.unique(labels)[:5].tolist()}", "compare with one class first")
    if y is not None and (codes < 0).any():
        raise SondeError("a negative code is no group", "leave those records out, or give them a group of their own")
    return s, labels, codes


def _pools(
    labels: Array, codes: Array, constraint: Constraint, minimum: int
) -> tuple[dict[int, Array], tuple[int, ...]]:
    """The records of each group that is large enough, of the rest together under -1, and the codes of the rest."""

    def enough(rows: Array) -> bool:
        ones = int(labels[rows].sum())
        fewest = len(rows) if constraint == "demographic_parity" else min(ones, len(rows) - ones)
        return fewest >= max(1, minimum)

    members = {int(g): np.flatnonzero(codes == g) for g in np.unique(codes)}
    pooled = tuple(g for g, rows in members.items() if not enough(rows))
    pools = {g: rows for g, rows in members.items() if g not in pooled}
    rest = np.flatnonzero(np.isin(codes, pooled))
    if len(rest) and enough(rest):
        pools[-1] = rest
    return pools, pooled


def _hull(curve: Curve, constraint: Constraint) -> Hull:
    """Over the rate to be equal: how many decisions are right; for equalised odds, the ROC curve."""
    right, wrong, cuts = curve.right, curve.wrong, curve.cuts
    correct = right + (curve.negatives - wrong)
    if constraint == "demographic_parity":
        return Hull((right + wrong) / max(1.0, curve.positives + curve.negatives), correct, cuts)
    if constraint == "equal_opportunity":
        return Hull(right / max(1.0, curve.positives), correct, cuts)
    return Hull(wrong / max(1.0, curve.negatives), right / max(1.0, curve.positives), cuts)


def _best(curves: list[Curve], constraint: Constraint) -> tuple[float, float]:
    """The common rate at which most decisions are right; for equalised odds, both rates (of label 0, of label 1)."""
    hulls = [_hull(c, constraint) for c in curves]
    x = np.unique(np.concatenate([h.x for h in hulls]))  # (M,)
    if constraint != "equalised_odds":
        correct = sum((h.at(x) for h in hulls), np.zeros(len(x)))
        return float(x[correct.argmax()]), math.nan
    x = np.unique(np.concatenate([x, crossings(x, np.stack([h.at(x) for h in hulls]))]))
    reached = np.stack([h.at(x) for h in hulls]).min(0)  # (M,), the rate of label 1 that all groups can have
    positives, negatives = sum(c.positives for c in curves), sum(c.negatives for c in curves)
    best = int((positives * reached + negatives * (1 - x)).argmax())
    return float(x[best]), float(reached[best])


def _rule(curve: Curve, x: float, value: float, constraint: Constraint) -> Rule:
    hull = _hull(curve, constraint)
    rule = hull.rule(x)
    if constraint != "equalised_odds":
        return rule
    # Below its own hull, a group comes by ignoring the score in some cases: towards (x, x) on the diagonal.
    height = float(hull.at(np.array([x]))[0])
    ignore = (height - value) / (height - x) if height > x and height > value else 0.0
    return Rule(rule.cuts, ignore, x if ignore else 0.0)


def _rule_to_data(rule: Rule) -> dict[str, Any]:
    cuts = [[share, repr(c.threshold), c.sign] for share, c in rule.cuts]  # as text: JSON has no infinity
    return {"cuts": cuts, "ignore": rule.ignore, "constant": rule.constant}


def _rule_from_data(data: Mapping[str, Any]) -> Rule:
    cuts = tuple((float(share), Cut(float(at), int(sign))) for share, at, sign in data["cuts"])
    rule = Rule(cuts, float(data["ignore"]), float(data["constant"]))
    shares = [share for share, _ in cuts]
    within = all(0 <= p <= 1 for p in (*shares, rule.ignore, rule.constant)) and abs(sum(shares) - 1) < 1e-9
    if not within or any(math.isnan(c.threshold) or c.sign not in (-1, 1) for _, c in cuts):
        raise ValueError("not probabilities")
    return rule
