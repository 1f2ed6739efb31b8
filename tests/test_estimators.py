"""The scikit-learn estimators: its own checks, and what they promise beyond them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

from sonde.estimators import SondeClassifier, SondeRegressor


@parametrize_with_checks(
    [SondeClassifier(device="cpu"), SondeRegressor(device="cpu")], expected_failed_checks=lambda estimator: {}
)
def test_scikit_learn_accepts_the_estimators(estimator, check):
    check(estimator)


def test_iris_and_diabetes_are_learned():
    x, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    model = SondeClassifier(device="cpu", random_state=0).fit(x[::2], names[::2])
    assert list(model.classes_) == ["setosa", "versicolor", "virginica"] and model.score(x[1::2], names[1::2]) > 0.9
    x, y = load_diabetes(return_X_y=True)
    assert cross_val_score(SondeRegressor("linear", device="cpu", random_state=0), x, y, cv=3).mean() > 0.4


def test_pipelines_and_grid_searches_reach_its_parameters():
    x, y = load_breast_cancer(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), SondeClassifier(epochs=2, device="cpu", random_state=0))
    search = GridSearchCV(pipeline, {"sondeclassifier__lr": [1e-5, 1e-2]}, cv=2).fit(x[::2], y[::2])
    assert search.best_params_ == {"sondeclassifier__lr": 1e-2} and search.score(x[1::2], y[1::2]) > 0.9
    assert pipeline.set_params(sondeclassifier__epochs=3).get_params()["sondeclassifier__epochs"] == 3


def test_the_same_seed_gives_the_same_net_and_leaves_the_global_generators_alone():
    x, y = load_iris(return_X_y=True)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, second = (SondeClassifier(epochs=3, device="cpu", random_state=1).fit(x, y) for _ in range(2))
    assert (first.predict_proba(x) == second.predict_proba(x)).all()
    assert torch.equal(torch.get_rng_state(), before[0]) and (np.random.get_state()[1] == before[1]).all()
    other = SondeClassifier(epochs=3, device="cpu", random_state=2).fit(x, y)
    assert not np.allclose(first.predict_proba(x), other.predict_proba(x))


def test_frames_are_read_by_name():
    x, y = load_iris(return_X_y=True, as_frame=True)
    model = SondeClassifier(epochs=2, device="cpu", random_state=0).fit(x, y)
    assert list(model.feature_names_in_) == list(x.columns) and model.n_features_in_ == 4
    with pytest.raises(ValueError, match="feature names"):
        model.predict(x.rename(columns={x.columns[0]: "other"}))
    assert isinstance(x, pd.DataFrame)


def test_the_user_may_bring_a_net():
    def wide(features, outputs):
        return nn.Sequential(nn.Linear(features, 32), nn.Tanh(), nn.Linear(32, outputs))

    x, y = load_iris(return_X_y=True)
    model = clone(SondeClassifier(wide, epochs=30, lr=1e-2, device="cpu", random_state=0)).fit(x, y)
    assert model.score(x, y) > 0.9 and isinstance(model.objective_.net[1], nn.Tanh)


@pytest.mark.parametrize(
    ("net", "error", "words"),
    [
        ("resnet", ValueError, "'mlp', 'linear'"),
        (nn.Linear(4, 3), TypeError, "not a Linear"),
        (3, TypeError, "an? int"),
    ],
    ids=["name", "module", "number"],
)
def test_a_net_that_cannot_be_made_is_refused(net, error, words):
    with pytest.raises(error, match=words):
        SondeClassifier(net, device="cpu").fit(np.eye(4)[:3], [0, 1, 2])


def test_weights_are_repetitions_in_every_precision():
    g = np.random.default_rng(0)
    x, y, w = g.normal(size=(12, 3)), g.normal(size=12), g.integers(0, 4, 12)
    for kind, tolerance in ((np.float64, 1e-9), (np.float32, 1e-3)):  # rounding, grown over 50 steps
        model = SondeRegressor(device="cpu", random_state=0)
        weighted = clone(model).fit(x.astype(kind), y, sample_weight=w).predict(x.astype(kind))
        repeated = clone(model).fit(np.repeat(x.astype(kind), w, 0), np.repeat(y, w)).predict(x.astype(kind))
        assert weighted.dtype == kind
        assert np.allclose(weighted, repeated, atol=tolerance)


def test_any_weights_train():
    x, y = load_iris(return_X_y=True)
    w = np.random.default_rng(0).random(150) + 1e-3
    assert SondeClassifier(device="cpu", random_state=0).fit(x, y, sample_weight=w).score(x, y) > 0.9
    with pytest.raises(ValueError, match="zero"):
        SondeClassifier(device="cpu").fit(x, y, sample_weight=np.zeros(150))


def test_several_targets_are_predicted_in_their_own_units():
    g = np.random.default_rng(0)
    x = g.normal(size=(200, 3))
    y = np.stack([x[:, 0], 1e4 * x[:, 1] + 1e6], 1)
    model = SondeRegressor("linear", epochs=100, lr=1e-2, weight_decay=0.0, device="cpu", random_state=0).fit(x, y)
    assert model.predict(x).shape == (200, 2) and model.n_outputs_ == 2 and model.score(x, y) > 0.99


def test_an_unfitted_estimator_says_so():
    with pytest.raises(NotFittedError):
        SondeRegressor().predict([[1.0]])
