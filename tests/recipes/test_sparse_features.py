"""AdaGrad on sparse rows, small: the regret is what a hand-written learner has, and stays within its bound."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from sonde.data.rows import Rows
from sonde.recipes import sparse_features
from sonde.recipes.sparse_features import BagOfWords, in_hindsight, rare, read, regret, sentences

TEXTS = {
    "train": [("good good film", 1), ("bad film", 0), ("good fun", 1), ("bad bore", 0)] * 4,
    "val": [("good unseen", 1), ("bad", 0)],
    "test": [("fun", 1), ("bore", 0)],
}


def test_common_features_are_first_and_rare_ones_last() -> None:
    x, y = rare(4000, 100, seed=0)
    share = x.mean(0)
    assert float(share[0]) == pytest.approx(0.5, abs=0.03) and float(share[99]) == pytest.approx(0.02, abs=0.01)
    assert 0.2 < float(y.double().mean()) < 0.8
    assert all(map(torch.equal, rare(50, 10, 1), rare(50, 10, 1)))


@pytest.mark.parametrize("rule", ["SGD", "AdaGrad"])
def test_regret_is_that_of_a_learner_written_by_hand(rule: str) -> None:
    rows, features, lr, seed = 60, 20, 0.3, 5
    x, y = rare(rows, features, seed)
    best = in_hindsight(rows, features, seed)
    w, squares, total = torch.zeros(features), torch.zeros(features), 0.0
    source = iter(Rows(x, y, batch_size=1, seed=seed).batches(None))
    for _ in range(rows):
        batch = next(source)
        z, target = batch.x[0] @ w, batch.y.float()[0]
        ours, theirs = (F.binary_cross_entropy_with_logits(a, target) for a in (z, batch.x[0] @ best))
        total += float(ours - theirs)
        g = (torch.sigmoid(z) - target) * batch.x[0]
        squares += g**2
        w = w - lr * (g / (squares.sqrt() + 1e-10) if rule == "AdaGrad" else g)
    assert float(regret(rule, lr, seed, rows, features).course[-1]) == pytest.approx(total, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("lr", [0.03, 0.3, 3.0])
def test_the_bound_holds_at_any_rate(lr: float) -> None:
    assert regret("AdaGrad", lr, seed=1, rows=200, features=40).over_bound <= 1.0


def test_hindsight_is_better_than_nothing_and_is_stationary() -> None:
    x, y = rare(300, 30, 2)
    w = in_hindsight(300, 30, 2).requires_grad_()
    loss = F.binary_cross_entropy_with_logits(x @ w, y.float()) + 1e-3 * w.square().sum() / 2
    (slope,) = torch.autograd.grad(loss, [w])
    assert float(slope.abs().max()) < 1e-3 and float(loss.detach()) < 0.69


def test_sentences_are_bags_of_training_words() -> None:
    data = sentences(TEXTS)
    assert data.words == 1 + len({"good", "film", "bad", "fun", "bore"})
    first = data.batch(data.splits["train"][:1])
    assert int((first.x > 0).sum()) == 2  # good counts once
    assert int((data.batch(data.splits["val"][:1]).x > 0).sum()) == 1  # a word that training rows lack has no number
    assert first.y.tolist() == [1]


def test_padding_weighs_nothing() -> None:
    net = BagOfWords(5)
    torch.nn.init.normal_(net.weight.weight)
    torch.testing.assert_close(net(torch.tensor([[1, 2, 0, 0]])), net(torch.tensor([[1, 2]])))


def test_words_are_learnt() -> None:
    found = read(sentences(TEXTS), "AdaGrad", 0.5, seed=0, epochs=10)
    assert found.test["accuracy"] == 1.0 and found.test["nll"] < 0.3


def test_without_a_mirror_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from sonde.core import SondeError

    monkeypatch.setattr(sparse_features, "places", lambda name, file: [])
    with pytest.raises(SondeError, match="sst2/train.tsv is not on this machine"):
        sparse_features.sst2()
