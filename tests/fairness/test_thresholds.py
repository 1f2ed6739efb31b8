"""Thresholds for groups: exactly equal rates, the best accuracy there is, and no crash at a rare group."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde.core import SondeError
from sonde.fairness import GroupThresholds
from tests.support import LAW

CONSTRAINTS = ("demographic_parity", "equal_opportunity", "equalised_odds")


def people(seed: int, n: int = 300, groups: int = 2, ties: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    g = np.random.default_rng(seed)
    group = g.integers(groups, size=n)
    y = (g.random(n) < 0.25 + 0.15 * group).astype(int)
    scores = g.normal(y * (0.6 + 0.5 * group) + 0.4 * group)
    return (scores.round(1) if ties else scores), y, group


def rates(p: np.ndarray, y: np.ndarray, group: np.ndarray, constraint: str) -> np.ndarray:
    """The rates to be equal, (G, 1 or 2), in expectation over lots."""
    return np.array([[p[(group == g) & k].mean() for k in conditions(y, constraint)] for g in np.unique(group)])


def conditions(y: np.ndarray, constraint: str) -> list[np.ndarray]:
    """Of which records the rate is to be equal."""
    return {"demographic_parity": [y >= 0], "equal_opportunity": [y == 1]}.get(constraint, [y == 0, y == 1])


def accuracy(p: np.ndarray, y: np.ndarray) -> float:
    return float(np.where(y == 1, p, 1 - p).mean())


def programme(scores: np.ndarray, y: np.ndarray, group: np.ndarray, constraint: str, flip: bool) -> float:
    """The oracle: the linear programme over the shares of every threshold of every group."""
    linprog = pytest.importorskip("scipy.optimize").linprog
    columns, gain, member = [], [], []
    for g in np.unique(group):
        mine = group == g
        for t in [np.inf, *np.unique(scores[mine]), -np.inf]:
            for d in [(scores > t), (scores <= t)][: 2 if flip else 1]:
                d = d & mine
                gain.append((d & (y == 1)).sum() - (d & (y == 0)).sum())
                columns.append([(d & k).sum() / (mine & k).sum() for k in conditions(y, constraint)])
                member.append(g)
    member_, columns_ = np.array(member), np.array(columns)
    codes = np.unique(group)
    a = [(member_ == g).astype(float) for g in codes]
    b = [1.0] * len(codes)
    for g in codes[1:]:
        for k in range(columns_.shape[1]):
            a.append(np.where(member_ == g, columns_[:, k], 0) - np.where(member_ == codes[0], columns_[:, k], 0))
            b.append(0.0)
    found = linprog(-np.array(gain, float), A_eq=np.array(a), b_eq=b, bounds=(0, 1))
    assert found.success
    return float((-found.fun + (y == 0).sum()) / len(y))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("groups", [2, 4])
@pytest.mark.parametrize("constraint", CONSTRAINTS)
@pytest.mark.parametrize("seed", range(4))
def test_it_solves_the_linear_programme(constraint: Any, seed: int, groups: int, flip: bool) -> None:
    scores, y, group = people(seed, groups=groups)
    fair = GroupThresholds.fit(scores, y, group, constraint, minimum=1, flip=flip)
    p = fair.probability(scores, group)
    assert np.ptp(rates(p, y, group, constraint), axis=0).max() < 1e-9
    assert accuracy(p, y) == pytest.approx(programme(scores, y, group, constraint, flip), abs=1e-8)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_it_is_as_good_as_fairlearns_grid(constraint: Any, seed: int) -> None:
    post = pytest.importorskip("fairlearn.postprocessing", reason="fairlearn is not installed")
    scores, y, group = people(seed, n=500, ties=False)

    base = pytest.importorskip("sklearn.base").BaseEstimator

    class Given(base):  # type: ignore[misc, valid-type]
        def fit(self, x: np.ndarray, y: np.ndarray) -> Given:
            self.fitted_ = True
            return self

        def predict(self, x: np.ndarray) -> np.ndarray:
            return x[:, 0]

    names = {"equal_opportunity": "true_positive_rate_parity", "equalised_odds": "equalized_odds"}
    theirs = post.ThresholdOptimizer(
        estimator=Given().fit(scores, y),
        constraints=names.get(constraint, constraint),
        prefit=True,
        predict_method="predict",
    )
    theirs.fit(scores[:, None], y, sensitive_features=group)
    their_p = theirs._pmf_predict(scores[:, None], sensitive_features=group)[:, 1]
    p = GroupThresholds.fit(scores, y, group, constraint).probability(scores, group)
    assert accuracy(p, y) >= accuracy(their_p, y) - 1e-9
    assert accuracy(p, y) == pytest.approx(accuracy(their_p, y), abs=2e-3)  # their grid has 1000 points
    np.testing.assert_allclose(rates(p, y, group, constraint)[0], rates(their_p, y, group, constraint)[0], atol=0.02)


@pytest.mark.parametrize("seed", range(6))
def test_from_decisions_it_is_the_derivation_of_hardt_et_al(seed: int) -> None:
    """The four-variable programme that AI Fairness 360 solves too, here as the oracle."""
    linprog = pytest.importorskip("scipy.optimize").linprog
    scores, y, group = people(seed)
    d = (scores > 0.7).astype(int)
    p = GroupThresholds.fit(d, y, group, "equalised_odds", minimum=1, flip=True).probability(d, group)
    # Variables: P(1 | d = 1, g), P(1 | d = 0, g) for both groups.
    cost, rows = [], {0: [], 1: []}
    for g in (0, 1):
        for v in (1, 0):
            here = (group == g) & (d == v)
            cost.append(float((here & (y == 0)).sum() - (here & (y == 1)).sum()))
            for label in (0, 1):
                share = (here & (y == label)).sum() / ((group == g) & (y == label)).sum()
                rows[label].append(share if g else -share)
    found = linprog(cost, A_eq=[rows[0], rows[1]], b_eq=[0, 0], bounds=(0, 1))
    assert accuracy(p, y) == pytest.approx(((y == 0).sum() - found.fun) / len(y), abs=1e-9)


@LAW
@given(st.integers(0, 10_000), st.sampled_from(CONSTRAINTS))
def test_decisions_follow_their_probabilities_and_survive_json(seed: int, constraint: Any) -> None:
    scores, y, group = people(seed, n=60)
    fair = GroupThresholds.fit(scores, y, group, constraint, minimum=1)
    back = GroupThresholds.from_data(json.loads(json.dumps(fair.to_data(), allow_nan=False)))
    assert back == fair
    p, d = fair.probability(scores, group), fair.decide(scores, group, seed)
    assert ((p >= 0) & (p <= 1)).all() and (d[p == 1] == 1).all() and (d[p == 0] == 0).all()
    assert (d == back.decide(scores, group, seed)).all()


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_rare_groups_are_pooled_and_named(constraint: Any) -> None:
    scores, y, group = people(3, n=600)
    g = np.random.default_rng(0)
    few = lambda n: (g.normal(size=n), g.integers(2, size=n), np.arange(n) % 4 + 2)  # noqa: E731
    for n in (100, 7):  # enough together; too few even so
        s, labels, c = (np.concatenate(pair) for pair in zip((scores, y, group), few(n), strict=True))
        fair = GroupThresholds.fit(s, labels, c, constraint, minimum=30)
        assert set(fair.pooled) == set(np.unique(c[-n:]))
        assert fair.rules[2] == fair.other
        p = fair.probability(s, c)
        joint = np.where(c > 1, 2, c) if n == 100 else c[:-n]
        some = slice(len(joint))
        assert np.ptp(rates(p[some], labels[some], joint, constraint), axis=0).max() < 1e-9
        assert np.isfinite(fair.probability([0.3], [99])).all()  # a group that nobody had


def test_hostile_cases_do_not_crash() -> None:
    ends = [np.inf, -np.inf, 0.0, 0.0]
    for scores, y in (([0.5] * 4, [0, 1, 0, 1]), ([0.1, 0.2, 0.3, 0.4], [1] * 4), (ends, [1, 0, 1, 0])):
        for constraint in CONSTRAINTS:
            fair = GroupThresholds.fit(scores, y, [0, 0, 1, 1], constraint, minimum=1)  # type: ignore[arg-type]
            assert np.isfinite(fair.probability(scores, [0, 0, 1, 1])).all()
    empty = GroupThresholds.fit([], [], [], "equalised_odds")
    assert empty.probability([], []).shape == (0,)


def test_mistakes_are_refused_in_words() -> None:
    with pytest.raises(SondeError, match="score of record 1 is NaN"):
        GroupThresholds.fit([0.1, np.nan], [0, 1], [0, 1], "equal_opportunity")
    with pytest.raises(SondeError, match="no constraint 'parity'"):
        GroupThresholds.fit([0.1], [0], [0], "parity")  # type: ignore[arg-type]
    with pytest.raises(SondeError, match="labels are 0 and 1"):
        GroupThresholds.fit([0.1], [2], [0], "equal_opportunity")
    good = GroupThresholds.fit([0.1, 0.2], [0, 1], [0, 0], "equal_opportunity", minimum=1).to_data()
    for bad in ({}, {**good, "rules": []}, {**good, "constraint": "x"}, {**good, "rules": [{"cuts": [[2, "0", 1]]}]}):
        with pytest.raises(SondeError, match="no thresholds for groups"):
            GroupThresholds.from_data(bad)
