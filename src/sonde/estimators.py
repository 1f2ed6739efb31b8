"""Nets as scikit-learn estimators: `fit`, `predict`, pipelines and grid searches, on the one loop."""

# N rows, F columns, C classes, T targets

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from sonde.core import Objective

Array = NDArray[Any]

_SEEDS = 2**31 - 1
_AT_ONCE = 8192  # rows predicted at a time


class _Estimator(BaseEstimator):  # type: ignore[misc]
    """What both estimators are: a net, and the way there and back between arrays and tensors."""

    def __init__(
        self,
        net: str | Callable[[int, int], nn.Module] = "mlp",
        *,
        epochs: float = 50,
        batch_size: int = 64,
        lr: float = 3e-3,
        weight_decay: float = 0.01,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.net = net
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.device = device
        self.random_state = random_state

    def _learn(
        self, objective: Callable[[nn.Module], Objective], x: Array, y: Array, weight: Any, outputs: int
    ) -> Self:
        import torch

        from sonde.core import Budget, Engine, Run, fit, pick_device
        from sonde.data.rows import Rows
        from sonde.methods import adamw
        from sonde.optim.schedules import Cosine

        if weight is not None:
            weight = _check_sample_weight(weight, x, dtype=x.dtype, ensure_non_negative=True)
            keep = weight > 0  # a row of no weight is no row
            if not keep.any():
                raise ValueError("sample_weight is zero for every row; give some rows a weight above zero")
            x, y, weight = x[keep], y[keep], weight[keep] / weight[keep].mean()
        device = pick_device(self.device)
        # As precise as the numbers given, where the device can be: repeated and weighted rows then train alike.
        dtype = torch.float64 if x.dtype == np.float64 and device.type == "cpu" else torch.float32
        rows = _tensor(x).to(dtype)  # (N, F)
        truth = _tensor(y)
        truth = truth.to(dtype) if truth.is_floating_point() else truth
        seed = int(check_random_state(self.random_state).randint(_SEEDS))
        with _seeded(seed):
            model = objective(self._net(x.shape[1], outputs)).to(dtype)
            which = slice(None) if weight is None else _in_proportion(weight)
            _show_statistics(model, rows[which], truth[which])
            fields = {} if weight is None else {"weight": _tensor(weight).to(dtype)}
            run = Run(
                model,
                [adamw(lr=self.lr, weight_decay=self.weight_decay, schedule=Cosine(warmup=0.02))],
                Engine(device=self.device),
            )
            fit(run, Rows(rows, truth, self.batch_size, seed, fields), Budget(epochs=self.epochs))
        self.objective_ = model.eval()
        return self

    def _net(self, features: int, outputs: int) -> nn.Module:
        from torch import nn

        from sonde.nets import MLP, Linear

        if isinstance(self.net, str):
            if self.net == "mlp":
                return MLP((features,), outputs, widths=(128, 128))
            if self.net == "linear":
                return Linear((features,), outputs)
            raise ValueError(f"net must be 'mlp', 'linear' or a function of (features, outputs); got {self.net!r}")
        if isinstance(self.net, nn.Module) or not callable(self.net):
            raise TypeError(
                "net must make a new module from (features, outputs), so that every fit starts afresh: pass the class "
                f"or a function, not a {type(self.net).__name__}"
            )
        return self.net(features, outputs)

    def _predict(self, x: ArrayLike) -> Array:
        """What the objective predicts for rows (N, F): (N, C) or (N, T)."""
        import torch

        check_is_fitted(self)
        rows = _tensor(validate_data(self, x, reset=False, dtype=[np.float64, np.float32]))
        some = next(self.objective_.parameters())
        predict: Any = self.objective_.predict
        with torch.no_grad():
            parts = [predict(part.to(some.device, some.dtype)).cpu() for part in rows.split(_AT_ONCE)]
        return torch.cat(parts).numpy()  # type: ignore[no-any-return]


class SondeClassifier(ClassifierMixin, _Estimator):  # type: ignore[misc]
    """A net that classifies rows of numbers, as a scikit-learn estimator.

    net: "mlp" (two hidden layers of 128), "linear", or a function of (features, outputs) that makes an `nn.Module`
        from x (N, F) to logits (N, C). The nets named here normalise columns in their first layer.
    epochs: passes over the rows. batch_size: rows of a step. lr: AdamW's, lowered to zero by a cosine.
    weight_decay: AdamW's, of matrices. device: "auto", "cpu", "cuda", "mps".
    random_state: of the first weights and the order of rows; an int gives the same net every time.

    Missing values are refused: put an imputer before it in a `Pipeline`. On the CPU it computes in the precision of x.

    After `fit`: `classes_`, `n_features_in_`, `feature_names_in_` (for frames), `objective_` (an `nn.Module`).

    >>> from sklearn.datasets import load_iris
    >>> x, y = load_iris(return_X_y=True)
    >>> bool(SondeClassifier(epochs=20, device="cpu", random_state=0).fit(x, y).score(x, y) > 0.9)
    True
    """

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train on rows X (N, F) of classes y (N,), from new weights; a row counts `sample_weight` (N,) times."""
        from sonde.objectives import Classify

        rows, names = validate_data(self, X, y, dtype=[np.float64, np.float32])
        check_classification_targets(names)
        self.classes_, codes = np.unique(names, return_inverse=True)
        return self._learn(Classify, rows, codes, sample_weight, len(self.classes_))

    def predict_proba(self, X: ArrayLike) -> Array:
        """The probability of each class, (N, C), in the order of `classes_`."""
        return self._predict(X)

    def predict(self, X: ArrayLike) -> Array:
        """The most probable class of each row, (N,)."""
        most = self._predict(X).argmax(1)
        return self.classes_[most]  # type: ignore[no-any-return]


class SondeRegressor(MultiOutputMixin, RegressorMixin, _Estimator):  # type: ignore[misc]
    """A net that predicts numbers from rows of numbers, as a scikit-learn estimator.

    It minimises the mean squared error of standardised targets, and predicts in their own unit. net: as for
    `SondeClassifier`, from x (N, F) to outputs (N, T) that are standardised targets; the other parameters are its too.

    After `fit`: `n_outputs_`, `n_features_in_`, `feature_names_in_` (for frames), `objective_` (an `nn.Module`).

    >>> from sklearn.datasets import load_diabetes
    >>> x, y = load_diabetes(return_X_y=True)
    >>> bool(SondeRegressor("linear", epochs=20, device="cpu", random_state=0).fit(x, y).score(x, y) > 0.4)
    True
    """

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train on rows X (N, F) of targets y (N,) or (N, T), from new weights; a row counts `sample_weight` times."""
        from functools import partial

        from sonde.objectives import Regress

        rows, numbers = validate_data(self, X, y, dtype=[np.float64, np.float32], multi_output=True, y_numeric=True)
        self._flat = numbers.ndim == 1
        numbers = numbers.reshape(len(numbers), -1).astype(rows.dtype, copy=False)  # (N, T)
        self.n_outputs_ = numbers.shape[1]
        return self._learn(partial(Regress, targets=self.n_outputs_), rows, numbers, sample_weight, self.n_outputs_)

    def predict(self, X: ArrayLike) -> Array:
        """The predicted targets, (N,) or (N, T) as in `fit`."""
        values = self._predict(X)
        return values[:, 0] if self._flat else values


def _tensor(x: Any) -> Tensor:
    import torch

    return torch.from_numpy(np.require(x, requirements=["C", "W"]))  # torch shares memory only with what it may write


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Torch's global generators, seeded within and as they were afterwards."""
    import torch

    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def _in_proportion(weight: Array) -> Array:
    """Row numbers, each as often as its weight says: exactly if weights are multiples of one of them, else nearly."""
    times = weight / weight.min()
    whole = np.allclose(times, times.round(), rtol=0, atol=1e-5) and times.sum() <= 100 * len(weight)
    count = int(times.round().sum()) if whole else 10 * len(weight)
    ends = np.cumsum(times)
    return np.searchsorted(ends, (np.arange(count) + 0.5) * ends[-1] / count)


def _show_statistics(model: torch.nn.Module, x: Tensor, y: Tensor) -> None:
    """Show the training rows to the layers that normalise by them."""
    import torch

    with torch.no_grad():
        module: Any
        for module in model.modules():
            if hasattr(module, "fit_input"):
                module.fit_input(x)
            if hasattr(module, "fit_target"):
                module.fit_target(y)
