"""Models that decide by group: the same after saving, equal on held-out rows, and no crash at a group nobody saw."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import sonde
from sonde import data as readers
from sonde.bundle import SPEC, WEIGHTS, Bundle
from sonde.core import SondeError
from sonde.data import Dataset
from sonde.fair_decisions import measured, with_thresholds
from tests.support import blobs
from tests.test_bundle import made, sealed

CONSTRAINTS = ("demographic_parity", "equal_opportunity", "equalised_odds")


def table(n: int = 4000, seed: int = 0) -> pl.DataFrame:
    """Loans of two towns, of which the second gets and deserves fewer, and of five people of a third."""
    g = np.random.default_rng(seed)
    town = g.integers(2, size=n)
    wealth = g.normal(-1.0 * town, 1.0)
    paid = wealth + g.normal(0, 0.7, n) > -0.2
    names = np.array(["hill", "shore", "isle"])[np.where(np.arange(n) % max(1, n // 5) == 0, 2, town)]
    return pl.DataFrame({"wealth": wealth, "age": g.normal(40, 9, n), "town": names, "loan": np.where(paid, "a", "z")})


@pytest.fixture(scope="module")
def data() -> Dataset:
    return readers.open(table(), target="loan", sensitive="town", val=0.4, test=0.4)


@pytest.fixture(scope="module")
def plain(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return sonde.train(data, epochs=3, baselines=False, output_dir=tmp_path_factory.mktemp("runs")).bundle


@pytest.fixture(scope="module", params=CONSTRAINTS)
def fair(request: pytest.FixtureRequest, plain: Bundle, data: Dataset) -> Bundle:
    with pytest.warns(UserWarning, match="'town' with fewer than 30 validation rows .*isle"):
        return with_thresholds(plain, data, "town", request.param, favourable="a")


def test_decisions_are_the_same_before_and_after_saving(fair: Bundle, tmp_path: Path) -> None:
    fair.save(tmp_path / "model")
    loaded = Bundle.load(tmp_path / "model")
    assert (loaded.thresholds, loaded.group, loaded.favourable) == (fair.thresholds, "town", 0)
    rows = table(seed=1)
    before, after = fair.decide(rows, seed=3), loaded.decide(rows, seed=3)
    assert (before.answers == after.answers).all() and (before.probability == after.probability).all()
    assert set(before.answers) == {"a", "z"} and (before.answers[before.probability == 1] == "a").all()
    assert (loaded.predict_proba(rows) == fair.predict_proba(rows)).all()


def test_rates_are_equal_on_held_out_rows_within_their_interval(plain: Bundle, fair: Bundle, data: Dataset) -> None:
    assert fair.thresholds is not None
    name = f"fairness/{fair.thresholds.constraint}_difference"
    before, after = ({m.name: m for m in measured(b, data, "town", "a")} for b in (plain, fair))
    was, now = before[name].interval, after[name].interval
    assert was is not None and now is not None
    # The validation rows leave the thresholds' rates uncertain by about 0.04 (600 rows a label and town).
    assert now[0] <= 0.04 and was[0] > 0.1 and now[1] < was[1]
    assert now[0] <= after[name].value <= now[1] and after[name].settings["left_out"] == ["isle"]
    assert after["quality/accuracy"].value > 0.6 and after["quality/accuracy"].interval is not None


def test_lots_are_said_and_can_be_drawn_again(plain: Bundle, data: Dataset) -> None:
    with pytest.warns(UserWarning, match="isle"):
        fair = with_thresholds(plain, data, "town", "equalised_odds", favourable="a")
    rows = table(seed=1)
    found = fair.decide(rows)
    assert found.randomised.any() and f"drawn by lot (seed {found.seed})" in str(found)
    assert (fair.decide(rows, seed=found.seed).answers == found.answers).all()
    assert fair.decide(rows).seed != found.seed, "two people decided about alone would draw the same lot"
    lots = found.randomised
    drawn = np.mean([(fair.decide(rows, seed=s).answers == "a")[lots].mean() for s in range(20)])
    assert abs(drawn - found.probability[lots].mean()) < 4 * 0.5 / np.sqrt(20 * lots.sum())


def test_groups_come_from_the_column_or_beside_the_rows(fair: Bundle) -> None:
    rows = table(n=50, seed=1)
    by_column = fair.decide(rows, seed=0)
    assert (fair.decide(rows, groups=rows["town"], seed=0).answers == by_column.answers).all()
    swapped = ["shore" if t == "hill" else "hill" for t in rows["town"]]
    assert (fair.decide(rows, groups=swapped, seed=0).probability != by_column.probability).any()


def test_a_rare_unseen_or_missing_group_has_the_rule_of_the_rest(fair: Bundle) -> None:
    rows = table(n=40, seed=1)[:4]
    found = fair.decide(rows, groups=["isle", "moon", None, "hill"], seed=0)
    assert found.rest.tolist() == [True, True, True, False] and "not seen" in str(found)
    scores = fair.predict_proba(rows)[:, 0]
    assert fair.thresholds is not None
    assert (found.probability[:3] == fair.thresholds.other.probability(scores)[:3]).all()


def test_a_model_trained_without_groups_can_have_thresholds(plain: Bundle, data: Dataset) -> None:
    without = replace(plain, schema=replace(plain.schema, fields=()))
    with pytest.warns(UserWarning, match="isle"):
        fair = with_thresholds(without, data, "town", "demographic_parity")
    assert fair.schema.groups == data.schema.groups and fair.answers == ("a", "z") and without.thresholds is None


# ---------------------------------------------------------------- refusals
def test_the_answers_of_a_model_that_decides_by_group_are_not_given_without(fair: Bundle, plain: Bundle) -> None:
    with pytest.raises(SondeError, match="decides by 'town'"):
        fair.predict(table(n=10))
    with pytest.raises(SondeError, match="no thresholds"):
        plain.decide(table(n=10))
    with pytest.raises(SondeError, match="10 rows have 2 groups"):
        fair.decide(table(n=10), groups=["hill", "shore"])


def test_what_cannot_be_fitted_is_said(plain: Bundle, data: Dataset) -> None:
    fit: Any = with_thresholds
    with pytest.raises(SondeError, match="no groups 'sex'"):
        fit(plain, data, "sex", "equalised_odds")
    with pytest.raises(SondeError, match="no class 'b'"):
        fit(plain, data, "town", "equalised_odds", favourable="b")
    with pytest.raises(SondeError, match="no constraint"):
        fit(plain, data, "town", "equality")
    with pytest.raises(SondeError, match="fewer than two groups"):
        fit(plain, data, "town", "equalised_odds", minimum=5000)
    with pytest.raises(SondeError, match="between two classes"):
        fit(made(), data, "town", "equalised_odds")
    other = readers.open(table(200).drop("age"), target="loan", sensitive="town")
    with pytest.raises(SondeError, match="read in another way"):
        fit(plain, other, "town", "equalised_odds")
    with pytest.raises(SondeError, match="no validation rows"):
        fit(plain, replace(data, splits={**data.splits, "val": blobs(0)[1]}), "town", "equalised_odds")


@pytest.mark.parametrize(
    "change",
    [
        {"group": "sex"}, {"group": None}, {"group": []}, {"favourable": 2}, {"favourable": True}, {"favourable": "0"},
        {"extra": 1}, {"rules": None}, {"rules": {}}, {"rules": {"constraint": "none", "rules": [], "pooled": []}},
    ],
)  # fmt: skip
def test_damaged_thresholds_are_an_error_in_words(fair: Bundle, tmp_path: Path, change: dict[str, Any]) -> None:
    fair.save(tmp_path)
    spec = json.loads((tmp_path / SPEC).read_text())
    sealed(tmp_path, SPEC, json.dumps({**spec, "thresholds": {**spec["thresholds"], **change}}).encode())
    with pytest.raises(SondeError, match="thresholds in .* are damaged"):
        Bundle.load(tmp_path)


def test_rules_that_are_no_probabilities_or_too_many_are_refused(fair: Bundle, tmp_path: Path) -> None:
    fair.save(tmp_path)
    whole = json.loads((tmp_path / SPEC).read_text())
    rules = whole["thresholds"]["rules"]["rules"]
    for bad in ([*rules, rules[0]], [], [{**rules[0], "constant": 2.0}, *rules[1:]], [None, *rules[1:]]):
        spec = json.loads(json.dumps(whole))
        spec["thresholds"]["rules"]["rules"] = bad
        sealed(tmp_path, SPEC, json.dumps(spec).encode())
        with pytest.raises(SondeError, match="thresholds in .* are damaged"):
            Bundle.load(tmp_path)
    for bad in (None, 3, [], "x"):
        sealed(tmp_path, SPEC, json.dumps({**whole, "thresholds": bad}).encode())
        with pytest.raises(SondeError, match="thresholds in .* are damaged"):
            Bundle.load(tmp_path)
    sealed(tmp_path, SPEC, json.dumps({**whole, "rule": 1}).encode())
    with pytest.raises(SondeError, match="an entry 'rule'"):
        Bundle.load(tmp_path)
    spec = {k: v for k, v in whole.items() if k != "thresholds"}  # as bundles were written before
    sealed(tmp_path, SPEC, json.dumps(spec).encode())
    assert (tmp_path / WEIGHTS).is_file() and Bundle.load(tmp_path).thresholds is None


def test_the_command_line_decides_by_group(fair: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sonde.cli.using import evaluate, predict

    fair.save(tmp_path / "fair" / "model")
    table(n=30, seed=1).write_csv(tmp_path / "new.csv")
    predict(str(tmp_path / "fair"), str(tmp_path / "new.csv"), None, tmp_path, False)
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 31 and "by thresholds for each town: 30 decisions" in shown.err
    with pytest.raises(SondeError, match="decides by 'town'"):
        evaluate(str(tmp_path / "fair"), str(tmp_path / "new.csv"), "test", "fail", tmp_path, False)
