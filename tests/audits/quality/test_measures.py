"""Quality measures on what real test sets do to them, and by hand on small ones."""

from __future__ import annotations

import math
import time

import pytest
import torch

from sonde.audits.quality import classification, confusion, multilabel, omission, per_class, regression


def by_name(measures):
    return {m.name.removeprefix("quality/"): m for m in measures}


def test_every_number_says_what_it_is():
    p = torch.rand(50, 3).softmax(1)
    for m in classification(p, torch.arange(50) % 3, "abc", split="val"):
        assert m.n == 50 and m.split == "val" and m.source and m.name.startswith("quality/") and m.unit
        assert m.interval[0] <= m.value <= m.interval[1] and m.settings["interval"] and m.to_data()["name"] == m.name


def test_calibration_error_by_hand():
    # 4 rows sure by 0.9, of which 3 are right; 2 sure by 0.6, both right.
    p = torch.tensor([[0.9, 0.1]] * 4 + [[0.6, 0.4]] * 2, dtype=torch.float64)
    found = by_name(classification(p, torch.tensor([0, 0, 0, 1, 0, 0]), ["a", "b"]))
    assert found["ece"].value == pytest.approx(4 / 6 * abs(0.75 - 0.9) + 2 / 6 * abs(1 - 0.6))


def test_certainty_that_is_wrong_costs_a_finite_amount():
    found = by_name(classification(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]), ["a", "b"]))
    assert found["nll"].value == pytest.approx(-math.log(torch.finfo(torch.float32).eps) / 2, rel=1e-6)


def test_one_class_leaves_out_the_area_by_name():
    found = by_name(classification(torch.rand(20, 2).softmax(1), torch.zeros(20, dtype=torch.long), ["a", "b"]))
    assert math.isnan(found["roc_auc"].value) and omission(found["roc_auc"]) == "only one class occurs"
    assert omission(found["accuracy"]) is None and math.isfinite(found["macro_f1"].value)


def test_the_area_is_over_the_classes_that_occur():
    p, y = torch.rand(30, 3).softmax(1), torch.arange(30) % 2
    assert by_name(classification(p, y, "abc"))["roc_auc"].settings["classes"] == ["a", "b"]


def test_a_perfect_answer_has_no_interval_that_says_it_is_certain():
    y = torch.arange(20) % 2
    found = by_name(classification(torch.eye(2)[y], y, ["a", "b"]))
    assert found["accuracy"].interval[0] < 0.9
    assert found["macro_f1"].interval is None and found["macro_f1"].settings["interval"].startswith("none")


@pytest.mark.parametrize("n", [0, 1])
def test_hardly_any_rows_do_not_fail(n):
    p, y = torch.full((n, 3), 1 / 3), torch.zeros(n, dtype=torch.long)
    found = classification(p, y, "abc")
    assert len(found) == 6 and all(m.interval is None for m in found if m.name != "quality/accuracy")
    assert [c.n for c in per_class(p, y, "abc")] == [n, 0, 0] and confusion(p, y, "abc").sum() == n
    assert len(multilabel(p, torch.zeros(n, 3), "abc")) == 4
    assert len(regression(torch.zeros(n, 1), torch.ones(n, 1))) == 3


def test_answers_that_are_no_numbers_are_wrong_and_said_so():
    p = torch.tensor([[0.9, 0.1], [float("nan"), float("nan")], [0.2, 0.8]])
    y = torch.tensor([0, 0, 1])
    found = by_name(classification(p, y, ["a", "b"]))
    assert found["accuracy"].value == pytest.approx(2 / 3)
    assert omission(found["nll"]) == "the probabilities of 1 of 3 rows are not numbers"
    assert confusion(p, y, ["a", "b"]).tolist() == [[1, 0], [0, 1]]
    assert [c.recall for c in per_class(p, y, ["a", "b"])] == [0.5, 1.0]


def test_a_class_never_answered_has_no_precision():
    table = per_class(torch.tensor([[0.9, 0.1], [0.8, 0.2]]), torch.tensor([0, 1]), ["a", "b"])
    assert table[1].precision is None and table[1].precision_interval is None and table[1].recall == 0.0


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 3\)"):
        classification(torch.rand(2, 2), torch.tensor([0, 1]), "abc")
    with pytest.raises(ValueError, match=r"in 0\.\.1; got 0\.\.2"):
        classification(torch.rand(2, 2), torch.tensor([0, 2]), "ab")
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        classification(torch.tensor([[3.0, -1.0]]), torch.tensor([0]), "ab")
    with pytest.raises(ValueError, match="shape"):
        multilabel(torch.rand(2, 2), torch.zeros(2, 3), "abc")
    with pytest.raises(ValueError, match="one prediction for each"):
        regression(torch.rand(2, 2), torch.rand(2, 1))


def test_labels_that_never_occur_leave_out_f1():
    found = by_name(multilabel(torch.zeros(10, 2), torch.zeros(10, 2), "ab"))
    assert omission(found["micro_f1"]) and omission(found["macro_f1"]) and found["label_accuracy"].value == 1.0


def test_a_label_that_is_no_number_is_wrong():
    found = by_name(multilabel(torch.tensor([[float("nan"), 0.9], [0.1, 0.9]]), torch.tensor([[0.0, 1], [0, 1]]), "ab"))
    assert found["exact_match"].value == 0.5 and found["label_accuracy"].value == 0.75


def test_a_constant_target_has_no_r2():
    found = by_name(regression(torch.randn(10), torch.full((10,), 0.1)))
    assert omission(found["r2"]) == "the target is the same in every row" and found["rmse"].interval
    joint = by_name(regression(torch.randn(10, 2), torch.stack([torch.ones(10), torch.arange(10.0)], 1), "ab"))
    assert omission(joint["r2"]) == "a target has no R2" and math.isfinite(joint["r2/b"].value)


def test_predictions_that_are_no_numbers_leave_out_the_errors():
    found = by_name(regression(torch.tensor([1.0, float("inf")]), torch.tensor([1.0, 2.0])))
    assert all(omission(m) == "the predictions or truths of 1 of 2 rows are not numbers" for m in found.values())


def test_errors_carry_their_unit():
    found = by_name(regression(torch.rand(5, 1), torch.rand(5, 1), ["height"], units=["cm"]))
    assert (found["rmse"].unit, found["mae"].unit, found["r2"].unit) == ("cm", "cm", "1")


@pytest.mark.parametrize(("n", "c"), [(16281, 2), (10000, 10)])
def test_measuring_takes_under_two_seconds_of_processor_time(n, c):
    p, y = torch.rand(n, c).softmax(1), torch.arange(n) % c
    classification(p[:100], y[:100], [str(i) for i in range(c)])  # imports
    before = time.process_time()
    classification(p, y, [str(i) for i in range(c)])
    assert time.process_time() - before < 2
