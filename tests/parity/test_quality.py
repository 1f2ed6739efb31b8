"""Quality measures against scikit-learn, where both define the same number."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics

from sonde.audits.quality import classification, confusion, multilabel, per_class, regression


def values(measures):
    return {m.name.removeprefix("quality/"): m.value for m in measures}


def answers(n, c, g):
    logits = torch.randn(n, c, generator=g, dtype=torch.float64).mul(2).round(decimals=1)  # ties
    return logits.softmax(1), torch.multinomial(logits.mul(0.7).softmax(1), 1, generator=g).squeeze(1)


@pytest.mark.parametrize(("n", "c"), [(40, 2), (1000, 2), (300, 3), (2000, 10)])
def test_classification_agrees_with_scikit_learn(n, c, generator):
    p, y = answers(n, c, generator)
    found = values(classification(p, y, [str(i) for i in range(c)]))
    q, t, guess = p.numpy(), y.numpy(), p.argmax(1).numpy()
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(t, guess), abs=1e-12)
    assert found["nll"] == pytest.approx(metrics.log_loss(t, q), abs=1e-12)
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(t, guess, average="macro"), abs=1e-12)
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(t, guess), abs=1e-12)
    area = metrics.roc_auc_score(t, q[:, 1] if c == 2 else q, multi_class="ovr")
    assert found["roc_auc"] == pytest.approx(area, abs=1e-12)


def test_the_classes_agree_with_scikit_learn(generator):
    p, y = answers(500, 4, generator)
    t, guess = y.numpy(), p.argmax(1).numpy()
    assert (confusion(p, y, "abcd").numpy() == metrics.confusion_matrix(t, guess)).all()
    precision, recall, _, n = metrics.precision_recall_fscore_support(t, guess)
    table = per_class(p, y, "abcd")
    assert [c.precision for c in table] == pytest.approx(list(precision), abs=1e-12)
    assert [c.recall for c in table] == pytest.approx(list(recall), abs=1e-12)
    assert [c.n for c in table] == list(n)


def test_multilabel_agrees_with_scikit_learn(generator):
    y = (torch.rand(400, 5, generator=generator) > 0.7).float()
    y[:, 4] = 0  # a label that neither occurs nor is given
    p = 0.5 * y + 0.7 * torch.rand(400, 5, generator=generator)
    p[:, 4] = 0.1
    t, guess = y.numpy().astype(int), (p > 0.5).numpy().astype(int)
    found = values(multilabel(p, y, "abcde"))
    assert found["micro_f1"] == pytest.approx(metrics.f1_score(t, guess, average="micro"), abs=1e-12)
    macro = metrics.f1_score(t, guess, average="macro", zero_division=np.nan)
    assert found["macro_f1"] == pytest.approx(macro, abs=1e-12)
    assert found["exact_match"] == pytest.approx(metrics.accuracy_score(t, guess), abs=1e-12)
    assert found["label_accuracy"] == pytest.approx(1 - metrics.hamming_loss(t, guess), abs=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_regression_agrees_with_scikit_learn(offset, generator):
    y = 50 * torch.randn(300, 2, generator=generator, dtype=torch.float64) + offset
    guess = y + torch.randn(300, 2, generator=generator, dtype=torch.float64)
    found = values(regression(guess, y, ["a", "b"]))
    for i, name in enumerate("ab"):
        t, g = y[:, i].numpy(), guess[:, i].numpy()
        assert found[f"rmse/{name}"] == pytest.approx(metrics.root_mean_squared_error(t, g), abs=1e-12)
        assert found[f"mae/{name}"] == pytest.approx(metrics.mean_absolute_error(t, g), abs=1e-12)
        assert found[f"r2/{name}"] == pytest.approx(metrics.r2_score(t, g), abs=1e-12)
    assert found["r2"] == pytest.approx(metrics.r2_score(y.numpy(), guess.numpy()), abs=1e-12)
