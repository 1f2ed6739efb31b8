"""Validation measures what scikit-learn defines, and linear models reach the optima that scikit-learn finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn import metrics
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor, nn

from sonde.core import Batch, Budget, Method, Run, fit
from sonde.data.rows import Rows
from sonde.methods import sgd
from sonde.methods.observe.validate import mean_scores
from sonde.objectives import Classify, Multilabel, Regress
from sonde.optim.schedules import Cosine
from tests.support import L2, blobs, mlp

N = 50


def scores(objective: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    with torch.no_grad():
        return mean_scores(objective.eval(), [Batch(x[i], y[i]) for i in torch.arange(N).split(16)])  # type: ignore[arg-type]


@pytest.mark.parametrize("members", [1, 4])
def test_the_scores_of_a_classifier(members: int) -> None:
    x, y = blobs(N)
    net = mlp(4, 3 * members).append(nn.Unflatten(1, (members, 3))).double() if members > 1 else mlp(4, 3).double()
    objective = Classify(net)
    found = scores(objective, x.double(), y)
    p = objective.predict(x.double()).detach().numpy()
    assert found["nll"] == pytest.approx(metrics.log_loss(y, p), rel=1e-12)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(y, p.argmax(1)))


def test_the_scores_of_several_labels() -> None:
    x, y = blobs(N)
    labels = torch.stack([y == 0, y > 0], 1).double()
    objective = Multilabel(mlp(4, 2).double())
    found = scores(objective, x.double(), labels)
    p = objective.predict(x.double()).detach().numpy()
    assert found["exact"] == pytest.approx(metrics.accuracy_score(labels, p > 0.5))
    assert found["accuracy"] == pytest.approx(1 - metrics.hamming_loss(labels, p > 0.5))
    assert found["loss"] == pytest.approx(np.mean([metrics.log_loss(labels[:, i], p[:, i]) for i in (0, 1)]), rel=1e-12)


def test_the_scores_of_a_regression() -> None:
    x, _ = blobs(N)
    y = 30 + 5 * torch.randn(N, 2, dtype=torch.float64)
    objective = Regress(mlp(4, 2), targets=2).double()
    objective.fit_target(y)
    found = scores(objective, x.double(), y)
    p = objective.predict(x.double()).detach()
    assert found["mse"] == pytest.approx(metrics.mean_squared_error(y, p), rel=1e-12)
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(y, p), rel=1e-12)


class Shrink(L2):
    """The penalty on the weights alone, as scikit-learn's: its intercept is free."""

    def loss(self, at, loss):  # type: ignore[no-untyped-def]
        value = at.params["net.weight"].pow(2).sum()
        return loss.with_term("l2", type(next(iter(loss.terms.values())))(value, "penalty", self.strength / 2))


def optimum(run: Run, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    fit(run, Rows(x, y, batch_size=N), Budget(steps=3000))
    return {k: p.detach() for k, p in run.params("model").items()}


def test_a_penalised_linear_classifier_reaches_the_optimum() -> None:
    x, y = blobs(N)
    x = x.double()
    methods: list[Method] = [Shrink(0.1), sgd(0.1, schedule=Cosine())]
    found = optimum(Run(Classify(nn.Linear(4, 3).double()), methods), x, y)
    reference = LogisticRegression(C=1 / (0.1 * N), tol=1e-10, max_iter=10_000).fit(x, y)
    torch.testing.assert_close(found["net.weight"], torch.from_numpy(reference.coef_), rtol=0, atol=1e-5)
    p = F.softmax(x @ found["net.weight"].T + found["net.bias"], dim=1)
    torch.testing.assert_close(p, torch.from_numpy(reference.predict_proba(x)), rtol=0, atol=1e-6)


def test_a_penalised_linear_regression_reaches_the_optimum() -> None:
    x, _ = blobs(N)
    x = x.double()
    y = x @ torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64)[:, None] + 0.1 * torch.randn(N, 1).double()
    methods: list[Method] = [Shrink(0.2), sgd(0.02, schedule=Cosine())]
    found = optimum(Run(Regress(nn.Linear(4, 1)).double(), methods), x, y)  # type: ignore[arg-type]
    reference = Ridge(alpha=0.1 * N).fit(x, y)  # mean squared error + 0.1 |w|^2
    torch.testing.assert_close(
        found["net.weight"].flatten(), torch.from_numpy(reference.coef_).flatten(), rtol=0, atol=1e-6
    )
