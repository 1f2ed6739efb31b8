"""A data set's inputs as matrices that linear models and trees read."""

# N rows, F numeric and K categorical columns, D inputs

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .intervals import Array

if TYPE_CHECKING:
    from sonde.data.dataset import Dataset

LINEAR_PIXELS, TREE_PIXELS = 1024, 400  # of an image, at most; more are averaged in squares
CATEGORIES = 254  # the most that HistGradientBoosting tells apart in a column, which has 255 bins


@dataclass(frozen=True)
class Inputs:
    """Rows by split, and which of their columns hold codes."""

    rows: dict[str, Any]  # split -> (n, D), dense or sparse
    categorical: tuple[int, ...] = ()
    note: str = ""


def training_rows(data: Dataset, most: int) -> tuple[Tensor, str]:
    """At most `most` of the training rows (n,), drawn with a fixed seed, and a sentence if some are left out."""
    train = data.splits["train"]
    if len(train) <= most:
        return train, ""
    chosen = np.random.default_rng(0).permutation(len(train))[:most]
    return train[np.sort(chosen)], f"Trained on {most:,} of {len(train):,} training rows, to stay within its time."


def width(data: Dataset, most: int) -> int:
    """How many numbers of a row a model has to read: its columns, or at most `most` pixels."""
    if isinstance(data.x, Tensor):
        c, h, w = data.x.shape[1:]
        fold = _fold(c, h, w, most)
        return max(1, c * -(-h // fold) * -(-w // fold))
    return max(1, data.x["numeric"].shape[1] + data.x["categorical"].shape[1])


def for_linear(data: Dataset, train: Tensor) -> Inputs:
    """Tables: numbers standardised, with the median and a mark where missing; categories one-hot. Images: pixels."""
    if isinstance(data.x, Tensor):
        return _pixels(data, train, most=LINEAR_PIXELS)
    from scipy import sparse
    from sklearn.preprocessing import OneHotEncoder

    which = {"train": train, "test": data.splits["test"]}
    numeric = {k: _finite(data.x["numeric"][i]) for k, i in which.items()}  # (n, F)
    seen = numeric["train"]
    there = np.isfinite(seen)
    known = there.any(0)
    middle = np.array([np.median(c[t]) if t.any() else 0.0 for c, t in zip(seen.T, there.T, strict=True)])
    filled = np.where(there, seen, middle)
    mean, std = (filled.mean(0), filled.std(0)) if len(filled) else (middle, middle)
    std = np.where(std > 1e-12 * np.abs(mean), std, 1.0)
    marked = known & ~there.all(0)
    encoder = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=200, dtype=np.float64)
    codes = {k: data.x["categorical"][i].numpy() for k, i in which.items()}  # (n, K)
    if codes["train"].shape[1]:
        encoder.fit(codes["train"])
    rows = {}
    for split, x in numeric.items():
        missing = ~np.isfinite(x)
        dense = np.concatenate([((np.where(missing, middle, x) - mean) / std)[:, known], missing[:, marked]], 1)
        if not codes[split].shape[1]:
            rows[split] = dense
            continue
        hot = _quiet(encoder.transform, codes[split])  # (n, one for each category), sparse
        rows[split] = sparse.hstack([sparse.csr_matrix(dense), hot], format="csr")
    return Inputs(rows)


def for_trees(data: Dataset, train: Tensor) -> Inputs:
    """Tables: numbers and codes as they are, NaN where missing. Images: pixels, averaged in squares if many."""
    if isinstance(data.x, Tensor):
        return _pixels(data, train, most=TREE_PIXELS)
    codes = data.x["categorical"].numpy().astype(float)  # (N, K)
    note = ""
    for k in range(codes.shape[1]):
        value, times = np.unique(codes[train.numpy(), k], return_counts=True)
        if len(value) > CATEGORIES:
            rare = value[np.argsort(-times, kind="stable")[CATEGORIES:]]
            codes[np.isin(codes[:, k], rare), k] = 0
            note = f"Of columns with more than {CATEGORIES} categories, the rarest read as missing."
    codes[codes == 0] = np.nan
    everything = np.concatenate([_finite(data.x["numeric"]), codes], 1)  # (N, F + K)
    known = np.isfinite(everything[train.numpy()]).any(0)
    first = int(known[: everything.shape[1] - codes.shape[1]].sum())
    everything = everything[:, known]
    rows = {"train": everything[train.numpy()], "test": everything[data.splits["test"].numpy()]}
    rows["val"] = everything[data.splits["val"].numpy()]
    return Inputs(rows, tuple(range(first, everything.shape[1])), note)


def _pixels(data: Dataset, train: Tensor, most: int) -> Inputs:
    rows = {}
    for split, index in (("train", train), ("val", data.splits["val"]), ("test", data.splits["test"])):
        rows[split], note = _flat(data, index, most)
    return Inputs(rows, note=note)


def _flat(data: Dataset, index: Tensor, most: int) -> tuple[Array, str]:
    """Pixels (n, D) in [0, 1], squares averaged until at most `most` are left of each image, and a sentence on that."""
    x = data.x
    if not isinstance(x, Tensor):
        raise TypeError("pixels are those of images")
    c, h, w = x.shape[1:]
    fold = _fold(c, h, w, most)
    parts = []
    for part in index.split(4096):
        pixels = x[part].float()
        if x.dtype == torch.uint8:
            pixels = pixels / 255
        if fold > 1:
            pixels = torch.nn.functional.avg_pool2d(pixels, fold, ceil_mode=True)
        parts.append(pixels.flatten(1))
    flat = torch.cat(parts) if parts else torch.zeros(0, c * -(-h // fold) * -(-w // fold))
    return flat.numpy(), f"Pixels averaged in squares of {fold} by {fold}." if fold > 1 else ""


def _fold(c: int, h: int, w: int, most: int) -> int:
    """The side of the squares whose averages leave at most `most` numbers of an image, or one a channel."""
    fold = 1
    while c * -(-h // fold) * -(-w // fold) > most and fold < max(h, w):
        fold += 1
    return fold


def _finite(x: Tensor) -> Array:
    """As float64, with infinities as missing."""
    values = x.numpy().astype(float)
    return np.where(np.isfinite(values), values, np.nan)


def _quiet(function: Any, *arguments: Any) -> Any:
    """Call without scikit-learn's warning on categories it has not seen, which the encoder is set to ignore."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return function(*arguments)
