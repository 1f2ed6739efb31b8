"""What simpler models reach on the same rows: the class frequencies, a linear model, gradient-boosted trees.

Each is trained on exactly the training rows that the net had, and measured on the same test rows in the same way. The
validation rows do for the trees what they do for the net: they say when to stop. Settings are fixed, not searched.
"""

# n rows, C classes, L labels, T targets

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sonde.core import Measure

from ._inputs import LINEAR_PIXELS, TREE_PIXELS, Inputs, for_linear, for_trees, training_rows, width
from .intervals import Array, Comparison, compare
from .task import COMPARED, measure, scores

if TYPE_CHECKING:
    from sonde.data.dataset import Dataset

# Work that a slow core does in a second, from which follows how many rows fit into a time. A fixed number and no
# clock, so that the same data give the same rows on every machine.
MULTIPLICATIONS = 6e9  # of a linear model's solver
VISITS = 5e7  # of a row's inputs by a tree
ITERATIONS = 200  # of the solver; what has not converged by then says so
TABLE_ROUNDS, IMAGE_ROUNDS = 100, 40  # of boosting that are foreseen; more are done while they help and time remains
MOST_ROUNDS, ROUNDS, PATIENCE = 1000, 10, 2  # boosting goes on by 10 rounds until twice in a row they do not help,
HELP = 2e-3  # that is, lower the loss by this share of it


@dataclass(frozen=True, eq=False)
class Baseline:
    """A simpler model on the same rows.

    description: what it is. note: whole sentences on what was cut short or left out, or "".
    prediction: on the test rows, as an objective's `predict`. seconds: of training and predicting.
    comparison: the net against it (the net is the first), where the net's prediction was given.
    verdict: the comparison in words.
    """

    name: str
    description: str
    measures: tuple[Measure, ...]
    seconds: float
    note: str
    prediction: Tensor
    comparison: Comparison | None = None
    verdict: str = ""


def baselines(data: Dataset, budget_seconds: float = 60.0, prediction: Tensor | None = None) -> list[Baseline]:
    """Train and measure the baselines of a data set.

    budget_seconds: for all of them together. What would take longer is trained on fewer rows, and its note says so.
    prediction: the net's on the test rows, in their order; each baseline is then compared with it row by row.

    None are returned for a data set that has no training rows or no test rows.
    """
    if not len(data.splits["train"]) or not len(data.splits["test"]):
        return []
    found = [_timed(data, _frequencies, 0.0, prediction)]
    found.append(_timed(data, _linear, 0.3 * budget_seconds, prediction))
    found.append(_timed(data, _trees, 0.6 * budget_seconds, prediction))
    return found


Fitted = tuple[str, str, str, Tensor]  # name, description, note, prediction


def _timed(data: Dataset, train: Callable[[Dataset, float], Fitted], seconds: float, net: Tensor | None) -> Baseline:
    before = time.perf_counter()
    name, description, note, prediction = train(data, seconds)
    took = time.perf_counter() - before
    comparison, verdict = None, ""
    if net is not None:
        comparison = compare(scores(data, net), scores(data, prediction))
        verdict = in_words(comparison, COMPARED[data.task], percent=data.task != "regression")
    return Baseline(name, description, tuple(measure(data, prediction)), took, note, prediction, comparison, verdict)


def in_words(comparison: Comparison, quantity: str, percent: bool) -> str:
    """A net against a baseline, in one sentence.

    >>> in_words(Comparison(0.021, (0.012, 0.030), 0.0001, True, 1000), "accuracy", percent=True)
    'The net is better: 2.1 points of accuracy (95 % interval 1.2 to 3.0).'
    >>> in_words(Comparison(0.035, (0.009, 0.088), 0.13, False, 114), "accuracy", percent=True)[-62:]
    "(95 % interval 0.9 to 8.8), but McNemar's test gives p = 0.13."
    """
    scale, places, of = (100, 1, f"points of {quantity}") if percent else (1, 3, f"of {quantity}")
    interval = comparison.interval
    sign = -1 if comparison.winner == "second" else 1
    ends = ""
    if interval is not None:
        low, high = (f"{sign * scale * end:.{places}f}" for end in interval[::sign])
        ends = f" (95 % interval {low} to {high})".replace("-", "\u2212")
    amount = f"{sign * scale * comparison.difference:.{places}f} {of}".replace("-", "\u2212")
    if comparison.winner == "neither":
        torn = interval is not None and comparison.p is not None and not interval[0] <= 0 <= interval[1]
        why = f", but McNemar's test gives p = {comparison.p:.2f}" if torn else ""  # the stricter of the two decides
        return f"Not distinguishable from the net on these {comparison.n:,} rows: {amount}{ends}{why}."
    return f"The net is {'better' if sign > 0 else 'worse'}: {amount}{ends}."


# ---------------------------------------------------------------- class frequencies, or the mean
def _frequencies(data: Dataset, seconds: float) -> Fitted:
    y, n = data.y[data.splits["train"]], len(data.splits["test"])
    if data.task == "classification":
        shares = torch.bincount(y, minlength=len(data.classes)).double() / max(1, len(y))
        text = "Always answers the most frequent class of the training rows, with their frequencies as probabilities."
        return "majority class", text, "", shares.expand(n, -1)
    middle = y.double().mean(0) if len(y) else torch.zeros(y.shape[1], dtype=torch.float64)
    if data.task == "multilabel":
        return "label frequencies", "Gives every row the frequency of each label in training.", "", middle.expand(n, -1)
    return "mean", "Always answers the mean of the training rows.", "", middle.expand(n, -1)


# ---------------------------------------------------------------- linear
def _linear(data: Dataset, seconds: float) -> Fitted:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, Ridge

    # Multiplications a row: two products in each step, and one step in ten is tried twice.
    work = 4.4 * ITERATIONS * width(data, LINEAR_PIXELS) * _outputs(data)
    train, few = training_rows(data, max(500, int(seconds * MULTIPLICATIONS / work)))
    inputs, y = for_linear(data, train), data.y[train].numpy()
    images = isinstance(data.x, Tensor)
    read = (
        "pixels" if images else "numbers, standardised (medians for missing ones, and a mark), and one-hot categories"
    )
    slow = ""
    if data.task == "regression":
        name, description = "linear regression", f"Ridge regression (strength 1) on {read}."
        prediction = Ridge(alpha=1.0).fit(inputs.rows["train"], y).predict(inputs.rows["test"])
        prediction = prediction.reshape(len(data.splits["test"]), -1)
    else:
        name, description = "logistic regression", f"Logistic regression (l2, C = 1) on {read}."
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")

            def answer(column: int, truth: Array) -> Array:
                model = LogisticRegression(C=1.0, max_iter=ITERATIONS).fit(inputs.rows["train"], truth)
                return model.predict_proba(inputs.rows["test"])  # type: ignore[no-any-return]

            prediction = _probabilities(data, y, answer)
        if any(issubclass(w.category, ConvergenceWarning) for w in said):
            slow = f"Its solver was stopped after {ITERATIONS} steps, before it had converged."
    note = " ".join(part for part in (few, inputs.note, slow, _one_class(data, y)) if part)
    return name, description, note, torch.from_numpy(np.asarray(prediction, float))


# ---------------------------------------------------------------- gradient-boosted trees
def _trees(data: Dataset, seconds: float) -> Fitted:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    images = isinstance(data.x, Tensor)
    work = width(data, TREE_PIXELS) * (IMAGE_ROUNDS if images else TABLE_ROUNDS) * _outputs(data)
    train, few = training_rows(data, max(500, int(seconds * VISITS / work)))
    inputs, y = for_trees(data, train), data.y[train].numpy()
    val = data.y[data.splits["val"]].numpy()
    end = time.perf_counter() + seconds
    late: list[int] = []
    settings: dict[str, Any] = {
        "learning_rate": 0.2 if images else 0.1,
        "max_leaf_nodes": 31 if images else 15,
        "max_bins": 32 if images else 255,
        "l2_regularization": 1.0,
        "early_stopping": False,
        "warm_start": True,
        "random_state": 0,
    }
    settings["categorical_features"] = list(inputs.categorical) or None
    parts = 1 if data.task == "classification" else y.shape[1]

    def boosted(kind: Any, ask: str, column: int, truth: Array) -> Array:
        share = (end - time.perf_counter()) / (parts - column)
        held = val if data.task == "classification" else val[:, column]
        prediction, in_time = _boost(kind(**settings), ask, inputs, truth, held, time.perf_counter() + share)
        if not in_time:
            late.append(column)
        return prediction

    with _fewer_threads():
        if data.task == "regression":
            columns = [boosted(HistGradientBoostingRegressor, "predict", t, y[:, t]) for t in range(parts)]
            prediction = np.stack(columns, 1)
        else:
            prediction = _probabilities(data, y, partial(boosted, HistGradientBoostingClassifier, "predict_proba"))
    stopped = "Its time was up while more trees still helped." if late else ""
    note = " ".join(part for part in (few, inputs.note, stopped, _one_class(data, y)) if part)
    read = "pixels" if images else "numbers and categories as they are, missing values included"
    description = f"Histogram gradient-boosted trees on {read}; the validation rows say when to stop."
    return "gradient-boosted trees", description, note, torch.from_numpy(np.asarray(prediction, float))


def _boost(model: Any, ask: str, inputs: Inputs, y: Array, val: Array, end: float) -> tuple[Array, bool]:
    """Add trees while they lower the loss on the validation rows; the test rows' answers, and whether time sufficed."""
    best, rounds, waited, done = np.inf, 0, 0, 0
    loss = _squared if ask == "predict" else _surprise
    some = bool(len(val))
    while done < (MOST_ROUNDS if some else TABLE_ROUNDS):
        done, before = done + ROUNDS, time.perf_counter()
        model.set_params(max_iter=done).fit(inputs.rows["train"], y)
        value = loss(model, inputs.rows["val"], val) if some else -done
        best, rounds, waited = (value, done, 0) if value < (1 - HELP) * best else (best, rounds, waited + 1)
        if waited >= PATIENCE:
            break
        if (now := time.perf_counter()) + (now - before) > end:  # the next rounds would come too late
            return _at(model, ask, inputs.rows["test"], rounds), False
    return _at(model, ask, inputs.rows["test"], rounds), True


def _at(model: Any, ask: str, x: Array, rounds: int) -> Array:
    """The answers with the first `rounds` rounds of trees."""
    stages = getattr(model, f"staged_{ask}")(x)
    return np.asarray(next(islice(stages, rounds - 1, None)))


def _squared(model: Any, x: Array, y: Array) -> float:
    return float(np.mean((model.predict(x) - y) ** 2))


def _surprise(model: Any, x: Array, y: Array) -> float:
    known = np.isin(y, model.classes_)
    p = model.predict_proba(x[known])[np.arange(known.sum()), np.searchsorted(model.classes_, y[known])]
    return float(-np.log(np.maximum(p, 1e-12)).mean()) if known.any() else 0.0


@contextmanager
def _fewer_threads() -> Iterator[None]:
    """Half the processors: boosting's threads wait for each other so often that one held up costs tenfold."""
    from threadpoolctl import threadpool_limits

    most = min(torch.get_num_threads(), max(1, (os.cpu_count() or 2) // 2))
    with threadpool_limits(limits=most, user_api="openmp"):
        yield


# ---------------------------------------------------------------- shared
def _outputs(data: Dataset) -> int:
    """How many functions a model of this data learns."""
    c = len(data.classes)
    if data.task == "classification":
        return 1 if c <= 2 else c
    return data.y.shape[1]


def _probabilities(data: Dataset, y: Array, answer: Callable[[int, Array], Array]) -> Array:
    """(n, C) or (n, L) from `answer(column, y)`, which knows only the classes it is shown; one alone is certain."""
    n = len(data.splits["test"])
    if data.task == "classification":
        seen = np.unique(y)
        p = np.zeros((n, len(data.classes)))
        p[:, seen] = answer(0, y) if len(seen) > 1 else 1.0
        return p
    labels = []
    for column, label in enumerate((y > 0.5).astype(int).T):
        same = len(np.unique(label)) < 2
        labels.append(np.full(n, float(label[0])) if same else answer(column, label)[:, 1])
    return np.stack(labels, 1)


def _one_class(data: Dataset, y: Array) -> str:
    if data.task == "classification" and len(np.unique(y)) < 2:
        return "The training rows have one class only, which it always answers."
    if data.task == "multilabel" and (alone := int(((y > 0.5).all(0) | (y <= 0.5).all(0)).sum())):
        return f"Of {y.shape[1]} labels, {alone} are the same in every training row, and so are its answers."
    return ""
