"""`sonde train` on a stream: several data sets, one in experiences, named recipes; stopped and gone on with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.command import Sonde
from tests.cli.test_resume import CtrlC, ctrl_c, the_same  # noqa: F401 - a fixture

NET = ("--net", "mlp(widths=(16,))", "--quiet", "--no-baselines")


@pytest.fixture
def two(here: Path) -> Path:
    """The digits as two files: those below 5, and the others; and as two halves, `odd.npz` in other colours."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, y = (digits.images[:, None] / 16).astype(np.float32)[:600], digits.target[:600]
    np.savez(here / "low.npz", x=x[y < 5], y=y[y < 5])
    np.savez(here / "high.npz", x=x[y >= 5], y=y[y >= 5])
    np.savez(here / "even.npz", x=x[::2], y=y[::2])
    np.savez(here / "odd.npz", x=1 - x[1::2], y=y[1::2])
    return here


def test_several_data_sets_are_learned_in_their_order(sonde: Sonde, two: Path) -> None:
    answer = sonde("train", "even.npz", "odd.npz", "--epochs", "4", "--with", "ewc(cap=5)", *NET[:2])
    assert answer.code == 0, answer.err
    assert "right on average over 2 experiences (95 % interval" in answer.out
    lines = [line.split()[0] for line in answer.out.splitlines() if line]
    assert {"experience", "even.npz", "odd.npz"} <= set(lines)
    assert "· 2 stages of even.npz, odd.npz, each for 4 epochs" in answer.err
    assert "stage 2/2 · epoch 4/4" in answer.err and answer.err.count("measuring the model") == 1
    folder = two / "runs" / "even-odd"
    facts = json.loads((folder / "report.json").read_text())
    assert [m["name"] for m in facts["measures"][:2]] == ["continual/average_accuracy", "continual/forgetting"]
    assert np.array(facts["retained"]["matrix"]).shape == (3, 2) and facts["retained"]["names"] == [
        "even.npz",
        "odd.npz",
    ]
    assert "What was kept of each experience" in (folder / "report.html").read_text()
    assert any(b["name"] == "gradient-boosted trees" for b in facts["baselines"])
    recipe = json.loads((folder / "recipe.json").read_text())
    assert len(recipe["stages"]) == 2 and [d["data"] for d in recipe["data"]["datasets"]] == ["even.npz", "odd.npz"]
    assert sonde("evaluate", "even-odd").code == 0
    again = sonde("train", "--recipe", "runs/even-odd", "--name", "again", *NET[2:])
    assert again.code == 0, again.err
    the_same(folder, two / "runs" / "again")


def test_new_classes_join_when_asked_for(sonde: Sonde, two: Path) -> None:
    refused = sonde("train", "low.npz", "high.npz", *NET)
    assert refused.code == 2 and "low.npz has rows of class '0' and high.npz has none" in refused.err
    asked = ("--stream", "in_order(scenario='class')", "--epochs", "3", "--json", *NET)
    plain = sonde("train", "low.npz", "high.npz", *asked)
    assert plain.code == 0, plain.err
    replayed = sonde("train", "low.npz", "high.npz", "--with", "replay(capacity=100)", *asked)
    lost = [a.data["retained"]["matrix"][2][0] for a in (plain, replayed)]
    assert lost[0] < lost[1] and plain.data["measures"][1]["name"] == "continual/forgetting"


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (("iris", "wine"), "iris has columns that wine lacks"),
        (("digits", "iris"), "digits is pictures, iris is a table"),
        (("diabetes", "--stream", "permuted"), "diabetes is a regression, and a stream is measured by right answers"),
        (("digits", "--stream", "permute"), "there is no stream called 'permute'\n  did you mean 'permuted'?"),
        (("digits", "--stream", "in_order"), "digits is one data set, with nothing to put in order"),
        (("digits", "--stream", "split(tasks=3)"), "10 classes cannot be split evenly into 3"),
        (("digits", "--stream", "split(scenario='task')"), "needs a head for each"),
        (("digits", "--stream", "permuted", "--patience", "2"), "early stopping would judge a stage by rows of other"),
        (("permuted_mnist",), "permuted_mnist is the name of a recipe, not of data\n  train it: sonde train --recipe"),
    ],
)
def test_what_is_no_stream_is_said_in_words(sonde: Sonde, here: Path, words: tuple[str, ...], cause: str) -> None:
    answer = sonde("train", *words)
    assert answer.code in (1, 2) and cause in answer.err, answer.err
    assert not (here / "runs").exists() and "Traceback" not in answer.err


def test_what_a_permuted_stream_says_of_its_first_order_is_not_its_result(sonde: Sonde, here: Path) -> None:
    answer = sonde("train", "digits", "--stream", "permuted(tasks=3)", "--epochs", "1", "--json", *NET[:3])
    assert answer.code == 0, answer.err
    assert "on average over 3 experiences" in answer.data["verdict"] and answer.data["baselines"] == []
    facts = json.loads(Path(answer.data["run"], "report.json").read_text())
    labels = [m["label"] for m in facts["measures"]]
    assert labels[:5] == [
        "Average accuracy", "Forgetting", "Backward transfer", "Forward transfer", "Accuracy, order 0 alone"
    ]  # fmt: skip
    assert "not its result" in facts["retained"]["about"]
    assert facts["measures"][4]["value"] == pytest.approx(facts["retained"]["matrix"][-1][0])


# Two experiences of 5 epochs of 5 steps: within the first stage, at its very end, at the next one's beginning, later.
@pytest.mark.parametrize("step", [7, 25, 26, 40])
@pytest.mark.parametrize("method", ["ewc(cap=5)", "dark_replay(capacity=40)", "learning_without_forgetting"])
def test_a_stream_stopped_anywhere_ends_with_the_same_bits(
    sonde: Sonde,
    two: Path,
    ctrl_c: type[CtrlC],  # noqa: F811
    step: int,
    method: str,
) -> None:
    asked = ("train", "even.npz", "odd.npz", "--epochs", "5", "--batch-size", "48", "--with", method, *NET)
    ctrl_c.step = step
    assert sonde(*asked, "--name", "stopped").code == 130
    ctrl_c.step = 0
    resumed = sonde("resume", "stopped", "--quiet")
    assert resumed.code == 0, resumed.err
    assert sonde(*asked, "--name", "whole").code == 0
    the_same(two / "runs" / "stopped", two / "runs" / "whole")
    facts = [json.loads((two / "runs" / n / "report.json").read_text()) for n in ("stopped", "whole")]
    assert facts[0]["retained"] == facts[1]["retained"] and facts[0]["measures"] == facts[1]["measures"]


def test_a_recipe_of_a_stream_is_followed_on_other_data(sonde: Sonde, here: Path) -> None:
    answer = sonde("train", "digits", "--recipe", "split_mnist", "--steps", "4", "--json", *NET[2:])
    assert answer.code == 0, answer.err
    assert answer.data["run"] == "runs/digits" and answer.data["retained"]["names"][0] == "0 and 1"
    recipe = json.loads((here / "runs" / "digits" / "recipe.json").read_text())
    assert recipe["objective"]["net"]["shape"] == [1, 8, 8]
    refused = sonde("train", "digits", "--recipe", "split_mnist", "--stream", "permuted", *NET[2:])
    assert refused.code == 2 and "the recipe has stages of its own" in refused.err


@pytest.mark.mirror
def test_a_named_recipe_of_a_stream_can_be_tried_quickly(sonde: Sonde, here: Path) -> None:
    asked = ("--steps", "2", "--set", "methods.ewc.rows=50", "--json", "--quiet")
    answer = sonde("train", "--recipe", "permuted_mnist", *asked)
    assert answer.code == 0, answer.err
    assert answer.data["run"] == "runs/permuted-mnist" and len(answer.data["retained"]["names"]) == 10
    assert answer.data["steps"] == 20
