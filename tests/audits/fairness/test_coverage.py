"""Intervals of comparisons between groups cover what they estimate about as often as they say.

Each of many samples from known rates gives an interval; 95 % of them should hold the truth. Of R samples the share that
does has a standard error of sqrt(.95 * .05 / R): 0.011 for 400. Asked are at least 0.92, two and a half of these below,
which an interval that is a tenth too narrow on either side falls short of.
"""

from __future__ import annotations

import numpy as np
import pytest

from sonde.audits.fairness.calibration import error, spread
from sonde.audits.quality.intervals import Statistic, bootstrap
from sonde.fairness.comparisons import BY_NAME, COMPARISONS, Comparison
from sonde.fairness.inequality import BENEFITS, generalised_entropy

REPEATS, LEAST = 400, 0.92

# P(label, decision) of groups (G, 2, 2), and how many records each has.
APART = (np.array([[[0.5, 0.1], [0.15, 0.25]], [[0.35, 0.15], [0.1, 0.4]]]), (400, 700))
SEVERAL = (
    np.array([[[0.45, 0.1], [0.15, 0.3]], [[0.4, 0.1], [0.1, 0.4]], [[0.3, 0.2], [0.15, 0.35]]]),
    (500, 300, 200),
)
ALIKE = (np.repeat([[[0.45, 0.1], [0.15, 0.3]], [[0.3, 0.2], [0.15, 0.35]]], 3, 0), (400,) * 6)  # two sorts of groups
RARE = (np.array([[[0.86, 0.02], [0.08, 0.04]], [[0.8, 0.04], [0.06, 0.1]]]), (900, 900))


WORLDS = {"apart": APART, "several": SEVERAL, "alike": ALIKE, "rare": RARE}
CASES = [(c, w) for c in COMPARISONS for w, (p, _) in WORLDS.items() if len(p) == 2 or not c.referred]


@pytest.mark.parametrize(("comparison", "name"), CASES, ids=[f"{c.name}-{w}" for c, w in CASES])
def test_the_interval_of_every_comparison_covers(comparison: Comparison, name: str) -> None:
    p, sizes = WORLDS[name]
    truth = comparison.value(p)
    assert np.isfinite(truth)
    g = np.random.default_rng(0)
    tables = np.stack([g.multinomial(n, q.ravel(), size=REPEATS) for q, n in zip(p, sizes, strict=True)], 1)
    covered = 0
    for table in tables.reshape(REPEATS, len(p), 2, 2):
        ends = comparison.interval(table, draws=600)
        assert ends is not None
        covered += ends[0] <= truth <= ends[1]
    assert covered / REPEATS >= LEAST


@pytest.mark.parametrize(
    "name", ["demographic_parity_difference", "equalised_odds_difference", "demographic_parity_ratio"]
)
def test_where_groups_are_alike_the_interval_says_so(name: str) -> None:
    p = np.array([[0.45, 0.1], [0.15, 0.3]])
    g = np.random.default_rng(1)
    tables = g.multinomial(500, p.ravel(), size=(REPEATS, 3)).reshape(REPEATS, 3, 2, 2)
    ends = np.array([BY_NAME[name].interval(t, draws=600) for t in tables])
    alike = ends[:, 1] >= 1 if name.endswith("ratio") else ends[:, 0] <= 0
    assert alike.mean() >= LEAST


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_the_interval_of_an_entropy_index_covers(alpha: float) -> None:
    p = np.array([0.55, 0.12, 0.13, 0.2])
    of = Statistic(np.eye(4), lambda s: generalised_entropy(BENEFITS, s, alpha), low=0.0)
    truth = float(generalised_entropy(BENEFITS, p, alpha))
    g = np.random.default_rng(0)
    found = [bootstrap({"": of}, g.multinomial(600, p), resamples=1000)[""] for _ in range(1500)]
    assert np.mean([e is not None and e[0] <= truth <= e[1] for e in found]) >= LEAST


def test_the_interval_of_a_spread_of_means_covers() -> None:
    g = np.random.default_rng(0)
    for means in (np.array([0.0, 0.1]), np.array([0.0, 0.05, 0.12, 0.0]), np.zeros(3)):
        errors = np.full(len(means), 0.03)
        ends = [spread(g.normal(means, errors), errors, draws=600)[1] for _ in range(REPEATS)]
        assert np.mean([a <= np.ptp(means) <= b for a, b in ends]) >= LEAST


@pytest.mark.parametrize("shift", [0.0, 0.08])
def test_the_interval_of_a_groups_calibration_error_covers(shift: float) -> None:
    """200 samples: a standard error of 0.015. Its bins' errors are known: all of them are the shift."""
    g, held = np.random.default_rng(0), 0
    for _ in range(200):
        p = g.uniform(0.02, 0.9, 500)
        _, ends, _ = error(p, (g.random(500) < p + shift).astype(float))
        held += ends is not None and ends[0] <= shift <= ends[1]
    assert held / 200 >= 0.91
