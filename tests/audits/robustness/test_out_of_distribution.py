"""Rows from elsewhere: areas and shares against scikit-learn's, scores against their formulas, no hook left behind."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sonde.audits.quality.intervals import bootstrap
from sonde.audits.robustness._detectors import energy, gaussians, last_layer, probability
from sonde.audits.robustness._elsewhere import elsewhere, fitted
from sonde.audits.robustness.out_of_distribution import (
    OutOfDistribution,
    _areas,
    _passed_between,
    area,
    passed,
)
from sonde.core import Measure, SondeError, Subject, Texts, run_audits


def blobs(n: int = 120, spread: float = 0.3) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 3
    return spread * torch.randn(n, 4, generator=g) + 4 * torch.eye(4)[y], y


def subject(train: bool = True) -> Subject:
    """A net that knows where three blobs are: its logits fall with the distance from them."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    for layer in net:
        layer.weight.data, layer.bias.data = torch.eye(4)[: layer.out_features], torch.zeros(layer.out_features)
    x, y = blobs()
    return Subject.of(net, x, y, more={"train": blobs(150)} if train else None)


def measured(one: Subject, audit: OutOfDistribution) -> dict[str, Measure]:
    (done,) = run_audits(one, [audit])
    assert done.outcome == "done", done.reason
    return {m.name.removeprefix("robustness/out_of_distribution/"): m for m in done.measures}


def test_the_area_and_the_share_let_through_are_scikit_learns() -> None:
    from sklearn.metrics import roc_auc_score, roc_curve

    g = np.random.default_rng(0)
    own, foreign = g.normal(1, 1, 200).round(1), g.normal(0, 1, 150).round(1)  # with ties
    truth = np.r_[np.ones(200), np.zeros(150)]
    assert area(own, foreign) == pytest.approx(roc_auc_score(truth, np.r_[own, foreign]))
    false, true, _ = roc_curve(truth, np.r_[own, foreign], drop_intermediate=False)
    assert passed(own, foreign) == pytest.approx(false[true >= 0.95].min())


def test_the_intervals_cover() -> None:
    g = np.random.default_rng(0)
    covered, sure = 0, 0
    from statistics import NormalDist

    truth = NormalDist().cdf(1 / math.sqrt(2))
    through = 1 - NormalDist().cdf(NormalDist().inv_cdf(0.05) + 1)
    for i in range(150):
        own, foreign = g.normal(1, 1, 150), g.normal(0, 1, 150)
        low, high = bootstrap({"": _areas(own, [foreign])}, resamples=400, seed=i)[""] or (1, 0)
        covered += low <= truth <= high
        between, _ = _passed_between(own, [foreign], passed(own, foreign), i)
        sure += between is not None and between[0] <= through <= between[1]
    assert covered >= 150 * 0.90 and sure >= 150 * 0.90


def test_scores_are_what_their_papers_say() -> None:
    one = subject()
    x = one.rows().x
    z = one.logits(x).double()  # type: ignore[misc]
    assert torch.allclose(energy(one, x), z.exp().sum(1).log())
    assert torch.allclose(probability(one, x), z.softmax(1).amax(1).log())
    blind = replace(one, logits=None, _kept={})
    assert torch.allclose(probability(blind, x), probability(one, x), atol=1e-6)


def test_the_distance_is_mahalanobis() -> None:
    one = subject()
    known = one.splits["train"]
    fitted = gaussians(one, known)
    assert not isinstance(fitted, str)
    f, x = known.x.double(), one.rows().x.double()  # the first layer is the identity
    means = torch.stack([f[known.y == c].mean(0) for c in range(3)])
    apart = f - means[known.y]
    inverse = torch.linalg.inv(apart.T @ apart / len(f))
    expected = torch.stack([((x - m) @ inverse * (x - m)).sum(1) for m in means], 1).amin(1).sqrt()
    assert torch.allclose(fitted.score(one, one.rows().x), -expected, rtol=1e-3)


def test_hooks_go_even_when_a_pass_fails() -> None:
    one = subject()
    head = last_layer(one, one.rows())
    assert head is one.model[1]  # type: ignore[index]
    with pytest.raises(RuntimeError):
        from sonde.audits.robustness._detectors import features

        features(one, head, torch.zeros(2, 7))
    assert all(not m._forward_pre_hooks for m in one.model.modules())


def test_foreign_rows_of_a_model_that_knows_its_own_are_noticed() -> None:
    found = measured(subject(), OutOfDistribution())
    assert found["mahalanobis/roc_auc"].value > 0.9 > 0.5
    assert found["mahalanobis/roc_auc"].interval is not None and found["softmax/roc_auc"].n == 120
    assert set(found) == {
        f"{s}/{m}" for s in ("softmax", "energy", "mahalanobis") for m in ("roc_auc", "false_positive_rate")
    }


def test_a_model_that_always_says_the_same_notices_nothing() -> None:
    x, y = blobs()
    net = nn.Linear(4, 3)
    net.weight.data.zero_()
    found = measured(Subject.of(net, x, y), OutOfDistribution())
    assert found["energy/roc_auc"].value == 0.5 and found["energy/false_positive_rate"].value == 1.0
    assert "training rows" in found["mahalanobis/roc_auc"].settings["omitted"]


def test_pictures_from_elsewhere_keep_what_they_should() -> None:
    x = torch.rand(6, 3, 8, 6, generator=torch.Generator().manual_seed(0)) * 4 - 1
    one = Subject.of(
        nn.Sequential(nn.Flatten(), nn.Linear(144, 2)), x, torch.zeros(6).long(), kind="image", bounds=(-1, 3)
    )
    found = elsewhere(one, x, "", torch.Generator().manual_seed(0))
    for name in ("shuffled pixels", "shuffled quarters"):
        assert torch.equal(found[name].flatten(2).sort(2).values, x.flatten(2).sort(2).values)
        assert not torch.equal(found[name], x)
    colours = found["shuffled pixels"].flatten(2)[0].T.tolist()
    assert sorted(colours) == sorted(x.flatten(2)[0].T.tolist())  # a pixel keeps its colour
    assert torch.allclose(found["negative"] + x, torch.tensor(2.0))
    assert all(-1 <= v.min() and v.max() <= 3 and v.shape == x.shape for v in found.values())
    assert fitted(torch.rand(6, 1, 28, 28), x, (-1, 3)).shape == x.shape


def test_another_data_set_comes_along() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.rand(30, 1, 12, 12, generator=g)
    net = nn.Sequential(nn.Flatten(), nn.Linear(144, 2))
    one = Subject.of(net, x, torch.arange(30) % 2, kind="image", bounds=(0.0, 1.0))
    assert "digits" in measured(one, OutOfDistribution(other="digits"))["softmax/roc_auc"].settings["over"]
    (done,) = run_audits(subject(), [OutOfDistribution(other="digits")])
    assert done.outcome == "refused" and "no pictures" in done.reason
    with pytest.raises(SondeError, match="too few"):
        OutOfDistribution(rows=1)


def test_sentences_from_elsewhere_have_the_same_words_or_none() -> None:
    x = Texts(["a good film", "", "so bad"])
    found = elsewhere(Subject.of(nn.Identity(), x, torch.zeros(3).long(), logits=lambda t: torch.zeros(len(t), 2)), x,
                      "", torch.Generator().manual_seed(0))  # fmt: skip
    assert set(found) == {"word salad", "no words"}
    words = {"a", "good", "film", "so", "bad"}
    for name, texts in found.items():
        assert isinstance(texts, Texts) and [len(t.split()) for t in texts] == [3, 0, 2], name
    assert {w for t in found["word salad"] for w in t.split()} <= words
    assert {c for t in found["no words"] for c in t} <= set("agoodfilmsobad ")
    assert not {w for t in found["no words"] for w in t.split()} <= words
    assert [[len(w) for w in t.split()] for t in found["no words"]] == [
        [len(w) for w in t.split()] for t in found["word salad"]
    ]


def test_tables_keep_their_columns_values() -> None:
    x = {
        "numeric": torch.tensor([[1.0, float("nan")], [2.0, 5.0], [3.0, 6.0]]),
        "categorical": torch.tensor([[1], [2], [2]]),
    }

    class Net(nn.Module):
        def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
            return torch.stack([numeric[:, 0], categorical[:, 0].float()], 1)

    one = Subject.of(Net(), x, torch.tensor([0, 1, 1]), kind="table")
    found = elsewhere(one, x, "", torch.Generator().manual_seed(0))
    assert found["shuffled columns"]["numeric"][:, 0].sort().values.tolist() == [1.0, 2.0, 3.0]
    assert set(found["even cells"]["categorical"].flatten().tolist()) <= {1, 2}
    numbers = found["even cells"]["numeric"]
    assert numbers[0, 1].isnan() and 1 <= numbers[:, 0].min() and numbers[:, 0].max() <= 3
    assert ((found["far numbers"]["numeric"][:, 0] - x["numeric"][:, 0]).abs() > 4).all()
    assert torch.equal(found["far numbers"]["categorical"], x["categorical"])
    assert (
        "linear layer"
        in measured(replace(one, splits={**one.splits, "train": one.splits["test"]}), OutOfDistribution())[
            "mahalanobis/roc_auc"
        ].settings["omitted"]
    )


def test_answers_that_are_no_numbers_leave_the_score_out() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.full((len(x), 2), math.nan)

    found = measured(Subject.of(Broken(), torch.rand(9, 3), torch.arange(9) % 2), OutOfDistribution())
    assert "not numbers" in found["softmax/roc_auc"].settings["omitted"]
