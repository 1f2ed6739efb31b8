"""Adult and COMPAS: every number equals fairlearn's, on the real people."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sonde.audits.fairness import GroupFairness, Intersections
from sonde.core import Measure, Subject, run_audits
from sonde.data import Dataset, load

pytestmark = pytest.mark.mirror


def decided(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Labels of the test rows and the decisions of a logistic regression of its numbers."""
    from sklearn.linear_model import LogisticRegression

    x, y = np.nan_to_num(data.x["numeric"].numpy()), data.y.numpy()
    train, test = data.splits["train"].numpy(), data.splits["test"].numpy()
    mean, scale = x[train].mean(0), x[train].std(0) + 1e-9
    fitted = LogisticRegression(max_iter=200).fit((x[train] - mean) / scale, y[train])
    return y[test], fitted.predict((x[test] - mean) / scale)


@pytest.mark.parametrize("name", ["adult", "compas"])
def test_every_number_equals_fairlearns(name: str) -> None:
    reference: Any = pytest.importorskip("fairlearn.metrics", reason="fairlearn is not installed")
    from sklearn.metrics import accuracy_score, precision_score

    data = load(name, sensitive="sex,race")
    y, d = decided(data)
    test = data.splits["test"]
    groups = {a: (data.schema.groups[a], data.fields[a][test]) for a in ("sex", "race")}
    x = nn.functional.one_hot(torch.from_numpy(d), 2).float()
    of = Subject.of(nn.Identity(), x, torch.from_numpy(y), groups=groups)
    audits = list(run_audits(of, [GroupFairness(minimum=1), Intersections(minimum=1)]))
    found: dict[str, Measure] = {m.name: m for done in audits for m in done.measures}
    crossed = groups["sex"][1].numpy() * 100 + groups["race"][1].numpy()
    compared = 0
    for attribute, codes in (
        ("sex", groups["sex"][1].numpy()),
        ("race", groups["race"][1].numpy()),
        ("sex x race", crossed),
    ):
        few = min(((codes == g) & (y == label)).sum() for g in np.unique(codes) for label in (0, 1))
        at: dict[str, Any] = {"sensitive_features": codes}
        expected = {
            "demographic_parity_difference": reference.demographic_parity_difference(y, d, **at),
            "demographic_parity_ratio": reference.demographic_parity_ratio(y, d, **at),
            "accuracy_difference": spread(reference, accuracy_score, y, d, codes),
        }
        if few:  # a rate of nobody is 0 to fairlearn, and none here
            expected |= {
                "equal_opportunity_difference": reference.equal_opportunity_difference(y, d, **at),
                "equalised_odds_difference": reference.equalized_odds_difference(y, d, **at),
                "equalised_odds_ratio": reference.equalized_odds_ratio(y, d, **at),
                "false_positive_rate_difference": spread(reference, reference.false_positive_rate, y, d, codes),
            }
        if attribute == "sex":
            expected["predictive_parity_difference"] = spread(reference, precision_score, y, d, codes)
        for key, value in expected.items():
            ours = found.get(f"fairness/{attribute}/{key}")
            if ours is not None:
                assert ours.value == pytest.approx(value, abs=1e-9), (attribute, key)
                compared += 1
    assert compared >= 14


@pytest.mark.parametrize("name", ["adult", "compas"])
def test_signed_numbers_and_indices_equal_ai_fairness_360s(name: str) -> None:
    theirs: Any = pytest.importorskip("aif360.sklearn.metrics", reason="aif360 is not installed")
    pandas: Any = pytest.importorskip("pandas")
    data = load(name, sensitive="sex")
    y, d = decided(data)
    sex, names = data.fields["sex"][data.splits["test"]], data.schema.groups["sex"]
    x = nn.functional.one_hot(torch.from_numpy(d), 2).float()
    of = Subject.of(nn.Identity(), x, torch.from_numpy(y), groups={"sex": (names, sex)})
    (done,) = run_audits(of, [GroupFairness(reference="Male")])
    found = {m.name.removeprefix("fairness/").removeprefix("sex/"): m.value for m in done.measures}
    at: dict[str, Any] = {"prot_attr": "sex", "priv_group": names.index("Male")}
    truth = pandas.Series(y, index=pandas.MultiIndex.from_arrays([sex.numpy()], names=["sex"]))
    expected = {
        "disparate_impact": theirs.disparate_impact_ratio(truth, d, **at),
        "average_odds_difference": theirs.average_odds_difference(truth, d, **at),
        "theil_index": theirs.generalized_entropy_error(truth, d, alpha=1),
        "generalised_entropy_index": theirs.generalized_entropy_error(truth, d, alpha=2),
        "between_group_theil_index": theirs.between_group_generalized_entropy_error(truth, d, prot_attr="sex", alpha=1),
    }
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, abs=1e-9), key
    assert expected["disparate_impact"] != pytest.approx(1, abs=0.05)


def spread(reference: Any, metric: Any, y: np.ndarray, d: np.ndarray, codes: np.ndarray) -> float:
    return float(reference.MetricFrame(metrics=metric, y_true=y, y_pred=d, sensitive_features=codes).difference())
