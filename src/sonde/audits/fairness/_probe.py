"""How well an attribute can be told from columns: predictions for rows that were not fitted on, and their AUC."""

# N rows, D columns, G groups, L layers' width

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sonde.core import SondeError, Subject
from sonde.core.batch import Batch, map_tree

from ..quality.classification import _auc
from ..quality.intervals import Interval, bootstrap
from ._rows import Array

FOLDS = 5
WIDE = 64  # directions that a wider representation is reduced to
Fit = Callable[[], Any]


def several() -> Any:
    """The mean of what gradient-boosted trees and a logistic regression guess: curved and straight relations."""
    from sklearn.ensemble import HistGradientBoostingClassifier, VotingClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    trees = HistGradientBoostingClassifier(
        max_iter=60, learning_rate=0.1, max_leaf_nodes=8, min_samples_leaf=20, early_stopping=False, random_state=0
    )
    filled = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), linear())
    return VotingClassifier([("trees", trees), ("linear", filled)], voting="soft")


def linear() -> Any:
    """Logistic regression of standardised columns: what one more layer could read (Alain and Bengio, 2016)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=200, tol=1e-3))


def bins() -> Any:
    """One small tree: any shape over a single column."""
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(max_leaf_nodes=16, min_samples_leaf=10, random_state=0)


def recovered(columns: Array, codes: Array, fit: Fit, folds: int = FOLDS) -> tuple[float, Interval | None]:
    """The area under the ROC curve of guesses of `codes` for rows that were not fitted on, and its interval.

    columns: (N, D). codes: (N,) of 0..G-1, each of which at least `folds` rows have. Of more than two groups, the mean
    over one against the rest. The interval is that of these guesses (DeLong et al., 1988, by the bootstrap); guesses
    after fitting on more rows would be better ones.
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import StratifiedKFold

    p = np.zeros((len(codes), int(codes.max()) + 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a probe that is nearly fitted guesses nearly as well
        for train, test in StratifiedKFold(folds, shuffle=True, random_state=0).split(columns, codes):
            p[test] = fit().fit(columns[train], codes[train]).predict_proba(columns[test])
    statistic, _ = _auc(p, codes)
    if statistic is None:
        return float("nan"), None
    return statistic.value, bootstrap({"": statistic})[""]


def narrowed(columns: Array) -> Array:
    """Wide columns along their first principal directions, (N, at most 64)."""
    if columns.shape[1] <= WIDE:
        return columns
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x = torch.from_numpy(columns - columns.mean(0)).double()
        _, _, directions = torch.pca_lowrank(x, q=min(WIDE, *x.shape), center=False, niter=2)
    return np.asarray((x @ directions).numpy())


def representation(subject: Subject, x: Any) -> Array:
    """What the last layer with weights reads for each row, (N, L): flattened.

    Raises SondeError where the model has no such layer, or where what it reads has other rows.
    """
    n = len(Batch(x))
    parts = []
    for i in range(0, n, subject.rows_at_once):
        piece = map_tree(lambda t, i=i: t[i : i + subject.rows_at_once], x)  # type: ignore[misc]
        rows = len(Batch(piece))
        with torch.no_grad(), listening(subject.model) as heard:
            subject.predict(piece)
        if not heard:
            raise SondeError("the model has no layer with weights that is asked", "audit the features alone")
        last = heard[-1]
        if not len(last) or len(last) % rows:
            raise SondeError("what the last layer reads has other rows than the input", "audit the features alone")
        parts.append(last.reshape(rows, -1).float().cpu())
    return torch.cat(parts).numpy()  # type: ignore[no-any-return]


@contextmanager
def listening(model: nn.Module) -> Iterator[list[Tensor]]:
    """The inputs of the model's layers with weight matrices, in the order they are asked; no hook is left behind."""
    heard: list[Tensor] = []

    def hear(module: nn.Module, given: tuple[Any, ...]) -> None:
        if given and isinstance(given[0], Tensor) and given[0].is_floating_point():
            heard[:] = [given[0].detach()]  # the last one alone is wanted

    def layer(module: nn.Module) -> bool:
        own = list(module.parameters(recurse=False))
        return isinstance(module, nn.Linear) or (not list(module.children()) and any(p.dim() >= 2 for p in own))

    handles = [m.register_forward_pre_hook(hear) for m in model.modules() if layer(m)]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()
