"""COMPAS: ProPublica's table to its last digit, and a model of the same columns that is audited."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sonde.changes import over
from sonde.core import Figure, Measure, Table
from sonde.experiment import Check, Lab
from sonde.recipes.compas import PUBLISHED, compas, error_rates, of_the_model, of_the_score, scored

pytestmark = pytest.mark.mirror


def test_propublicas_table_comes_out_exactly() -> None:
    checks = {f.measure.name: f for f in of_the_score() if isinstance(f, Check)}
    assert all(check.holds for check in checks.values())
    for (race, rate), published in PUBLISHED.items():
        check = checks[f"score/{race}/{rate}"]
        assert round(check.measure.value, 4) == check.published == published
        low, high = check.measure.interval or (1.0, 0.0)
        assert low < published < high
    assert checks["score/Caucasian/false_positive_rate"].measure.n == 1488
    assert checks["score/race/false_positive_rate_difference"].measure.value == pytest.approx(0.4485 - 0.2345, abs=1e-4)


def test_all_rows_are_counted_and_none_of_the_names() -> None:
    table, races = scored()
    assert table.sum() == 7214 and table[races.index("African-American")].tolist() == [[990, 805], [532, 1369]]
    assert set(races) == {"African-American", "Asian", "Caucasian", "Hispanic", "Native American", "Other"}


def test_another_table_is_refuted() -> None:
    swapped, races = scored()[0][:, ::-1], scored()[1]
    rates = {m.name: m.value for m in error_rates(np.ascontiguousarray(swapped), races)}
    assert all(abs(rates[f"score/{race}/{rate}"] - published) > 0.01 for (race, rate), published in PUBLISHED.items())


def test_a_model_of_the_columns_is_audited_by_race(tmp_path: Path) -> None:
    found = list(of_the_model(Lab(tmp_path), over(compas(), steps=40)))
    names = {f.measure.name if isinstance(f, Check) else f.name for f in found}
    assert {"quality/accuracy", "fairness/race/equalised_odds_difference", "fairness/race/flip_rate"} <= names
    assert {"rates-race", "reliability-race", "proxies-race"} <= {f.name for f in found if isinstance(f, Figure)}
    assert all(f.caption.startswith("The model.") for f in found if isinstance(f, Table))
    left = next(f for f in found if isinstance(f, Measure) and f.name == "fairness/race/demographic_parity_difference")
    assert left.settings["left_out"] == ["Asian", "Native American"]
