"""Baselines: on clean and on awkward data, and the net against them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from sonde.audits.quality import baselines, measure, omission, scores
from sonde.audits.quality._inputs import CATEGORIES, for_linear, for_trees
from sonde.audits.quality.baselines import in_words
from sonde.audits.quality.intervals import Comparison

NAN = float("nan")


@dataclass
class Data:
    """What the audits read of a data set."""

    task: str
    x: Any
    y: Any
    splits: dict[str, Any]
    classes: tuple[str, ...] = ()
    schema: Any = None


def split(n, val=0.2, test=0.3):
    order = torch.arange(n)
    a, b = int(n * (1 - val - test)), int(n * (1 - test))
    return {"train": order[:a], "val": order[a:b], "test": order[b:]}


def table(task="classification", n=600):
    """Numbers and categories with missing values; a category and a missing value that training has never seen."""
    g = np.random.default_rng(0)
    numeric = g.normal(size=(n, 4)).astype(np.float32)
    codes = g.integers(1, 4, size=(n, 2))
    signal = 2 * numeric[:, 0] + (codes[:, 0] == 2) * 2 - (codes[:, 0] == 3) + 0.3 * g.normal(size=n)
    numeric[g.random(n) < 0.1, 0] = NAN
    numeric[:, 2] = NAN  # never known
    numeric[:, 3] = 7.0  # always the same
    codes[-5:, 1] = 9
    codes[::50, 0] = 0
    numeric[-1, 1] = NAN
    x = {"numeric": torch.from_numpy(numeric), "categorical": torch.from_numpy(codes)}
    if task == "classification":
        return Data(task, x, torch.from_numpy((signal > 0).astype(int)), split(n), ("no", "yes"))
    both = np.stack([signal, -100 * signal + 1000], 1)
    if task == "multilabel":
        labels = np.stack([signal > 0, signal < 1, np.ones(n, bool)], 1)
        return Data(task, x, torch.from_numpy(labels).float(), split(n), ("a", "b", "always"))
    target = SimpleNamespace(target=SimpleNamespace(columns=("up", "down")))
    return Data(task, x, torch.from_numpy(both).float(), split(n), schema=target)


def images(n=300, side=6, classes=3):
    g = torch.Generator().manual_seed(0)
    y = torch.arange(n) % classes
    x = torch.randint(0, 60, (n, 1, side, side), generator=g)
    for c in range(classes):
        x[y == c, 0, c] += 150
    return Data("classification", x.to(torch.uint8), y, split(n), tuple("abc"[:classes]))


def by_name(measures):
    return {m.name.removeprefix("quality/"): m.value for m in measures}


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_tables_with_missing_and_unseen_values_are_learned(task):
    data = table(task)
    simple, linear, trees = baselines(data)
    what = {"classification": "accuracy", "multilabel": "label_accuracy", "regression": "r2"}[task]
    assert by_name(linear.measures)[what] > by_name(simple.measures)[what] + 0.1
    assert by_name(trees.measures)[what] > by_name(simple.measures)[what] + 0.2
    for b in (simple, linear, trees):
        assert b.description and b.seconds >= 0 and b.prediction.isfinite().all()
        assert len(b.prediction) == len(data.splits["test"]) and b.comparison is None and b.verdict == ""


def test_a_label_that_never_varies_is_answered_and_said_so():
    simple, linear, trees = baselines(table("multilabel"))
    assert "Of 3 labels, 1 are the same" in linear.note and "Of 3 labels, 1 are the same" in trees.note
    assert (trees.prediction[:, 2] == 1).all() and (linear.prediction[:, 2] == 1).all()


def test_images_are_learned_from_their_pixels():
    simple, linear, trees = baselines(images())
    assert by_name(simple.measures)["accuracy"] < 0.4
    assert by_name(linear.measures)["accuracy"] > 0.95 and by_name(trees.measures)["accuracy"] > 0.95
    assert not linear.note and not trees.note


def test_large_images_are_averaged_and_said_so():
    data = images(n=60, side=40)
    assert for_linear(data, data.splits["train"]).rows["train"].shape == (30, 20 * 20)
    inputs = for_trees(data, data.splits["train"])
    assert inputs.rows["val"].shape[1] == 20 * 20 and inputs.note == "Pixels averaged in squares of 2 by 2."
    whole = images(n=4, side=20)
    expected = whole.x[whole.splits["train"]].flatten(1) / 255
    assert np.allclose(for_linear(whole, whole.splits["train"]).rows["train"], expected)


def test_little_time_means_fewer_rows_and_a_note():
    data = images(n=4000)
    _, linear, trees = baselines(data, budget_seconds=0.005)
    assert linear.note.startswith("Trained on 500 of 2,000 training rows") and linear.prediction.isfinite().all()
    assert trees.note.startswith("Trained on 500 of 2,000 training rows") and "time was up" in trees.note


def test_the_majority_class_answers_with_the_frequencies_of_the_training_rows():
    data = table()
    p = baselines(data)[0].prediction
    assert p[0].tolist() == pytest.approx(
        [float((data.y[data.splits["train"]] == c).double().mean()) for c in range(2)]
    )


def test_only_the_training_rows_are_learned():
    data, other = table(), table()
    other.y = data.y.clone()
    other.y[data.splits["test"]] = 1 - other.y[data.splits["test"]]
    for a, b in zip(baselines(data), baselines(other), strict=True):
        assert torch.equal(a.prediction, b.prediction)


def test_the_linear_model_is_scikit_learns_on_plain_numbers():
    data = table()
    x = torch.from_numpy(np.random.default_rng(3).normal(size=(600, 3)))
    data.x = {"numeric": x, "categorical": torch.zeros(600, 0, dtype=torch.long)}
    train, test = (x[data.splits[s]].numpy() for s in ("train", "test"))
    mean, std = train.mean(0), train.std(0)
    model = LogisticRegression(max_iter=200).fit((train - mean) / std, data.y[data.splits["train"]])
    expected = model.predict_proba((test - mean) / std)
    assert np.allclose(baselines(data)[1].prediction.numpy(), expected, atol=1e-9)


def test_rare_categories_beyond_what_trees_tell_apart_read_as_missing():
    n = 2 * (CATEGORIES + 50)
    data = table(n=n)
    data.x["categorical"] = torch.stack([torch.arange(n) // 2 + 1, torch.ones(n, dtype=torch.long)], 1)
    data.splits = {"train": torch.arange(n - 4), "val": torch.tensor([n - 4, n - 3]), "test": torch.tensor([n - 2])}
    inputs = for_trees(data, data.splits["train"])
    column = inputs.rows["train"][:, inputs.categorical[0]]
    assert len(np.unique(column[np.isfinite(column)])) == CATEGORIES and "rarest read as missing" in inputs.note
    assert len(baselines(data)) == 3


@pytest.mark.parametrize("empty", ["train", "test"])
def test_no_rows_give_no_baselines(empty):
    data = table()
    data.splits[empty] = torch.zeros(0, dtype=torch.long)
    assert baselines(data) == []


def test_no_validation_rows_and_one_class_do_not_fail():
    data = table()
    data.splits["val"] = torch.zeros(0, dtype=torch.long)
    assert by_name(baselines(data)[2].measures)["accuracy"] > 0.8
    data.y = torch.zeros_like(data.y)
    for b in baselines(data)[1:]:
        assert b.note == "The training rows have one class only, which it always answers."
        assert by_name(b.measures)["accuracy"] == 1.0


def test_a_class_that_training_lacks_gets_no_probability():
    data = images(n=150)
    data.y[data.splits["train"]] = data.y[data.splits["train"]].clamp(max=1)
    for b in baselines(data):
        assert b.prediction.shape[1] == 3 and (b.prediction[:, 2] == 0).all()
        assert math.isfinite(by_name(b.measures)["nll"])


def test_the_net_is_compared_row_by_row():
    data = table()
    perfect = torch.eye(2)[data.y[data.splits["test"]]]
    simple, linear, trees = baselines(data, prediction=perfect)
    assert simple.comparison.winner == "first" and simple.verdict.startswith("The net is better: ")
    own = baselines(data, prediction=linear.prediction)[1]
    assert own.comparison.winner == "neither" and own.comparison.difference == 0


def test_verdicts_read_well():
    worse = Comparison(-0.021, (-0.030, -0.012), 0.001, True, 100)
    assert in_words(worse, "accuracy", True) == "The net is worse: 2.1 points of accuracy (95 % interval 1.2 to 3.0)."
    unclear = Comparison(0.001, (-0.01, 0.012), 0.9, False, 1000)
    assert in_words(unclear, "R2", False) == (
        "Not distinguishable from the net on these 1,000 rows: 0.001 of R2 (95 % interval −0.010 to 0.012)."
    )


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_scores_average_to_the_measure_that_is_compared(task):
    data = table(task)
    prediction = baselines(data)[1].prediction
    what = {"classification": "accuracy", "multilabel": "label_accuracy", "regression": "r2"}[task]
    assert scores(data, prediction).mean() == pytest.approx(by_name(measure(data, prediction))[what], abs=1e-9)


def test_a_constant_target_is_still_compared():
    data = table("regression")
    data.y[data.splits["test"], 0] = 5.0
    simple, _, trees = baselines(data, prediction=data.y[data.splits["test"]])
    assert omission(simple.measures[-1]) and simple.comparison.winner == "first" and trees.comparison.winner == "first"
