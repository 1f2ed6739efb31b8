"""The audits of groups: values of the reference libraries, groups that are too small, and answers that are missing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sonde.audits.fairness import FlipTest, GroupCalibration, GroupFairness, Intersections, Proxies
from sonde.core import Audit, Audited, Figure, Measure, SondeError, Subject, Table, run_audits

SEXES, RACES = ("female", "male"), ("black", "white", "rare")


def people(n: int = 900, seed: int = 0, classes: int = 2) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
    """Logits that are the model's own answers (N, C), labels, and two attributes; the third race has a dozen people."""
    g = torch.Generator().manual_seed(seed)
    sex = torch.randint(2, (n,), generator=g)
    race = torch.randint(2, (n,), generator=g)
    race[:12] = 2
    y = (torch.rand(n, generator=g) * classes * (0.7 + 0.3 * sex)).long().clamp_max(classes - 1)
    x = torch.randn(n, classes, generator=g) + 1.2 * nn.functional.one_hot(y, classes) + 0.4 * sex[:, None]
    x[:, -1] += 0.3 * sex + 0.3 * race.clamp_max(1)
    return x, y, {"sex": (SEXES, sex), "race": (RACES, race)}


def subject(classes: int = 2, **more: Any) -> Subject:
    x, y, groups = people(classes=classes, **more)
    return Subject.of(nn.Identity(), x, y, groups=groups, classes=tuple("abcdefghijklm"[:classes]))


def asked(audit: Audit, of: Subject | None = None) -> Audited:
    (found,) = run_audits(subject() if of is None else of, [audit])
    return found


def values(found: Audited) -> dict[str, Measure]:
    return {m.name: m for m in found.measures}


def test_every_measure_equals_fairlearns() -> None:
    fairlearn = pytest.importorskip("fairlearn.metrics", reason="fairlearn is not installed")
    from sklearn.metrics import accuracy_score, precision_score

    x, y, groups = people()
    d, sex = x.argmax(1).numpy(), groups["sex"][1].numpy()
    found = values(asked(GroupFairness()))

    def spread(metric: Any) -> float:
        return float(
            fairlearn.MetricFrame(metrics=metric, y_true=y.numpy(), y_pred=d, sensitive_features=sex).difference()
        )

    expected = {
        name: getattr(fairlearn, name)(y.numpy(), d, sensitive_features=sex)
        for name in ("demographic_parity_difference", "demographic_parity_ratio", "equal_opportunity_difference",
                     "equal_opportunity_ratio")
    }  # fmt: skip
    for name in ("difference", "ratio"):
        expected[f"equalised_odds_{name}"] = getattr(fairlearn, f"equalized_odds_{name}")(
            y.numpy(), d, sensitive_features=sex
        )
    expected["false_positive_rate_difference"] = spread(fairlearn.false_positive_rate)
    expected["false_negative_rate_difference"] = spread(fairlearn.false_negative_rate)
    expected["predictive_parity_difference"] = spread(precision_score)
    expected["accuracy_difference"] = spread(accuracy_score)
    for name, value in expected.items():
        assert found[f"fairness/sex/{name}"].value == pytest.approx(value, abs=1e-9), name


def test_every_measure_equals_ai_fairness_360s() -> None:
    theirs = pytest.importorskip("aif360.sklearn.metrics", reason="aif360 is not installed")
    pandas = pytest.importorskip("pandas")
    x, y, groups = people()
    d, sex = x.argmax(1).numpy(), groups["sex"][1].numpy()
    truth = pandas.Series(y.numpy(), index=pandas.MultiIndex.from_arrays([sex], names=["sex"]))
    found = values(asked(GroupFairness(reference="male")))
    at = {"prot_attr": "sex", "priv_group": 1}
    expected = {
        "sex/disparate_impact": theirs.disparate_impact_ratio(truth, d, **at),
        "sex/average_odds_difference": theirs.average_odds_difference(truth, d, **at),
        "theil_index": theirs.generalized_entropy_error(truth, d, alpha=1),
        "generalised_entropy_index": theirs.generalized_entropy_error(truth, d, alpha=2),
        "sex/between_group_theil_index": theirs.between_group_generalized_entropy_error(
            truth, d, prot_attr="sex", alpha=1
        ),
    }
    for name, value in expected.items():
        assert found[f"fairness/{name}"].value == pytest.approx(value, abs=1e-9), name
    other = values(asked(GroupFairness(reference="female")))["fairness/sex/disparate_impact"]
    assert (
        other.value == pytest.approx(1 / expected["sex/disparate_impact"]) and other.settings["reference"] == "female"
    )


def test_a_small_group_is_left_out_named_and_empty_in_the_table() -> None:
    found = asked(GroupFairness())
    race = [m for m in found.measures if m.name.startswith("fairness/race/") and "average" not in m.name]
    left = [m for m in race if "left_out" in m.settings and "reference" not in m.settings]
    assert len(left) >= 10 and all(m.settings["left_out"] == ["rare"] and m.settings["groups"] == 2 for m in left)
    (table,) = (t for t in found.tables if "race" in t.columns)
    rare = next(row for row in table.rows if row[0] == "rare")
    assert rare[1] == 12 and set(rare[2:]) == {None} and "Too small to compare: rare" in table.caption
    assert values(asked(GroupFairness(minimum=1)))["fairness/race/accuracy_difference"].settings["groups"] == 3


def test_each_audit_draws_a_figure_of_every_attribute() -> None:
    for audit, names in (
        (GroupFairness(), ["rates-sex", "rates-race"]),
        (Intersections(), ["rates-sex-x-race"]),
        (GroupCalibration(), ["reliability-sex", "reliability-race"]),
    ):
        found = asked(audit)
        assert found.outcome == "done" and [f.name for f in found.figures] == names
        assert all(isinstance(f, Figure) and "<svg" in f.svg for f in found.figures)


def test_the_favourable_class_decides_what_is_counted() -> None:
    found = {c: values(asked(GroupFairness(c)))["fairness/sex/demographic_parity_difference"] for c in ("", "a", "b")}
    assert found[""] == found["b"] and found["b"].settings["favourable"] == "b"
    assert found["a"].value == pytest.approx(found["b"].value)  # shares that add up to one differ as much
    refused = asked(GroupFairness("x"))
    assert refused.outcome == "refused" and "no class 'x'" in refused.reason


def test_several_classes_are_compared_one_by_one_or_refused_in_words() -> None:
    found = values(asked(GroupFairness(), subject(classes=4)))
    assert {
        f"fairness/sex/{c}/{m}_difference" for c in "abcd" for m in ("demographic_parity", "equal_opportunity")
    } <= set(found)
    x, y, groups = people(classes=4)
    right, sex = (x.argmax(1) == y).numpy(), groups["sex"][1].numpy()
    by_sex = [right[sex == g].mean() for g in (0, 1)]
    assert found["fairness/sex/lowest_accuracy"].value == pytest.approx(min(by_sex), abs=1e-12)
    assert found["fairness/sex/accuracy_difference"].value == pytest.approx(np.ptp(by_sex), abs=1e-12)
    assert len(values(asked(GroupFairness(), subject(classes=12)))) == 4  # accuracies of two attributes
    for audit in (Intersections(), GroupCalibration()):
        refused = asked(audit, subject(classes=4))
        assert refused.outcome == "refused" and "say which is the favourable one" in refused.reason
    assert asked(GroupCalibration("c"), subject(classes=4)).outcome == "done"


def test_intersections_are_the_groups_crossed_with_a_smallest_size() -> None:
    x, y, groups = people()
    d, sex, race = x.argmax(1).numpy(), groups["sex"][1].numpy(), groups["race"][1].numpy()
    found = values(asked(Intersections()))
    shares = [d[(sex == s) & (race == r)].mean() for s in (0, 1) for r in (0, 1)]
    parity = found["fairness/sex x race/demographic_parity_difference"]
    assert parity.value == pytest.approx(np.ptp(shares), abs=1e-12) and parity.settings["groups"] == 4
    assert parity.settings["left_out"] == ["female, rare", "male, rare"]
    assert found["fairness/sex x race/too_small_share"].value == pytest.approx(12 / 900)


def test_crossings_do_not_explode() -> None:
    x, y, groups = people()
    many = {f"a{i}": (tuple(str(v) for v in range(40)), torch.arange(len(y)) * (2 * i + 1) % 40) for i in range(8)}
    found = asked(Intersections(most=3), Subject.of(nn.Identity(), x, y, groups=many))
    assert len(found.tables) == 3 and all(len(t.rows) <= 20 for t in found.tables)
    assert all(len(t.caption) < 600 for t in found.tables)
    alone = asked(Intersections(), Subject.of(nn.Identity(), x, y, groups={"sex": groups["sex"]}))
    assert alone.outcome == "refused" and "2 attributes are crossed" in alone.reason


def test_rows_without_an_answer_or_a_group_are_counted_out() -> None:
    x, y, groups = people()
    x[:100] = math.nan
    groups["sex"][1][100:150] = -1
    found = values(asked(GroupFairness(), Subject.of(nn.Identity(), x, y, groups=groups)))
    parity = found["fairness/sex/demographic_parity_difference"]
    assert parity.n == 750 and parity.settings["unanswered"] == 100
    d, sex = x[150:].argmax(1).numpy(), groups["sex"][1][150:].numpy()
    assert parity.value == pytest.approx(abs(d[sex == 0].mean() - d[sex == 1].mean()), abs=1e-12)


def degenerate() -> dict[str, Subject]:
    x, y, groups = people(120)
    one = {"sex": (SEXES, torch.zeros(120, dtype=torch.int64)), "race": groups["race"]}
    lost = {k: (names, torch.full((120,), -1)) for k, (names, _) in groups.items()}
    return {
        "one group": Subject.of(nn.Identity(), x, y, groups=one),
        "one class": Subject.of(nn.Identity(), x, torch.zeros_like(y), groups=groups),
        "no decision for it": Subject.of(nn.Identity(), x - torch.tensor([0.0, 99.0]), y, groups=groups),
        "no numbers": Subject.of(nn.Identity(), x * math.nan, y, groups=groups),
        "no group at all": Subject.of(nn.Identity(), x, y, groups=lost),
        "one row": Subject.of(nn.Identity(), x[:1], y[:1], groups={k: (v, c[:1]) for k, (v, c) in groups.items()}),
        "no rows": Subject.of(nn.Identity(), x, y, groups=groups, more={"test": (x[:0], y[:0])}),
        "no column": Subject.of(nn.Identity(), x, y, groups=groups, more={"test": (x, y)}),
    }


@pytest.mark.parametrize("name", degenerate())
@pytest.mark.parametrize("audit", [GroupFairness(), Intersections(), GroupCalibration(), FlipTest(), Proxies()])
def test_a_degenerate_subject_gives_numbers_left_out_or_words(audit: Audit, name: str) -> None:
    found = asked(audit, degenerate()[name])
    assert found.outcome in ("done", "refused") and not found.reason.startswith(
        ("ValueError", "IndexError", "KeyError")
    )
    for m in found.measures:
        assert not math.isnan(m.value) or (m.settings["omitted"] and m.interval is None)
    if name in ("one group", "no numbers", "no group at all", "one row") and isinstance(audit, GroupFairness):
        sex = values(found)["fairness/sex/demographic_parity_difference"]
        assert math.isnan(sex.value) and "fewer than two groups have 30 rows" in sex.settings["omitted"]


def test_settings_that_mean_nothing_are_refused() -> None:
    for make in (
        lambda: GroupFairness(minimum=0),
        lambda: Intersections(at_once=1),
        lambda: GroupCalibration(minimum=1),
        lambda: FlipTest(rows=0),
        lambda: Proxies(minimum=2),
    ):
        with pytest.raises(SondeError):
            make()


def test_calibration_by_group_finds_the_group_that_is_underrated() -> None:
    g = np.random.default_rng(0)
    n = 6000
    p, sex = g.uniform(0.05, 0.85, n), g.integers(2, size=n)
    y = (g.random(n) < p + 0.1 * sex).astype(int)
    x = torch.from_numpy(np.log(np.stack([1 - p, p], 1)))
    found = asked(
        GroupCalibration(),
        Subject.of(nn.Identity(), x, torch.from_numpy(y), groups={"sex": (SEXES, torch.from_numpy(sex))}),
    )
    m = values(found)
    gap = m["fairness/sex/calibration_in_the_large_difference"]
    assert gap.interval is not None and gap.interval[0] <= 0.1 <= gap.interval[1] and gap.interval[0] > 0.05
    assert gap.settings["highest"] == "male"
    fair, unfair = m["fairness/sex/female/ece"], m["fairness/sex/male/ece"]
    assert fair.interval is not None and fair.interval[0] == 0.0 and fair.value < 0.03
    assert unfair.interval is not None and unfair.interval[0] <= 0.1 <= unfair.interval[1] and unfair.interval[0] > 0.05
    assert isinstance(found.tables[0], Table) and found.tables[0].rows[0][1] in (m["fairness/sex/male/ece"].n, fair.n)
